"""What operators see: metrics, the log, and the trace of one request."""
