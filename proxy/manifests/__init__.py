"""Requests for manifests, tags and referrers: which manifest, and how it is made."""
