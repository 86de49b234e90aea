"""Users by namespace: the node's kubelet sends a pod's own login, and one of two may pull."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.access.htpasswd import line_for
from tests.cluster.addresses import NODE_PORT
from tests.cluster.clients import pod, pull, wait
from tests.cluster.hosts import write_hosts
from tests.cluster.release import Release, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.slow

_NAME: Final = "lighterage"
_IMAGE: Final = "docker.io/library/cargo:7"
_OPEN: Final = "docker.io/library/busybox:1.37"
_USERS: Final = {"ann": "ann-secret", "bob": "bob-secret"}
_SECRET: Final = "pull"


@pytest.fixture(scope="module")
def release(cluster: Cluster) -> Iterator[Release]:
    """A release with two users, one of whom may pull the image; its node has no way past it."""
    with Release(cluster, _NAME, "access").in_namespace() as made:
        lines = "\n".join(line_for(user, password).strip() for user, password in _USERS.items())
        made.kubectl("create", "secret", "generic", "users", f"--from-literal=htpasswd={lines}")
        made.install(chosen())
        write_hosts(cluster, f"http://127.0.0.1:{NODE_PORT}")
        yield made


@pytest.fixture
def namespaces(cluster: Cluster, release: Release) -> Iterator[dict[str, Release]]:  # noqa: ARG001
    """A namespace for each user, with the user's login for Docker Hub; and one without a login."""
    made = {user: Release(cluster, _NAME, f"team-{user}") for user in (*_USERS, "nobody")}
    for user, each in made.items():
        each.namespace()
        if user in _USERS:
            login = (f"--docker-username={user}", f"--docker-password={_USERS[user]}")
            server = "--docker-server=https://index.docker.io/v1/"
            each.kubectl("create", "secret", "docker-registry", _SECRET, server, *login)
    yield made
    for each in made.values():
        each.remove_namespace()


def test_one_namespace_pulls_and_another_is_refused(namespaces: dict[str, Release]) -> None:
    """The same image, on the same node, which has it already."""
    run(namespaces["ann"], _SECRET)
    for user, secrets in {"bob": (_SECRET,), "nobody": ()}.items():
        reason = refusal(namespaces[user], *secrets)
        assert "401" in reason or "403" in reason or "denied" in reason.lower(), reason
    # It was no matter of order.
    run(namespaces["ann"], _SECRET)


def test_an_open_image_needs_no_login(namespaces: dict[str, Release]) -> None:
    pull(namespaces["nobody"], "open", _OPEN)


def chosen() -> dict[str, Any]:
    """Values with one closed repository. The node's address reaches the proxy in the clear."""
    common = values()
    rules = [{"match": "docker.io/library/cargo", "mode": "basic", "users": ["ann"]}]
    return {
        **common,
        "access": {"htpasswd": {"existingSecret": "users"}},
        "config": {**common["config"], "access": {"rules": rules, "allow_plain": True}},
    }


def run(namespace: Release, *secrets: str) -> None:
    """Run a pod of the image until it is ready, and leave the image on the node."""
    namespace.kubectl("apply", "--filename=-", text=json.dumps(pod("closed", _IMAGE, *secrets)))
    namespace.kubectl("wait", "pod/closed", "--for=condition=Ready", "--timeout=60s")
    namespace.kubectl("delete", "pod", "closed", "--wait")


def refusal(namespace: Release, *secrets: str) -> str:
    """What the kubelet says of a pod whose image it may not pull."""
    namespace.kubectl("apply", "--filename=-", text=json.dumps(pod("closed", _IMAGE, *secrets)))
    said: list[str] = []

    def refused() -> bool:
        said.extend(
            event["message"]
            for event in namespace.objects("events")
            if event["reason"] == "Failed" and "pull" in event["message"].lower()
        )
        return bool(said)

    wait(refused, "the pull is refused", within=60)
    (found,) = namespace.objects("pods")
    assert "running" not in found["status"]["containerStatuses"][0]["state"]
    namespace.kubectl("delete", "pod", "closed", "--wait")
    return said[0]
