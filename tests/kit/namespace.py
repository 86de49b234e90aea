"""A network namespace of its own for a program, with lines to this one that a test can cut."""

from __future__ import annotations

import secrets
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.kit.processes import START, Program
from tests.tools import require, require_root

if TYPE_CHECKING:
    from types import TracebackType

_WIDTH: Final = 30
_POLL: Final = 0.02


@dataclass(frozen=True, slots=True)
class Line:
    """A pair of interfaces: the address on this side, and the one inside the namespace."""

    name: str
    here: str
    inside: str


class Namespace:
    """Exists while the block runs. Needs root.

    `content` is the line for clients and upstreams, `peers` the one for other replicas.
    """

    def __init__(self, directory: Path) -> None:
        require_root("ip")
        mark = secrets.token_hex(3)
        # 198.18.0.0/15 is for tests of networks (RFC 2544). Runs beside this one have other nets.
        net = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
        first = 8 * secrets.randbelow(32)
        self.content = Line(f"lt{mark}c", f"{net}.{first + 1}", f"{net}.{first + 2}")
        self.peers = Line(f"lt{mark}p", f"{net}.{first + 5}", f"{net}.{first + 6}")
        self._lines = (self.content, self.peers)
        self._inside = directory / "inside"
        # What lives in it holds it: with its last process it ends, and the lines with it.
        self._holder = Program(
            [
                *(require("setpriv"), "--pdeathsig=KILL", "unshare", "--net", "sh", "-c"),
                f"ip link set lo up && touch {self._inside} && exec sleep infinity",
            ],
            directory=directory,
        )
        self._stack = ExitStack()

    @property
    def enter(self) -> list[str | Path]:
        """The words before a command that is to run inside."""
        return [require("nsenter"), f"--net=/proc/{self._holder.pid}/ns/net"]

    def cut(self, line: Line) -> None:
        """Drop every packet of a line, in both directions, without a word."""
        for chain, side in (("INPUT", "-i"), ("OUTPUT", "-o")):
            self._run_inside(require("iptables"), "-w", "-A", chain, side, line.name, "-j", "DROP")

    def mend(self) -> None:
        """Let every line work again."""
        self._run_inside(require("iptables"), "-w", "-F")

    def packets(self, line: Line) -> int:
        """How many packets have come in and gone out by a line."""
        counts = Path("/sys/class/net", line.name, "statistics")
        return sum(int((counts / f"{way}_packets").read_text()) for way in ("rx", "tx"))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._holder.kill)
            self._holder.start()
            self._wait_for_the_holder()
            for line in self._lines:
                self._connect(line)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _wait_for_the_holder(self) -> None:
        deadline = time.monotonic() + START
        while not self._inside.exists():
            assert self._holder.running, self._holder.log()
            assert time.monotonic() < deadline
            time.sleep(_POLL)

    def _connect(self, line: Line) -> None:
        inside = ("peer", "name", line.name, "netns", str(self._holder.pid))
        _run(require("ip"), "link", "add", line.name, "type", "veth", *inside)
        _run(require("ip"), "address", "add", f"{line.here}/{_WIDTH}", "dev", line.name)
        _run(require("ip"), "link", "set", line.name, "up")
        self._run_inside(
            require("ip"), "address", "add", f"{line.inside}/{_WIDTH}", "dev", line.name
        )
        self._run_inside(require("ip"), "link", "set", line.name, "up")

    def _run_inside(self, *command: str | Path) -> None:
        _run(*self.enter, *command)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
