"""The lines of requests are those that structlog would write, byte for byte."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Final

import pytest
import structlog

from proxy.telemetry.log import members, start_log
from proxy.telemetry.request_lines import RequestLines

if TYPE_CHECKING:
    from pathlib import Path

MEMBERS: Final = members(
    method="GET",
    route="manifest",
    repository="docker.io/library/cargo",
    reference="1",
    status=200,
    type="application/vnd.oci.image.manifest.v1+json",
    cache="hit",
)
# A client chooses its name, and a link-local address has the name of an interface.
AGENTS: Final = {"ascii": 'docker/1.6 "\\ \x1b\n', "any": 'h\u00e4fen "\\ \udc80\n'}
CLIENTS: Final = {"ascii": "198.51.100.1", "any": 'fe80::1%"et\u0127'}
TIME: Final = re.compile(rb'"time":"[^"]*"')


def write(path: Path, kind: str, *, as_text: bool, worker: dict[str, int]) -> list[bytes]:
    """The same event, by structlog, as any line of a request, and as one that is repeated."""
    agent, client = AGENTS[kind], CLIENTS[kind]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    writer = start_log(descriptor, lock=None, as_text=as_text, **worker)
    try:
        more = {"principal": "basic:ci"}
        structlog.get_logger().bind().info(
            "request.served",
            id="a-1",
            client=client,
            agent=agent,
            seconds=round(0.00001249, 6),
            members=MEMBERS,
            **more,
        )
        lines = RequestLines()
        lines.write(
            "info", MEMBERS, id="a-1", client=client, agent=agent, seconds=0.00001249, more=more
        )
        prepared = lines.prepare(MEMBERS, agent=agent, more=more)
        lines.repeat(prepared, id=b"a-1", client=client, seconds=0.00001249)
    finally:
        writer.close()
        os.close(descriptor)
        structlog.reset_defaults()
    return path.read_bytes().splitlines()


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("worker", [{}, {"worker": 2}], ids=["alone", "worker"])
def test_every_way_writes_the_same_line(tmp_path: Path, kind: str, worker: dict[str, int]) -> None:
    lines = write(tmp_path / "log", kind, as_text=False, worker=worker)
    assert len(lines) == 3
    if kind == "ascii":
        assert len({TIME.sub(b"", line) for line in lines}) == 1
    # Beside what is not ASCII the same number may be spelled in another way.
    told = [list(json.loads(line).items()) for line in lines]
    assert told[0][1:] == told[1][1:] == told[2][1:]
    for line in lines:
        assert line.isascii()
        known = json.loads(line)
        assert (known["agent"], known["client"]) == (AGENTS[kind], CLIENTS[kind])
        assert known["seconds"] == 0.000012
        assert known.get("worker") == worker.get("worker")


def test_a_log_for_people_has_the_same_line_too(tmp_path: Path) -> None:
    lines = write(tmp_path / "log", "any", as_text=True, worker={})
    assert len(lines) == 3
    assert len({line[len("00:00:00") :] for line in lines}) == 1
    assert b"docker.io/library/cargo:1" in lines[0]
