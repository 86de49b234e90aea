"""Implementations of the ports in the memory of one process."""
