"""Processes: how they start, are supervised, reload their settings and shut down."""
