"""General-purpose helpers that know nothing of registries."""
