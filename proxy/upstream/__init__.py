"""One registry, spoken to over HTTP."""
