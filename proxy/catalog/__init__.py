"""What the proxy knows: manifests, tags, grants, origins, representations and listings."""
