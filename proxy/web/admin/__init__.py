"""The admin listener: health, metrics, status and purge."""
