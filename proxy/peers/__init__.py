"""Replicas as one cache: each digest and each tag has an owner, which alone asks upstream."""
