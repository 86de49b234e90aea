"""The listener for operators: health, metrics, status and purging."""
