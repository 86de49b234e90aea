"""HTTP headers with a registry-specific meaning, as values."""
