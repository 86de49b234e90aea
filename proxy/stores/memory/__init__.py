"""Implementations of the ports in process memory."""
