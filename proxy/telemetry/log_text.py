"""The log for people at a terminal: one readable line for each request or event."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog

from proxy.oci.mediatype import form_of

# In a digest, so much is enough to tell one from another.
_DIGEST: Final = len("sha256:") + 12
_SECOND: Final = 1.0
# The members of an event that are not printed as KEY=VALUE.
_SHOWN_APART: Final = frozenset({"members", "message", "exception", "worker"})
_ROUTES: Final = {"blob": "blob", "tags": "list of tags", "referrers": "referrers", "ping": "/v2/"}


class RenderText:
    """A structlog processor; what could steer the terminal is escaped."""

    def __call__(self, logger: object, level: str, event: MutableMapping[str, Any]) -> bytes:
        """The line of one event, and the lines of its exception."""
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, level, event)
        now = time.strftime("%H:%M:%S")
        name = str(event.pop("event", ""))
        text = _request(event) if name == "request.served" else _event(name, event)
        mark = "" if level == "info" else f"{level}: "
        lines = [f"{now} {mark}{text}", *str(event.get("exception", "")).splitlines()]
        return b"\n".join(_printable(line).encode() for line in lines)


def _request(event: Mapping[str, Any]) -> str:
    """Method, image, status, form, source, duration, client."""
    known: dict[str, Any] = json.loads(b"{%b}" % event["members"])
    seconds = float(event["seconds"])
    took = f"{seconds:.1f} s" if seconds >= _SECOND else f"{seconds * 1000:.1f} ms"
    parts = [
        known["method"],
        _image(known),
        str(known["status"]),
        form_of(known["type"]) or _ROUTES.get(known["route"], ""),
        _source(known),
        took,
        f"{event['client']} {event['agent'].partition(' ')[0]}".strip(),
        known.get("error", ""),
    ]
    return "  ".join(filter(None, parts))


def _source(known: Mapping[str, Any]) -> str:
    cache = "" if known["cache"] == "none" else known["cache"]
    return f"{cache} ({known['via']})" if cache and "via" in known else cache


def _image(known: Mapping[str, Any]) -> str:
    reference = known["reference"]
    if reference.startswith("sha"):
        return f"{known['repository']}@{reference[:_DIGEST]}"
    return f"{known['repository']}:{reference}" if reference else known["repository"]


def _event(name: str, event: Mapping[str, Any]) -> str:
    values = [f"{key}={_value(value)}" for key, value in event.items() if key not in _SHOWN_APART]
    return "  ".join(filter(None, (name, str(event.get("message", "")), *values)))


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{below}" for key, below in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _printable(line: str) -> str:
    """Escape what is no printable character: a client chooses its own name."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
