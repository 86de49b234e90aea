"""What a replica answers another one, as values, and how they stand in a frame. PURE."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from proxy.errors import (
    BlobUnknown,
    BudgetReserved,
    ListingRefused,
    ManifestUnknown,
    NameUnknown,
    Overloaded,
    RangeInvalid,
    RegistryError,
    StorageFailure,
    TagDeleted,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamOffline,
    UpstreamSaturated,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.peers.frames import Frame, FrameInvalid, Kind
from proxy.peers.questions import Effort, Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from proxy.peers.questions import Question

_ERRORS: Final = {
    kind.__name__: kind
    for kind in (
        *(ManifestUnknown, BlobUnknown, NameUnknown, Overloaded, StorageFailure, UpstreamFailure),
        *(UpstreamUnavailable, UpstreamOffline, UpstreamSaturated, UpstreamDenied),
        *(UpstreamThrottled, BudgetReserved, UpstreamInvalid, TagDeleted),
    )
}


class NotStored(Exception):  # noqa: N818 -- no error: an answer
    """The replica does not have it, and was not asked to do anything for it."""


class Draining(Exception):  # noqa: N818 -- no error: an answer
    """The replica is about to end, and takes no more questions."""


class SeeOther(Exception):  # noqa: N818 -- no error: an answer
    """As many replicas as may read the blob from this one; another reader of it is named."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


@dataclass(frozen=True, slots=True)
class Value:
    """A short answer: what is said about it, and bytes."""

    about: dict[str, Any] = field(default_factory=dict)
    raw: bytes = b""

    def frame(self) -> Frame:
        """The answer as a frame."""
        return Frame(Kind.VALUE, json.dumps(self.about).encode() + b"\n" + self.raw)

    @classmethod
    def read(cls, frame: Frame) -> Value:
        """The answer in a frame; FrameInvalid for another kind, or none that can be read."""
        head, _, raw = frame.payload.partition(b"\n")
        return cls(_read_object(frame, Kind.VALUE, head), raw)


class Stream(Protocol):
    """Bytes of a blob from `start` on, of `total` in all."""

    @property
    def start(self) -> int:
        """The offset of the first byte."""
        ...

    @property
    def total(self) -> int | None:
        """The whole blob's size in bytes, if it is known."""
        ...

    def chunks(self) -> AsyncIterator[bytes | memoryview]:
        """Yield the bytes as they may be sent."""
        ...


class Content(Protocol):
    """What a replica answers its peers with. Raises RegistryError or NotStored."""

    async def value(self, question: Question) -> Value:
        """The answer to a question about anything but the bytes of a blob."""
        ...

    async def store(self, question: Question, body: bytes) -> Value:
        """Store what another replica has sent; what is stored now."""
        ...

    def stream(self, question: Question) -> AbstractAsyncContextManager[Stream]:
        """The bytes of a blob."""
        ...


class News(Protocol):
    """What replicas exchange with every answer about their health: purges."""

    async def mark(self) -> str:
        """Return a mark that is equal for equal knowledge."""
        ...

    async def news(self, mark: str) -> list[Any]:
        """Return the purges known here, as JSON; nothing for a replica with the same mark."""
        ...

    async def learn(self, news: Any) -> None:
        """Apply the purges of another replica; ValueError if they are malformed."""
        ...


class NoNews:
    """Nothing is known. Fits News."""

    async def mark(self) -> str:
        """The mark of nothing."""
        return ""

    async def news(self, mark: str) -> list[Any]:
        """Nothing."""
        del mark
        return []

    async def learn(self, news: Any) -> None:
        """What is told is asked for again later."""


def frame_of_error(error: RegistryError | NotStored | Draining | SeeOther) -> Frame:
    """Encode the error as a frame: as the nearest class that peers know."""
    about: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, RegistryError):
        about |= {"message": error.message, "retry_after": error.retry_after}
    match error:
        case SeeOther():
            about["address"] = error.address
        case RangeInvalid():
            about["size"] = error.size
        case ListingRefused():
            about |= {"status": error.status, "code": error.code}
        case RegistryError():
            kinds = (kind.__name__ for kind in type(error).__mro__)
            known = (name for name in kinds if name in _ERRORS)
            about["error"] = next(known, UpstreamFailure.__name__)
        case _:
            pass
    return Frame(Kind.ERROR, json.dumps(about).encode())


def read_error(frame: Frame) -> RegistryError | NotStored | Draining | SeeOther:
    """The error in a frame; FrameInvalid if there is none."""
    about = _read_object(frame, Kind.ERROR, frame.payload)
    match about:
        case {"error": "NotStored"}:
            return NotStored()
        case {"error": "Draining"}:
            return Draining()
        case {"error": "SeeOther", "address": str(address)}:
            return SeeOther(address)
        case {"error": "RangeInvalid", "message": str(message), "size": int(size)}:
            return RangeInvalid(message, size=size)
        case {
            "error": "ListingRefused",
            "message": str(message),
            "status": int(status),
            "code": str(code),
        }:
            return ListingRefused(message, status=status, code=code)
        case {"error": str(name), "message": str(message), "retry_after": after} if (
            name in _ERRORS and isinstance(after, int | float | None)
        ):
            return _ERRORS[name](message, retry_after=after)
    raise FrameInvalid("it names no error that we know")


def is_answer_to(
    question: Question, error: RegistryError | NotStored | Draining | SeeOther
) -> bool:
    """Whether a replica as it should be answers the question with such an error."""
    match error:
        case SeeOther():
            return (
                question.subject is Subject.BLOB
                and not question.direct
                and question.effort in {Effort.OWNER, Effort.FOLLOW}
            )
        case RangeInvalid():
            return question.subject is Subject.BLOB
        case ListingRefused():
            return question.subject in {Subject.TAGS, Subject.REFERRERS}
        case _:
            return True


def _read_object(frame: Frame, kind: Kind, encoded: bytes) -> dict[str, Any]:
    if frame.kind is not kind:
        raise FrameInvalid(f"it is a {frame.kind.name} where a {kind.name} is due")
    try:
        about = json.loads(encoded)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise FrameInvalid("it is no JSON object")
    return about
