"""The registry's domain, without I/O: what the specs say, as functions of their arguments."""
