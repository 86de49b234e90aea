"""Real programs as child processes: started, waited for, stopped, and quoted when they fail."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

LOOPBACK: Final = "127.0.0.1"
# Below what Linux gives to clients by default.
_SERVERS: Final = range(15_000, 32_000)
# Those that were given last: a server of theirs may not be listening yet.
_GIVEN: Final[deque[int]] = deque(maxlen=1000)
# Seconds until a started program must answer, and until a stopped one must be gone.
START: Final = 60.0
STOP: Final = 60.0
_POLL: Final = 0.02
# How much of a log a failure quotes, in bytes.
_QUOTED: Final = 8192


class ProgramError(Exception):
    """A program did not start, or ended by itself; the message ends with its log."""


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on now.

    None of those that the system gives to clients: one of them would have it, now and then, when a
    server is started again. Of several processes of pytest (pytest-xdist) each has its own.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = _SERVERS[number::count]
    while True:
        port = random.choice(ports)  # noqa: S311 -- nobody need guess it
        if port in _GIVEN:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            _GIVEN.append(port)
            return port


class Program:
    """One program in a process group of its own, with its output in files under `directory`.

    It answers once every one of `listens` does: a port of the loopback address, an address and a
    port, or the path of a Unix socket.
    """

    name = "program"

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        directory: Path,
        listens: Sequence[int | tuple[str, int] | Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is added to this process's own. Nothing runs before `start`."""
        self.command = [str(part) for part in command]
        self.directory = directory
        self.listens = tuple(listens)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> Path:
        """Where its standard output goes."""
        return self.directory / f"{self.name}.out"

    @property
    def errors(self) -> Path:
        """Where its standard error goes."""
        return self.directory / f"{self.name}.err"

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped since nor ended by itself."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise ProgramError(f"{self.name} is not running")
        return self._process.pid

    def log(self) -> str:
        """All that it has written so far, of every run."""
        written = [file.read_bytes() for file in (self.output, self.errors) if file.exists()]
        return b"".join(written).decode(errors="replace")

    def start(self) -> Self:
        """Start it and wait until it answers; ProgramError, with its log, if it does not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output, self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self, *, within: float = STOP) -> int:
        """SIGTERM, and its exit status; killed, and ProgramError, if that takes too long."""
        process = self._process
        if process is None:
            return 0
        process.terminate()
        try:
            status = process.wait(within)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not stop within {within:g} s") from None
        finally:
            self.kill()
        return status

    def kill(self) -> None:
        """SIGKILL for it and whatever it started; nothing happens if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def restart(self) -> Self:
        """Stop it and start it again, on the same ports and the same data."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START
        for address in self.listens:
            while not _answers(address):
                if process.poll() is not None:
                    raise self._failed(f"ended with status {process.returncode}")
                if time.monotonic() > deadline:
                    raise self._failed(f"does not answer at {address} after {START:g} s")
                time.sleep(_POLL)

    def _failed(self, what: str) -> ProgramError:
        return ProgramError(f"{' '.join(self.command)} {what}\n{self.log()[-_QUOTED:]}")


def _answers(address: int | tuple[str, int] | Path) -> bool:
    place = (LOOPBACK, address) if isinstance(address, int) else address
    unix = isinstance(place, Path)
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as probe:
        return probe.connect_ex(str(place) if isinstance(place, Path) else place) == 0


class Proxy(Program):
    """`lighterage serve` in front of one upstream, on free ports, with its data in `directory`."""

    name = "lighterage"

    def __init__(
        self,
        directory: Path,
        *,
        upstream: str = "",
        redis: str = "",
        workers: int = 1,
        data: Path | None = None,
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        address: str = LOOPBACK,
        enter: Sequence[str | Path] = (),
    ) -> None:
        """`upstream` and `redis` are URLs; `settings` is what a configuration file would say.

        It listens on `address`. `enter` are words before its command, which lead to another place.
        """
        self.address = address
        self.port, self.admin_port = free_port(), free_port()
        self.data = data or directory / "data"
        command: list[str | Path] = [
            *enter,
            Path(sys.executable).with_name("lighterage"),
            "serve",
            f"--listen={address}:{self.port}",
            f"--admin-listen={address}:{self.admin_port}",
            f"--data={self.data}",
        ]
        if upstream:
            command.append(f"--upstream={upstream}")
        if redis:
            command.append(f"--redis={redis}")
        if workers != 1:
            command.append(f"--workers={workers}")
        if settings is not None:
            directory.mkdir(parents=True, exist_ok=True)
            file = directory / "lighterage.yaml"
            file.write_text(json.dumps(settings))  # JSON is YAML
            command.append(f"--config={file}")
        super().__init__(
            command,
            directory=directory,
            listens=((address, self.port), (address, self.admin_port)),
            environment=environment,
        )

    @property
    def host(self) -> str:
        """`HOST:PORT`, as it stands in an image's name."""
        return f"{self.address}:{self.port}"

    @property
    def url(self) -> str:
        """Of the registry listener."""
        return f"http://{self.host}"

    @property
    def admin_url(self) -> str:
        """Of the admin listener."""
        return f"http://{self.address}:{self.admin_port}"
