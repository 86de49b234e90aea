"""The log at a terminal: what a person reads of a request, and nothing that steers the terminal."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.telemetry.log import members
from proxy.telemetry.log_text import RenderText

SERVED: Final = {
    "method": "GET",
    "route": "manifest",
    "repository": "docker.io/library/cargo",
    "reference": "1.0",
    "status": 200,
    "type": MediaType.V2S1_SIGNED,
    "rule": "absent",
    "cache": "miss",
    "upstream_calls": 3,
    "bytes": 3,
}
CARGO: Final = "docker.io/library/cargo"
SLOW: Final = "12.3 ms  10.0.0.7 docker/1.6.2"
DIGEST: Final = "sha256:" + 64 * "a"


def line(level: str = "info", **event: Any) -> str:
    """Without the time, which is checked."""
    text = RenderText()(None, level, event).decode()
    assert re.match(r"\d\d:\d\d:\d\d ", text)
    return text[9:]


def served(**known: object) -> str:
    return line(
        event="request.served",
        id="a-1",
        client="10.0.0.7",
        agent="docker/1.6.2 go/1.3",
        seconds=0.0123,
        members=members(**{**SERVED, **known}),
    )


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (
            {},
            f"GET  {CARGO}:1.0  200  schema 1  miss  {SLOW}",
        ),
        (
            {"reference": DIGEST, "type": MediaType.OCI_INDEX, "cache": "hit"},
            f"GET  {CARGO}@sha256:aaaaaaaaaaaa  200  OCI index  hit  {SLOW}",
        ),
        (
            {"reference": DIGEST, "type": "", "route": "blob", "cache": "stale"},
            f"GET  {CARGO}@sha256:aaaaaaaaaaaa  200  blob  stale  {SLOW}",
        ),
        (
            {"via": "peer"},
            f"GET  {CARGO}:1.0  200  schema 1  miss (peer)  {SLOW}",
        ),
        (
            {"type": "", "status": 404, "cache": "none", "error": "no such\ntag"},
            f"GET  {CARGO}:1.0  404  {SLOW}  no such\\ntag",
        ),
        (
            {"repository": "", "reference": "", "type": "", "route": "ping", "cache": "none"},
            f"GET  200  /v2/  {SLOW}",
        ),
    ],
    ids=["by tag", "by digest", "blob", "peer", "error", "ping"],
)
def test_a_request_is_one_readable_line(known: dict[str, object], expected: str) -> None:
    assert served(**known) == expected


def test_an_event_is_its_name_and_its_values() -> None:
    said = line("warning", event="upstream.circuit_opened", upstream="quay.io", reason="refused")
    assert said == "warning: upstream.circuit_opened  upstream=quay.io  reason=refused"
    assert line(event="a.b", message="do this", upstreams={"a": "b"}, names=["c", "d"]) == (
        "a.b  do this  upstreams=a:b  names=c,d"
    )


def test_nothing_steers_the_terminal() -> None:
    assert served(reference="\x1b[31m\u202e\x9b").isprintable()
    assert line(event="x", agent="a\r\nforged: line\u2028").isprintable()


def test_a_crash_shows_where() -> None:
    text = line("error", event="request.crashed", exc_info=ValueError("the cause"))
    first, *trace = text.splitlines()
    assert first == "error: request.crashed"
    assert trace == ["ValueError: the cause"]
