"""Metrics, the log, and the trace of one request."""
