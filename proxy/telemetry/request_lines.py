"""The log lines of requests: what structlog would write, without its way from call to line.

A bound logger, its processors and their dictionaries cost more than the line itself. Requests that
repeat have lines that repeat but for their id, client and duration: those are encoded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from proxy.telemetry.log import Render, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVENT: Final = "request.served"
_CLIENTS: Final = 1024


@dataclass(frozen=True, slots=True)
class RepeatedLine:
    """The line of equal requests; made by `RequestLines.prepare`."""

    agent: str
    more: Mapping[str, str]
    members: bytes
    # What is between the time, the client and the duration, as it is in the line.
    begin: bytes
    middle: bytes
    end: bytes


class RequestLines:
    """Writes them to the log that has been started; to structlog if that writes no JSON."""

    def __init__(self) -> None:
        """Bind the log once, because that costs as much as a line."""
        config = structlog.get_config()
        processor = config["processors"][-1]
        self._log = structlog.get_logger().bind()
        self._render = processor if isinstance(processor, Render) else None
        if self._render is not None:
            self._line = config["logger_factory"]().msg

    def write(
        self,
        level: str,
        members: bytes,
        *,
        id: str,  # noqa: A002 -- what the line calls it
        client: str | None,
        agent: str,
        seconds: float,
        more: Mapping[str, str],
    ) -> None:
        """Write one line; `members` follow those that are given here."""
        event: dict[str, object] = {"id": id, "client": client, "agent": agent}
        event |= {"seconds": round(seconds, 6), **more}
        if self._render is None:
            getattr(self._log, level)(_EVENT, members=members, **event)
        else:
            event["event"], event["members"] = _EVENT, members
            self._line(self._render(None, level, event))

    def prepare(self, members: bytes, *, agent: str, more: Mapping[str, str]) -> RepeatedLine:
        """Encode what the lines of equal requests have in common."""
        always = {} if self._render is None else self._render.always
        begin = encode({"level": "info", **always})[1:-1] + b","
        middle = encode({"agent": agent})[1:-1]
        end = encode({**more, "event": _EVENT})[1:-1]
        return RepeatedLine(
            agent, more, members, begin, b',%b,"seconds":' % middle, b",%b,%b}" % (end, members)
        )

    def repeat(
        self,
        line: RepeatedLine,
        *,
        id: bytes,  # noqa: A002 -- what the line calls it
        client: str,
        seconds: float,
    ) -> None:
        """Write such a line: the same bytes as `write` at level `info`."""
        if self._render is None:
            self.write(
                "info",
                line.members,
                id=id.decode(),
                client=client,
                agent=line.agent,
                seconds=seconds,
                more=line.more,
            )
            return
        self._line(
            b'{"time":"%b",%b"id":"%b","client":%b%b%b%b'
            % (
                self._render.stamp().encode(),
                line.begin,
                id,
                _encode_client(client),
                line.middle,
                orjson.dumps(round(seconds, 6)),
                line.end,
            )
        )


@lru_cache(_CLIENTS)
def _encode_client(client: str) -> bytes:
    return encode(client)
