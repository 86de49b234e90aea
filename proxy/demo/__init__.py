"""`make demo`: a registry, the proxy in front of it, and what old and new clients get."""
