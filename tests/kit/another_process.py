"""A second process of this machine: a script, spoken with by lines, and killed."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ROOT: Final = Path(__file__).parents[2]
# Nothing here takes a second; a process that says nothing for so long has failed.
_TIMEOUT: Final = 30.0

_FRAME: Final = """
import asyncio, sys
from pathlib import Path
from proxy.oci.reference import Digest
from proxy.ports.blobs import spool_key
from proxy.stores.disk.blobs import DiskBlobs
from proxy.stores.disk.leases import FlockLeases
from proxy.stores.disk.derived import DerivedFiles
from proxy.stores.sqlite.index import SqliteIndex

def say(line):
    print(line, flush=True)

async def heard():
    return await asyncio.to_thread(sys.stdin.readline)

async def main(directory, *arguments):
{body}

asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""


class AnotherProcess:
    """A running script, seen from here."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Speak with `process`."""
        self._process = process

    async def line(self) -> str:
        """What it says next; an empty line when it has ended."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _TIMEOUT)
        return line.decode().strip()

    def say(self, line: str = "") -> None:
        """Answer it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        self._process.kill()
        await self._process.wait()

    async def ended(self) -> int:
        """Its exit status, when it has ended by itself."""
        return await asyncio.wait_for(self._process.wait(), _TIMEOUT)


@asynccontextmanager
async def another_process(
    body: str, directory: Path, *arguments: object
) -> AsyncIterator[AnotherProcess]:
    """Run `body` as a coroutine with `directory` and `arguments` (as text), `say` and `heard`."""
    indented = "\n".join("    " + line for line in dedent(body).strip().splitlines())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _FRAME.format(body=indented), str(directory), *map(str, arguments)),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield AnotherProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # Read to its end, or the transport outlives the loop.
        await process.communicate()
