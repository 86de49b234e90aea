"""A program whose every fsync is delayed, counted, or recorded for a power loss.

    python tests/kit/fsyncs.py [--delay SECONDS] [--count FILE] [--durable COPY DATA] -- PROGRAM …

The kernel reports the program's calls of fsync and fdatasync to this one before they run
(seccomp_unotify(2)), whatever language the program is written in; every other call costs nothing.
It imports nothing of ours, so it is also the program that is put in front of another one.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import select
import shutil
import signal
import socket
import stat
import struct
import sys
import time
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# linux/seccomp.h, linux/filter.h and the table of system calls.
_FSYNC: Final = {"x86_64": (74, 75), "aarch64": (82, 83)}
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_NO_NEW_PRIVILEGES: Final = 38
_SET_MODE_FILTER: Final = 1
_NEW_LISTENER: Final = 8
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_CONTINUE: Final = 1
_NOTIFICATION: Final = struct.Struct("QIIiIQ6Q")
_RESPONSE: Final = struct.Struct("QqiI")

_MARK: Final = "user.fsync"


def command(
    program: Sequence[str],
    *,
    delay: float = 0.0,
    count: Path | None = None,
    durable: Durable | None = None,
) -> list[str]:
    """The command that runs `program` with its fsyncs watched.

    Each takes `delay` seconds more; their number is in the file `count` when the program has ended;
    what is `durable` is recorded.
    """
    options = [f"--delay={delay}"]
    if count is not None:
        options.append(f"--count={count}")
    if durable is not None:
        options += ["--durable", str(durable.copies), str(durable.data)]
    return [sys.executable, __file__, *options, "--", *program]


@dataclass(frozen=True, slots=True)
class Durable:
    """What would be there after a power loss: the files as of their last fsync.

    A file has the content of its last fsync, and is empty if there was none. A name exists if its
    directory has been fsynced since; the directory `data` itself always does. Stricter than any
    real file system, with one exception: no write that was not fsynced is there in part.
    """

    copies: Path
    data: Path

    def record(self, process: int, descriptor: int) -> None:
        """Take what this fsync makes durable; the program waits meanwhile."""
        link = Path(f"/proc/{process}/fd/{descriptor}")
        try:
            path, status = link.readlink(), link.stat()
        except OSError:
            return
        if self.data not in {path, *path.parents}:
            return
        if stat.S_ISDIR(status.st_mode):
            names = {each.name: _mark(each) for each in path.iterdir()}
            self._replace(self._names(path), json.dumps(names).encode())
        else:
            mark = _mark(link) or ""
            os.setxattr(link, _MARK, mark.encode())
            self._replace(self.copies / mark, link.read_bytes())

    def restore(self, target: Path) -> None:
        """Make `target` the directory as it would be after a power loss."""
        target.mkdir()
        self._restore(self.data, target)

    def _restore(self, source: Path, target: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            names = json.loads(self._names(source).read_bytes())
            for name, mark in names.items():
                if mark is None:
                    (target / name).mkdir(mode=0o700)
                    self._restore(source / name, target / name)
                elif (self.copies / mark).exists():
                    shutil.copyfile(self.copies / mark, target / name)
                else:
                    (target / name).touch()

    def _names(self, directory: Path) -> Path:
        return self.copies / str(directory).replace("/", "%")

    def _replace(self, file: Path, content: bytes) -> None:
        temporary = self.copies / "new"
        temporary.write_bytes(content)
        temporary.rename(file)


def _mark(path: Path) -> str | None:
    """What tells a file from a later one with the same inode; None for a directory.

    Of a file that was never fsynced it is a new one each time.
    """
    if path.is_dir():
        return None
    try:
        return os.getxattr(path, _MARK).decode()
    except OSError as error:
        if error.errno not in {errno.ENODATA, errno.ENOENT}:
            raise
        return uuid.uuid4().hex


def _start(program: Sequence[str]) -> tuple[int, int]:
    """Its process, and the descriptor on which the kernel reports its calls."""
    ours, theirs = socket.socketpair()
    process = os.fork()
    if process == 0:
        _become(program, theirs)
    theirs.close()
    with ours:
        descriptors = socket.recv_fds(ours, 1, 1)[1]
    if not descriptors:
        sys.exit("the kernel does not report system calls")
    return process, descriptors[0]


def _become(program: Sequence[str], tell: socket.socket) -> None:
    libc, machine = ctypes.CDLL(None, use_errno=True), platform.machine()
    first, second = _FSYNC[machine]
    instructions = [
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 1, 0, first),
        (_JUMP_IF_EQUAL, 0, 1, second),
        (_RETURN, 0, 0, _NOTIFY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in instructions))
    rules = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    listener = libc.syscall(
        _SECCOMP[machine], _SET_MODE_FILTER, _NEW_LISTENER, ctypes.create_string_buffer(rules)
    )
    if listener < 0:
        os._exit(1)
    socket.send_fds(tell, [b"."], [listener])
    os.close(listener)
    tell.close()
    os.execvp(program[0], list(program))  # noqa: S606 -- the program that was asked for


def main() -> int:
    """Run the program, and end as it does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--count", type=Path)
    parser.add_argument("--durable", type=Path, nargs=2)
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    durable = Durable(*options.durable) if options.durable else None
    process, listener = _start(options.program)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: os.kill(process, number))
    calls = 0
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    due: deque[tuple[float, int]] = deque()
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) * 1000 if due else None
        events = poll.poll(wait)
        if events and events[0][1] & select.POLLIN:
            call = bytearray(_NOTIFICATION.size)
            with contextlib.suppress(FileNotFoundError):  # it was killed meanwhile
                fcntl.ioctl(listener, _RECEIVE, call)
                number, thread, *_, descriptor = _NOTIFICATION.unpack(call)[:7]
                calls += 1
                if durable is not None:
                    durable.record(thread, descriptor)
                due.append((time.monotonic() + options.delay, number))
        elif events:
            break  # no process is left that could call
        while due and due[0][0] <= time.monotonic():
            with contextlib.suppress(FileNotFoundError):
                answer = _RESPONSE.pack(due.popleft()[1], 0, 0, _CONTINUE)
                fcntl.ioctl(listener, _SEND, bytearray(answer))
    if options.count is not None:
        options.count.write_text(str(calls))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
