"""The proxy of the demo, as a process that ends with this one."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_START_WITHIN: Final = 60.0
_STOP_WITHIN: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1


class DemoProxy:
    """`lighterage serve` on free ports, between entering and leaving."""

    def __init__(self, directory: Path, upstream: str) -> None:
        self.directory = directory
        self.port, self.admin_port = _free_port(), _free_port()
        self._command = [
            *lighterage("serve"),
            f"--upstream={upstream}",
            f"--listen=127.0.0.1:{self.port}",
            f"--admin-listen=127.0.0.1:{self.admin_port}",
            f"--data={directory / 'data'}",
            "--log=json",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- this program
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A tag is fresh for a moment only, so that the demo need not wait for a minute.
                env={**_environment(), "LIGHTERAGE_TAGS__TTL": "1s"},
                preexec_fn=_end_with_parent(os.getpid()),  # noqa: PLW1509 -- no thread forks here
            )
        end = time.monotonic() + _START_WITHIN
        while not all(_answers(port) for port in (self.port, self.admin_port)):
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                text = (self.directory / "log").read_text(errors="replace")
                raise OSError(f"the proxy has not started:\n{text}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_raised: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """For clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self) -> str:
        """For operators: HOST:PORT."""
        return f"127.0.0.1:{self.admin_port}"

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def run(self, *arguments: str) -> str:
        """What a command prints that asks this proxy."""
        done = subprocess.run(  # noqa: S603 -- this program
            [*lighterage(*arguments), f"--admin={self.admin}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=_environment(),
            timeout=_START_WITHIN,
            check=True,
        )
        return done.stdout


def lighterage(*arguments: str) -> list[str]:
    """The command line of this program."""
    return [sys.executable, "-m", "proxy", *arguments]


def _environment() -> dict[str, str]:
    """Without settings of the person who runs the demo."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LIGHTERAGE_")}


def _end_with_parent(parent: int) -> Callable[[], None]:
    """What the child runs first: the kernel ends it when its parent is gone, on Linux."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
