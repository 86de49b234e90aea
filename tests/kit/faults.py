"""What a scripted upstream answers, and in which ways the answer can be wrong."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web
from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Mapping

_PIECE: Final = 64 * 1024
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_BODILESS: Final = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
_FOREVER: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, before anything goes wrong with it."""

    status: int
    headers: CIMultiDict[str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How an answer differs from the right one; what is not set stays right.

    `headers` replace, and None removes, also `Content-Length` and `Docker-Content-Digest`. `cut`
    closes the connection after so many bytes of the body, or with `stall` only falls silent.
    `delay` is before the answer, `pace` before each piece of 64 KiB, both in seconds. `raw` is
    written to the socket in place of an answer, and the connection closed.
    """

    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    corrupt: bool = False
    cut: int | None = None
    stall: bool = False
    delay: float = 0.0
    pace: float = 0.0
    chunked: bool = False
    ignore_range: bool = False
    raw: bytes | None = None


def redirect(location: str, status: int = 307) -> Fault:
    """The fault that is a redirect."""
    return Fault(status=status, headers={"Location": location}, body=b"")


@dataclass(slots=True)
class _Planned:
    method: str
    path: str
    fault: Fault
    times: int | None


class Plan:
    """The faults that are to come; the newest that fits a request is taken."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []

    def add(self, method: str, path: str, fault: Fault, times: int | None) -> None:
        self._planned.insert(0, _Planned(method, path, fault, times))

    def take(self, method: str, path: str) -> Fault:
        """The fault for a request; one without any fault in it if none is planned."""
        for planned in self._planned:
            if fnmatchcase(method, planned.method) and fnmatchcase(path, planned.path):
                if planned.times is not None:
                    planned.times -= 1
                    if planned.times == 0:
                        self._planned.remove(planned)
                return planned.fault
        return Fault()

    def clear(self) -> None:
        self._planned.clear()


def content(body: bytes, media_type: str, byte_range: str | None = None) -> Answer:
    """A 200, or a 206 or 416 for what a `Range` header asks for."""
    headers = CIMultiDict({"Content-Type": media_type})
    wanted = _RANGE.fullmatch(byte_range or "")
    if wanted is None:
        return Answer(200, headers, body)
    first, last = int(wanted[1] or 0), min(int(wanted[2] or len(body)), len(body) - 1)
    if not wanted[1]:
        first, last = max(0, len(body) - int(wanted[2])), len(body) - 1
    if first > last:
        headers["Content-Range"] = f"bytes */{len(body)}"
        return Answer(416, headers)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
    return Answer(206, headers, body[first : last + 1])


def error(status: int, code: str = "UNKNOWN") -> Answer:
    """An error in the distribution spec's form."""
    body = json.dumps({"errors": [{"code": code, "message": "scripted"}]}).encode()
    return Answer(status, CIMultiDict({"Content-Type": "application/json"}), body)


def spoil(answer: Answer, fault: Fault) -> Answer:
    """The answer, with what the fault says of its status, headers and body."""
    if fault.status in _BODILESS:
        answer = Answer(fault.status, CIMultiDict())
    elif fault.status is not None:
        answer = error(fault.status)
    if fault.body is not None:
        answer = replace(answer, body=fault.body)
    if fault.corrupt:
        answer = replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 1]))
    for header, value in fault.headers.items():
        answer.headers.popall(header, None)
        if value is not None:
            answer.headers[header] = value
    return answer


async def send(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    """Send the spoilt answer, as slowly and as far as the fault lets it go."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    odd = "Content-Length" in fault.headers
    if fault.chunked:
        response.enable_chunked_encoding()
    elif not odd:
        response.content_length = len(answer.body)
    body = b"" if request.method == "HEAD" else answer.body[: fault.cut]
    # Clients hang up: in many tests that is what they are there for.
    with suppress(ConnectionError):
        writer = await response.prepare(request)
        if writer is not None:
            writer.send_headers()
        for start in range(0, len(body), _PIECE):
            if fault.pace:
                await asyncio.sleep(fault.pace)
            await response.write(body[start : start + _PIECE])
    if fault.stall:
        await asyncio.sleep(_FOREVER)
    if (fault.cut is not None or odd) and request.transport is not None:
        request.transport.close()
    return response


async def send_raw(request: web.BaseRequest, raw: bytes) -> web.StreamResponse:
    """Write to the socket what is perhaps no HTTP at all, and hang up."""
    if request.transport is not None:
        request.transport.write(raw)
        request.transport.close()
    return web.Response()
