"""Blobs in a bucket of S3, GCS or Azure."""
