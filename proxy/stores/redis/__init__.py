"""The shared manifest cache in Redis."""
