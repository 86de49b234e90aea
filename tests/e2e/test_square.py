"""Clients by kinds of images: what a client pulls from the registry passes through the proxy."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.e2e.every_client import CLIENTS
from tests.kit.clients import ClientError
from tests.kit.manifest_kinds import KINDS
from tests.kit.processes import Program, ProgramError, Proxy
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kit.images import Content

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# The registry takes this many of the kinds, and each client pulls this many from it directly.
_STORED_AT_LEAST: Final = 20
_PULLED_AT_LEAST: Final = 6


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def stored(registry: Registry) -> list[str]:
    """The repositories of what the registry takes."""
    return [f"cargo/{name}" for name, content in KINDS.items() if _push(registry, name, content)]


def _push(registry: Registry, name: str, content: Content) -> bool:
    try:
        registry.push(f"cargo/{name}", "1", content)
    except ProgramError:
        return False
    return True


def _pull(client: Any, reference: str) -> tuple[Any, str]:
    """What the client made of it, or why it did not."""
    try:
        return client.pull(reference), ""
    except ClientError as error:
        return None, str(error)


@pytest.mark.parametrize("name", CLIENTS)
def test_what_passes_directly_passes_through_the_proxy(
    registry: Registry, stored: list[str], tmp_path: Path, short_path: Path, name: str
) -> None:
    """Cold and cached. The registry comes last: dockerd keeps manifests for a while."""
    assert len(stored) >= _STORED_AT_LEAST
    passed, only_through, failed = 0, [], {}
    client = CLIENTS[name](short_path / "c")
    with (
        Proxy(tmp_path / "proxy", upstream=registry.url) as proxy,
        client if isinstance(client, Program) else nullcontext(),
    ):
        for repository in stored:
            cold, reason = _pull(client, f"{proxy.host}/{repository}:1")
            cached, _ = _pull(client, f"{proxy.host}/{repository}:1")
            direct, _ = _pull(client, f"{registry.host}/{repository}:1")
            if direct is None:
                only_through += [repository] if cold is not None else []
                continue
            passed += 1
            if not cold == cached == direct:
                failed[repository] = reason or f"{cold}, {cached} and {direct}"
    print(f"{name}: {passed} of {len(stored)} pass; through the proxy also {only_through}")  # noqa: T201
    assert not failed
    assert passed >= _PULLED_AT_LEAST
