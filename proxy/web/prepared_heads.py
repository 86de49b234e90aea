"""Responses to request heads that equal one that was answered a moment ago, without parsing them.

The bytes of a head, and what is known of its connection, decide the response as long as the tag
is fresh, the client's admission holds and nothing in memory is out of date: `answer` asks for all
of that each time. What remains of a request is a look-up, a count and a line in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Final, TypeAlias

from proxy.kit.lru import LruCache
from proxy.oci.reference import Tag
from proxy.web.paths import BlobTarget, ManifestTarget
from proxy.web.prepared import PreparedResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from proxy.blobs.closure import ClosureProofs
    from proxy.blobs.recency import BlobUse, RecencyTracker
    from proxy.oci.reference import Digest, Repository
    from proxy.web.access_log import AccessLog, AccessLogLine, RepeatedRequest
    from proxy.web.admission import Admission
    from proxy.web.connection import Connection
    from proxy.web.prepared_answer import PreparedAnswer
    from proxy.web.request import Request

# Longer heads are parsed each time.
MAX_HEAD: Final = 8 * 1024
# The memory of an entry besides its head and body, in bytes, and the number of heads that are
# known to have come once: many have a header that is another one each time.
_COST: Final = 4096
_SEEN: Final = 16 * 1024
END_OF_HEAD: Final = b"\r\n\r\n"
# What the request has beside its head, or wants beside its response.
_NOT_ALONE: Final = ("Content-Length", "Transfer-Encoding", "Expect", "Upgrade")

# What is known of a connection, and the head itself rather than a hash of it: bytes that differ are
# never taken for equal, and Python's own hash of bytes has a secret key.
HeadKey: TypeAlias = tuple[object, bytes]


@dataclass(frozen=True, slots=True)
class PreparedHead:
    """A response, and what it depends on.

    `tag` names `named`, if the request is by tag. `admission` is the client's. The blobs of the
    manifest `proved` are proved for a closed repository. `forwarded` are the header lines that
    name the client.
    """

    repository: Repository
    tag: Tag | None
    named: Digest | None
    response: PreparedResponse
    use: BlobUse
    admission: Admission
    proved: Digest | None
    request: RepeatedRequest
    forwarded: tuple[str, ...]


class PreparedHeads:
    """The heads that were answered twice, bounded in bytes; for one listener."""

    def __init__(
        self,
        memory: int,
        *,
        fresh: Callable[[Repository, Tag], Digest | None],
        usage: RecencyTracker,
        access_log: AccessLog,
        closure: ClosureProofs | None,
    ) -> None:
        """`fresh` is what a tag names, if memory knows; the others as for `Registry`."""
        self._fresh = fresh
        self._usage = usage
        self._access_log = access_log
        self._closure = closure
        self._entries: LruCache[HeadKey, PreparedHead] = LruCache(memory)
        self._seen: LruCache[int, None] = LruCache(_SEEN)

    def __len__(self) -> int:
        return len(self._entries)

    def forget(self) -> None:
        """Drop the responses: what they were made of may have changed."""
        self._entries.clear()

    def find(self, key: HeadKey) -> PreparedHead | None:
        """What was prepared for the head."""
        return self._entries.get(key)

    def has_seen(self, key: HeadKey) -> bool:
        """Whether the bytes are one head, and came before; the first time is noted."""
        if not key[1].endswith(END_OF_HEAD):
            return False
        mark = hash(key)
        if mark in self._seen:
            return True
        self._seen.put(mark, None, 1)
        return False

    def put(
        self,
        request: Request,
        answer: PreparedAnswer,
        response: web.StreamResponse,
        line: AccessLogLine,
    ) -> None:
        """Prepare the head that `request` came with, if it was seen before; it was answered."""
        key, target, admission = request.head, line.target, line.admission
        if (
            key is None
            or admission is None
            or not admission.holds(monotonic())
            or not isinstance(response, PreparedResponse)
            or not isinstance(target, ManifestTarget | BlobTarget)
            or any(name in request.headers for name in _NOT_ALONE)
        ):
            return
        tag = named = None
        if isinstance(target, ManifestTarget) and isinstance(target.reference, Tag):
            tag = target.reference
            named = self._fresh(target.repository, tag)
            if named != answer.named:
                return
        proves = line.private and isinstance(target, ManifestTarget)
        prepared = PreparedHead(
            target.repository,
            tag,
            named,
            response,
            answer.use,
            admission,
            answer.digest if proves else None,
            self._access_log.prepare(request, line),
            tuple(request.headers.getall("X-Forwarded-For", ())),
        )
        self._entries.put(key, prepared, len(key[1]) + response.size + _COST)

    def answer(self, key: HeadKey, head: PreparedHead, connection: Connection) -> bytes | None:
        """The response, logged and counted; None if the head must be parsed."""
        began = perf_counter()
        if (
            head.tag is not None and self._fresh(head.repository, head.tag) != head.named
        ) or not head.admission.holds(monotonic()):
            self._entries.delete(key)
            return None
        if not head.admission.is_counted_on(connection):
            return None
        head.admission.count()
        if began >= head.use.due:
            self._usage.tell(head.use, began)
            if head.proved is not None and self._closure is not None:
                self._closure.start(head.repository, head.proved, head.use.blobs, began)
        self._access_log.repeat(head.request, connection.address, began)
        return head.response.wire()
