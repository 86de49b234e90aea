"""The shared cache in Redis."""
