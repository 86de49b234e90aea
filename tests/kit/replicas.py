"""Several proxies that are one cache, as programs of their own on loopback ports."""

from __future__ import annotations

import secrets
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from tests.kit.processes import LOOPBACK, START, Proxy, free_port
from tests.kit.raw_http import ask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from tests.kit.namespace import Namespace


class Replicas:
    """`count` replicas, each with a data directory of its own."""

    def __init__(
        self,
        directory: Path,
        count: int,
        *,
        upstreams: Mapping[str, Any],
        workers: int = 1,
        redis: str = "",
        joining: int = 0,
        settings: Mapping[str, Any] | None = None,
        peers: Mapping[str, Any] | None = None,
        zones: Sequence[str] = (),
        apart: Namespace | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`joining` further ones are known to all, but not started with the others.

        `zones` are those of the replicas, in turn. The last one is in the namespace `apart`.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._secret = directory / "peer-secret"
        self._secret.write_text(secrets.token_hex(32))
        total = count + joining
        hosts = [LOOPBACK if apart is None else apart.peers.here] * total
        inside: dict[str, Any] = {}
        if apart is not None:
            hosts[-1] = apart.peers.inside
            inside = {"address": apart.content.inside, "enter": apart.enter}
        self.addresses = [f"{host}:{free_port()}" for host in hosts]
        self._all = [
            Proxy(
                directory / f"replica-{number}",
                redis=redis,
                workers=workers,
                environment=environment,
                settings={
                    "upstreams": upstreams,
                    "peers": {
                        "listen": address,
                        "discover": self.addresses,
                        "secret_file": str(self._secret),
                        **({"zone": zones[number % len(zones)]} if zones else {}),
                        **(peers or {}),
                    },
                    **(settings or {}),
                },
                **(inside if number == total - 1 else {}),
            )
            for number, address in enumerate(self.addresses)
        ]
        self._count = count
        self._stack = ExitStack()

    @property
    def running(self) -> Sequence[Proxy]:
        """Those that were started with the others."""
        return self._all[: self._count]

    @property
    def joining(self) -> Sequence[Proxy]:
        """Those that a test starts later."""
        return self._all[self._count :]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for proxy in self._all:
                stack.callback(proxy.kill)
            for proxy in self.running:
                proxy.start()
            self.wait_until_they_know()
            self._stack = stack.pop_all()
        return self

    def wait_until_they_know(self) -> None:
        """Return when each of those that are running asks all the others."""
        for proxy in self.running:
            self._wait_until_it_knows(proxy)

    def _wait_until_it_knows(self, proxy: Proxy) -> None:
        """Return when all of the replica's processes ask those that are running."""
        wanted = f'lighterage_peers{{state="left_out"}} {len(self.joining)}.0'
        deadline = time.monotonic() + START
        while wanted not in ask(f"{proxy.admin_url}/metrics").body.decode():
            assert time.monotonic() < deadline, f"{proxy.directory.name} does not find the others"
            time.sleep(0.05)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
