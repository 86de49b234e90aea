"""What a supervisor hands to a worker arrives as it was, and what the worker says, too."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proxy.config import ServeArguments, Settings, load
from proxy.report.replicas import PeerState
from proxy.runtime import control_channel
from proxy.runtime.control_channel import Assignment
from proxy.web.admin.readiness import Readiness

SHIPPED = Path(__file__).parents[3] / "config" / "lighterage.yaml"


def received(sent: bytes) -> Assignment:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        return Assignment.receive(theirs)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        load(SHIPPED, environ={}),
        Settings.model_validate(
            {
                "listen": "[::1]:5000",
                "workers": 3,
                "manifests": {"store": "redis", "redis": {"url": "redis://127.0.0.1:6379"}},
                "conversion": {"platform": "linux/arm/v7", "mixed": "consistent"},
                "upstreams": {
                    "example.org": {
                        "url": "https://example.org",
                        "default": True,
                        "credentials": {"username": "pilot", "password": "harbour"},
                    }
                },
            }
        ),
    ],
    ids=["defaults", "shipped", "all-kinds"],
)
def test_an_assignment_arrives_as_it_was(settings: Settings) -> None:
    assignment = Assignment(
        2, settings, Path("/nowhere"), 7, ServeArguments(Path("a"), {"workers": 2})
    )
    assert received(assignment.encode()) == assignment


def test_half_an_assignment_is_the_end(tmp_path: Path) -> None:
    whole = Assignment(1, Settings(), tmp_path, None, ServeArguments()).encode()
    for part in (b"", whole[:3], whole[:-1]):
        with pytest.raises(EOFError):
            received(part)


def test_readiness_arrives_as_it_was() -> None:
    peers = (PeerState("10.0.0.2:5001", "two", "b", "silent", 1000.5, 5, 7),)
    readiness = Readiness(
        serving=True, draining=False, warnings={"redis": 'says "no"\n'}, peers=peers
    )
    line = control_channel.encode(readiness)
    assert line.count(b"\n") == 1
    assert control_channel.decode(line) == readiness
