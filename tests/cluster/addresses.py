"""Where what is in the cluster's network: constants, since nothing else is in it."""

from __future__ import annotations

from typing import Final

LOOPBACK: Final = "127.0.0.1"
NODE_NAME: Final = "node"
# The node's own address. Outside services are at it, too: pods reach it, and it is no Service's.
NODE: Final = "10.231.0.1"
NODE_NETWORK: Final = "10.231.0.0/24"
PODS: Final = "10.232.0.0/16"
SERVICES: Final = "10.233.0.0/16"
# The Service `kubernetes`, the first address of the range.
API_SERVICE: Final = "10.233.0.1"
API_PORT: Final = 6443
ETCD: Final = f"http://{LOOPBACK}:2379"
DNS: Final = NODE
DOMAIN: Final = "cluster.local"

# What the cluster finds outside: a registry to pull from, and a bucket.
REGISTRY: Final = f"{NODE}:5001"
BUCKETS: Final = f"{NODE}:7070"
# The port of each node that the chart's values for trials name.
NODE_PORT: Final = 30500
