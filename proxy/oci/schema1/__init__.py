"""Schema 1 manifests, built and signed byte for byte as distribution does."""
