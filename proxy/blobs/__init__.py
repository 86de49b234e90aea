"""Requests for blobs: the bytes, and the one transfer that fetches them."""
