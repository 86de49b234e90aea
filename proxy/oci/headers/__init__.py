"""HTTP headers that registries and clients give a meaning of their own, as values."""
