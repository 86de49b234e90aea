"""What the status page shows: bounded records of what one process does, and their sum."""
