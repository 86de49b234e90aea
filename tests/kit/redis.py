"""Real Redis: one server, a set that Sentinel watches, and a Cluster. All keep nothing on disk."""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self

import redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.kit.processes import LOOPBACK, Program, ProgramError, free_port
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

# Seconds until servers that were started must have found each other.
_FOUND: Final = 60.0
_POLL: Final = 0.05


def eventually(condition: Callable[[], object], what: str, *, within: float = _FOUND) -> None:
    """Wait until `condition` holds; an error of Redis is as good as no."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(RedisError):
            if condition():
                return
        time.sleep(_POLL)
    raise ProgramError(f"{what} within {within:g} s")


class RedisServer(Program):
    """`redis-server` on a port of its own, which stays the same when it is started again."""

    name = "redis-server"

    def __init__(self, directory: Path, *options: str, password: str | None = None) -> None:
        """`options` are lines of redis.conf, such as `maxmemory 2mb`."""
        self.port = free_port()
        self.password = password
        directory.mkdir(parents=True, exist_ok=True)
        self._configuration = directory / "redis.conf"
        super().__init__(
            [require("redis-server"), self._configuration, *self._mode()],
            directory=directory,
            listens=(self.port,),
        )
        lines = [f"port {self.port}", f"bind {LOOPBACK}", f"dir {directory}", *options]
        if password is not None:
            lines.append(f"requirepass {password}")
        self._configuration.write_text("\n".join([*lines, *self._keeps_nothing(), ""]))

    def _mode(self) -> Sequence[str]:
        return ()

    def _keeps_nothing(self) -> Sequence[str]:
        return ('save ""', "appendonly no")

    @property
    def url(self) -> str:
        """As settings have it, without a password."""
        return f"redis://{LOOPBACK}:{self.port}"

    def ask(self, *command: str | int) -> Any:
        """The answer to one command, on a connection of its own."""
        with redis.Redis(LOOPBACK, self.port, password=self.password) as client:
            return client.execute_command(*command)


class SentinelServer(RedisServer):
    """`redis-server --sentinel`, which writes what it learns into its configuration."""

    name = "redis-sentinel"

    def _mode(self) -> Sequence[str]:
        return ("--sentinel",)

    def _keeps_nothing(self) -> Sequence[str]:
        return ()


class _Together:
    """Servers that start and stop as one."""

    servers: tuple[RedisServer, ...]

    def _start(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL for all: there is nothing to save, and no reason to wait."""
        for server in self.servers:
            server.kill()


class SentinelSet(_Together):
    """A master with a replica, watched by three sentinels that give it up after half a second."""

    service = "lighterage-test"

    def __init__(
        self, directory: Path, *, password: str | None = None, sentinel_password: str | None = None
    ) -> None:
        """The first password is what master and replica ask for, the second what sentinels do."""
        options, watching = ["repl-diskless-sync-delay 0"], []
        if password is not None:
            options.append(f"masterauth {password}")
            watching.append(f"sentinel auth-pass {self.service} {password}")
        if sentinel_password is not None:
            watching.append(f"sentinel sentinel-pass {sentinel_password}")
        self.master = RedisServer(directory / "master", *options, password=password)
        options.append(f"replicaof {LOOPBACK} {self.master.port}")
        self.replica = RedisServer(directory / "replica", *options, password=password)
        self.sentinels = tuple(
            SentinelServer(
                directory / f"sentinel-{number}",
                f"sentinel monitor {self.service} {LOOPBACK} {self.master.port} 2",
                f"sentinel down-after-milliseconds {self.service} 500",
                f"sentinel failover-timeout {self.service} 2000",
                *watching,
                password=sentinel_password,
            )
            for number in range(3)
        )
        self.servers = (self.master, self.replica, *self.sentinels)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Of the sentinels."""
        return [(LOOPBACK, sentinel.port) for sentinel in self.sentinels]

    def fail_over(self) -> None:
        """Make the replica the master, as far as the sentinels know."""
        self.sentinels[0].ask("SENTINEL", "FAILOVER", self.service)
        self.wait_for_the_replica()

    def _start(self) -> None:
        self.master.start()
        self.replica.start()
        # A sentinel asks the master for its replicas when it starts, and then every ten seconds.
        eventually(self._replicates, "the replica did not reach the master")
        for sentinel in self.sentinels:
            sentinel.start()
        eventually(self._know_each_other, "the sentinels did not find each other")

    def wait_for_the_replica(self) -> None:
        """Until all sentinels know it as the master."""
        eventually(self._name_the_replica, "the sentinels did not agree on the new master")

    def _name_the_replica(self) -> bool:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        port = str(self.replica.port).encode()
        return all(sentinel.ask(*question)[1] == port for sentinel in self.sentinels)

    def _replicates(self) -> bool:
        replica = self.master.ask("INFO", "replication").get("slave0", {})
        return bool(replica.get("state") == "online")

    def _know_each_other(self) -> bool:
        return all(
            len(sentinel.ask("SENTINEL", "SENTINELS", self.service)) == len(self.sentinels) - 1
            and len(sentinel.ask("SENTINEL", "REPLICAS", self.service)) == 1
            for sentinel in self.sentinels
        )


class ClusterServers(_Together):
    """Three masters with a third of the slots each, and no replica; what is left goes on alone."""

    # The first slot of each node, and the end.
    _BOUNDS: Final = (0, 5461, 10922, 16384)

    def __init__(self, directory: Path, *, password: str | None = None) -> None:
        """`password` is what every node asks for."""
        self._bus_ports = tuple(free_port() for _ in self._BOUNDS[1:])
        self.servers = tuple(
            RedisServer(
                directory / f"node-{number}",
                "cluster-enabled yes",
                f"cluster-port {bus_port}",
                "cluster-node-timeout 1000",
                "cluster-require-full-coverage no",
                password=password,
            )
            for number, bus_port in enumerate(self._bus_ports)
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """Of every node."""
        return tuple(server.url for server in self.servers)

    def owner_of(self, key: str) -> RedisServer:
        """The node that has `key`."""
        slot = key_slot(key.encode())
        return self.servers[bisect_right(self._BOUNDS, slot) - 1]

    def _start(self) -> None:
        for server, (first, end) in zip(self.servers, pairwise(self._BOUNDS), strict=True):
            server.start()
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for server, bus_port in zip(self.servers[1:], self._bus_ports[1:], strict=True):
            self.servers[0].ask("CLUSTER", "MEET", LOOPBACK, server.port, bus_port)
        self.wait_for_all()

    def wait_for_all(self) -> None:
        """Until every node knows that every slot is served."""
        eventually(self._agree, "the nodes did not find each other")

    def _agree(self) -> bool:
        answers = [server.ask("CLUSTER INFO") for server in self.servers]
        return all(
            answer["cluster_state"] == "ok" and answer["cluster_slots_ok"] == str(self._BOUNDS[-1])
            for answer in answers
        )
