"""The servers that are compared, in front of the same upstream."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeAlias

from tests import tools
from tests.bench.bench import plain
from tests.bench.measure import (
    DISTRIBUTION,
    DISTRIBUTION_3,
    NGINX,
    NGINX_UNLOGGED,
    OURS,
)
from tests.bench.nginx import Nginx
from tests.kit.processes import Proxy
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

Server: TypeAlias = Nginx | Proxy | Registry
# A certificate's file and its key's.
Certificate: TypeAlias = tuple["Path", "Path"]


@contextmanager
def running(
    folder: Path,
    names: Sequence[str],
    upstream: str,
    *,
    on: Callable[[], AbstractContextManager[None]] = nullcontext,
    certificate: Certificate | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[dict[str, Server]]:
    """The servers of these names, empty, with what they keep below `folder`.

    `upstream` is a URL; they are started inside of `on`; `settings` are ours.
    """
    all_of_them = made(folder, names, upstream, certificate=certificate, settings=settings)
    with ExitStack() as stack:
        with on():
            for server in all_of_them.values():
                stack.enter_context(server)
        yield all_of_them


def made(
    folder: Path,
    names: Sequence[str],
    upstream: str,
    *,
    certificate: Certificate | None = None,
    settings: Mapping[str, object] | None = None,
) -> dict[str, Server]:
    """The same, and none of them is started."""
    return {
        name: _server(folder / plain(name), name, upstream, certificate, settings) for name in names
    }


def available(names: Sequence[str]) -> list[str]:
    """Those of `names` whose program is here."""
    return [name for name in names if name != DISTRIBUTION_3 or tools.find("registry")]


def _server(
    folder: Path,
    name: str,
    upstream: str,
    certificate: Certificate | None,
    settings: Mapping[str, object] | None,
) -> Server:
    if name == OURS:
        ours = dict(settings or {})
        if certificate is not None:
            public, private = map(str, certificate)
            ours["tls"] = {"certificate_file": public, "key_file": private}
        return Proxy(folder, upstream=upstream, settings=ours or None)
    if name == DISTRIBUTION:
        return Registry(folder, remote=upstream)
    if name == DISTRIBUTION_3:
        return Registry(folder, remote=upstream, program=tools.require("registry"))
    logs = {NGINX: True, NGINX_UNLOGGED: False}[name]
    return Nginx(folder, upstream=upstream, certificate=certificate, logs=logs)
