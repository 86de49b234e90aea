"""One registry, asked for manifests and blobs; fits ports.Upstream."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    UpstreamDenied,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.oci.headers.link import Page, following
from proxy.oci.mediatype import UPSTREAM_ACCEPT, MediaType
from proxy.oci.reference import Digest
from proxy.ports import Fetched, Head
from proxy.upstream.auth.authority import Authority
from proxy.upstream.auth.credentials import Credentials
from proxy.upstream.auth.token_server import TokenServer
from proxy.upstream.blob import BlobAnswer, parse_answer, unsatisfied_size
from proxy.upstream.failures import refusal
from proxy.upstream.observation import Observation
from proxy.upstream.session import Answer, Session, drain, read_whole
from proxy.upstream.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from proxy.oci.reference import Tag
    from proxy.upstream.auth.token_board import Sharing
    from proxy.upstream.observation import Observed, Tally

__all__ = ["Credentials", "RegistryClient", "Transport"]

# distribution spec, "Pushing Manifests": registries must take 4 MiB, and hardly any takes more.
MAX_MANIFEST: Final = 4 * 1024 * 1024

_MANIFEST_HEADERS: Final = {"Accept": UPSTREAM_ACCEPT}
# As its last challenge would have it, then for the scope that it wants now: with a token that was
# kept, and with a new one. The fourth is for a token that somebody else renewed meanwhile.
_ATTEMPTS: Final = 4


class RegistryClient:
    """One registry. It dials nothing before it is asked for something."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        prefix: str = "",
        credentials: Callable[[], Credentials | None] = lambda: None,
        transport: Transport | None = None,
        realms: Collection[str] = (),
        observe: Callable[[Observed], None] = lambda _observed: None,
        shared: Sharing | None = None,
    ) -> None:
        """`name` is what people call it, `url` its origin, `prefix` goes before each repository.

        `credentials` is asked whenever they are needed. `realms` are further hosts that the
        registry may name as token servers, and redirect to wherever they are. `observe` is told of
        each operation when it ends. Tokens are `shared` with other processes that way.
        """
        transport = transport or Transport()
        self._name = name
        self._prefix = f"{prefix}/" if prefix else ""
        self._timeout = transport.answer_timeout
        self._observation = Observation(observe)
        self._session = Session(name=name, url=url, transport=transport, trusted=realms)
        server = TokenServer(
            name=name, session=self._session, timeout=self._timeout, observation=self._observation
        )
        self._authority = Authority(
            name=name,
            url=url,
            realms=realms,
            credentials=credentials,
            ask=server.ask if shared is None else shared.between(name, server.ask),
        )

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for 404. `digest` is None if the upstream names none."""
        with self._observation.of("manifest_head") as tally:
            async with self._deadline():
                answer = await self._ask(
                    tally, "HEAD", name, f"manifests/{reference}", _MANIFEST_HEADERS
                )
            async with answer.response as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    raise ManifestUnknown(f"{self._name} has no manifest {name} {reference}")
                _check(answer, HTTPStatus.OK)
                return Head(_digest(answer), _content_type(answer))

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; ManifestUnknown for 404."""
        with self._observation.of("manifest") as tally:
            async with self._deadline():
                answer = await self._ask(
                    tally, "GET", name, f"manifests/{reference}", _MANIFEST_HEADERS
                )
                async with answer.response as response:
                    if response.status == HTTPStatus.NOT_FOUND:
                        raise ManifestUnknown(f"{self._name} has no manifest {name} {reference}")
                    _check(answer, HTTPStatus.OK)
                    raw = await read_whole(answer, MAX_MANIFEST)
            tally.received = len(raw)
            return Fetched(raw, _content_type(answer), _digest(answer))

    async def blob_size(self, name: str, digest: Digest) -> int | None:
        """HEAD; None if the upstream does not say. BlobUnknown for 404."""
        with self._observation.of("blob_head") as tally:
            async with self._deadline():
                answer = await self._ask(tally, "HEAD", name, f"blobs/{digest}", {})
            async with answer.response as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    raise BlobUnknown(f"{self._name} has no blob {name} {digest}")
                _check(answer, HTTPStatus.OK)
                return response.content_length

    @asynccontextmanager
    async def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
    ) -> AsyncIterator[BlobAnswer]:
        """GET from byte `start` to byte `end` (inclusive; None is the last). BlobUnknown for 404.

        `start` below 0 are so many bytes at the end, as far as the registry knows such ranges.
        `validator` is that of an earlier answer: if it is another one now, all of it comes.
        RangeInvalid where the upstream answers 416. Whoever leaves early closes the connection.
        """
        headers = {}
        if start != 0 or end is not None:
            wanted = start if start < 0 else f"{start}-{'' if end is None else end}"
            headers["Range"] = f"bytes={wanted}"
            if validator is not None:
                headers["If-Range"] = validator
        with self._observation.of("blob") as tally:
            async with self._deadline():
                answer = await self._ask(tally, "GET", name, f"blobs/{digest}", headers)
            async with answer.response as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    raise BlobUnknown(f"{self._name} has no blob {name} {digest}")
                if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
                    raise await self._range_invalid(answer, name, digest)
                _check(answer, HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
                blob = parse_answer(answer, start=start, end=end)
                try:
                    yield blob
                finally:
                    tally.received = blob.received
                    tally.outcome = "ok" if blob.finished else "abandoned"

    async def tags(self, name: str, query: str) -> Page:
        """One page of the repository's tags; NameUnknown for 404. `query` is `n` and `last`."""
        page = await self._page("tags", name, "tags/list", query, "application/json")
        if page is None:
            raise NameUnknown(f"{self._name} has no repository {name}")
        return page

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of what refers to `digest`; None where the upstream has no referrers API."""
        return await self._page(
            "referrers", name, f"referrers/{digest}", query, MediaType.OCI_INDEX
        )

    async def _page(self, kind: str, name: str, path: str, query: str, accept: str) -> Page | None:
        """None for 404: the repository, or the API, is not there."""
        with self._observation.of(kind) as tally:
            async with self._deadline():
                path = f"{path}?{query}" if query else path
                answer = await self._ask(tally, "GET", name, path, {"Accept": accept})
                async with answer.response as response:
                    if response.status == HTTPStatus.NOT_FOUND:
                        return None
                    _check(answer, HTTPStatus.OK)
                    raw = await read_whole(answer, MAX_MANIFEST)
            tally.received = len(raw)
            return Page(
                raw,
                following(response.headers.get("Link")),
                filtered="artifacttype" in response.headers.get("OCI-Filters-Applied", "").lower(),
            )

    async def close(self) -> None:
        """Close every connection."""
        await self._authority.close()
        await self._session.close()

    async def _ask(
        self, tally: Tally, method: str, name: str, path: str, headers: Mapping[str, str]
    ) -> Answer:
        """The registry's answer, after as many challenges as it has a right to."""
        name = self._prefix + name
        authorization = await self._authority.known(name)
        for _ in range(_ATTEMPTS):
            answer = await self._session.send(
                method,
                f"/v2/{name}/{path}",
                headers=headers,
                authorization=authorization.value if authorization else None,
            )
            if answer.response.status != HTTPStatus.UNAUTHORIZED or answer.away:
                tally.begin(answer.response.headers)
                return answer
            lines = answer.response.headers.getall("WWW-Authenticate", [])
            await drain(answer.response)
            authorization = await self._authority.answer(name, lines, refused=authorization)
        raise UpstreamDenied(f"{self._name} answered 401 to every login", status=401)

    async def _range_invalid(
        self, answer: Answer, name: str, digest: Digest
    ) -> RangeInvalid | UpstreamInvalid:
        size = unsatisfied_size(answer.response.headers.get("Content-Range"))
        if size is None:
            # S3 and its like say so only in XML.
            size = await self.blob_size(name, digest)
        if size is None:
            return UpstreamInvalid(
                f"{answer.endpoint} refuses the range, and does not say the size"
            )
        return RangeInvalid(f"{name} {digest} has {size} bytes", size=size)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError:
            raise UpstreamUnavailable(
                f"{self._name} gave no whole answer within {self._timeout:g} s"
            ) from None


def _check(answer: Answer, *expected: HTTPStatus) -> None:
    """UpstreamFailure for any answer but the `expected` ones with bytes that nobody has encoded."""
    response = answer.response
    if response.status not in expected:
        failure = refusal(answer.endpoint, response.status, response.headers)
        if answer.away and isinstance(failure, UpstreamDenied):
            # The registry let us in; that its storage does not is a fault, and may pass.
            failure = UpstreamUnavailable(failure.message, status=failure.status)
        failure.elsewhere = answer.away
        raise failure
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UpstreamInvalid(f"{answer.endpoint} sent a Content-Encoding that nobody asked for")


def _digest(answer: Answer) -> Digest | None:
    try:
        return Digest(answer.response.headers.get("Docker-Content-Digest", "").strip())
    except DigestInvalid:
        return None


def _content_type(answer: Answer) -> str:
    """As it came, for it decides what is served; nothing that no header of ours could repeat."""
    value = answer.response.headers.get("Content-Type", "")
    return value if value.isascii() and value.isprintable() else ""
