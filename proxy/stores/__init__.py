"""Storage backends: implementations of the ports."""
