"""Blobs, spools, leases and keys as files."""
