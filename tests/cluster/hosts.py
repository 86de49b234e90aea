"""What tells the node's containerd where to pull from: a hosts.toml for each registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.spec import Spec

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


def write_hosts(cluster: Cluster, proxy: str, registry: str = "docker.io") -> None:
    """Have the node pull through `proxy`, a URL; there is no way out, as the network has none."""
    directory = Spec.read(cluster.state).hosts / registry
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.toml").write_text(
        f'server = "https://{registry}"\n\n[host."{proxy}"]\n  capabilities = ["pull", "resolve"]\n'
    )
