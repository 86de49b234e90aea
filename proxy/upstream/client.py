"""One registry over HTTP, asked for manifests, blobs and listings. Fits ports.Upstream."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestUnconfirmed,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    UpstreamInvalid,
)
from proxy.kit.clock import SYSTEM_CLOCK
from proxy.kit.singleflight import SingleFlight
from proxy.oci.mediatype import UPSTREAM_ACCEPT, MediaType
from proxy.oci.reference import Digest
from proxy.ports import Fetched, Head
from proxy.upstream.auth.authority import Authority
from proxy.upstream.auth.credentials import Credentials
from proxy.upstream.auth.elsewhere import RedirectAuthorities
from proxy.upstream.auth.token_server import TokenServer
from proxy.upstream.auth.tokens import Tokens
from proxy.upstream.blob import CONTENT, WHOLE, BlobAnswer, parse_answer, unsatisfied_size
from proxy.upstream.blob_length import BlobLengths
from proxy.upstream.listing import lacks_referrers_api, read_page
from proxy.upstream.observation import Observation
from proxy.upstream.operation import Kind
from proxy.upstream.refusal import has_version, is_refused_request, read_refusal, require_registry
from proxy.upstream.requests import AuthorizedRequests
from proxy.upstream.session import Session, read_content
from proxy.upstream.slots import Slots
from proxy.upstream.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from proxy.kit.clock import Clock
    from proxy.oci.headers.link import Page
    from proxy.oci.reference import Tag
    from proxy.ports import Late
    from proxy.upstream.auth.login_watch import LoginWatch
    from proxy.upstream.auth.token_board import Sharing
    from proxy.upstream.client_rate import ClientRate
    from proxy.upstream.observation import Observed, Tally
    from proxy.upstream.session import Answer

__all__ = ["Credentials", "RegistryClient", "Transport"]

# distribution spec, "Pushing Manifests": registries must take 4 MiB, and hardly any takes more.
MAX_MANIFEST: Final = 4 * 1024 * 1024

_MANIFEST_HEADERS: Final = {"Accept": UPSTREAM_ACCEPT}


class RegistryClient:
    """One registry. It connects when it is asked for something."""

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
        rate: ClientRate | None = None,
        shared: Sharing | None = None,
        login: LoginWatch | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`name` is what people call it, `url` its origin, `prefix` goes before each repository.

        `credentials` is called whenever they are needed. `realms` are further hosts that the
        registry may name as token servers, and redirect to wherever they are. `observe` is called
        with each operation when it ends. `rate` limits what each client causes. `shared` is how
        tokens are shared with other processes.
        """
        transport = transport or Transport()
        self._name = name
        self._prefix = f"{prefix}/" if prefix else ""
        self._observation = Observation(observe, clock)
        self._rate = rate
        self._slots = Slots(transport.connections, name=name)
        self._session = Session(name=name, url=url, transport=transport, trusted=realms)
        server = TokenServer(
            name=name,
            session=self._session,
            timeout=transport.answer_timeout,
            observation=self._observation,
            clock=clock,
        )
        self._flights = SingleFlight(None if shared is None else shared.leases)
        tokens = Tokens(
            server.ask,
            registry=name,
            flights=self._flights,
            board=None if shared is None else shared.board,
            clock=clock,
        )
        self._requests = AuthorizedRequests(
            name=name,
            session=self._session,
            authority=Authority(
                name=name,
                url=url,
                realms=realms,
                credentials=credentials,
                tokens=tokens,
                login=login,
            ),
            redirected=RedirectAuthorities(name=name, realms=realms, tokens=tokens),
            timeout=transport.answer_timeout,
            silence=transport.idle_timeout,
            clock=clock,
        )
        self._lengths = BlobLengths(self._requests, name=name, prefix=self._prefix)

    async def head_manifest(self, name: str, reference: Digest | Tag) -> Head:
        """HEAD; ManifestUnknown for the registry's own 404, ManifestUnconfirmed for any other.

        `digest` is None if the upstream names none.
        """
        async with self._operation(Kind.MANIFEST_HEAD) as tally:
            async with self._requests.deadline():
                answer = await self._requests.send(
                    tally, "HEAD", self._prefix + name, f"manifests/{reference}", _MANIFEST_HEADERS
                )
            async with answer.response as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    unknown = ManifestUnknown if has_version(answer) else ManifestUnconfirmed
                    raise unknown(f"{self._name} has no manifest {_image(name, reference)}")
                self._requests.check(answer, *WHOLE)
                size = response.content_length
                return Head(_digest(answer), _content_type(answer), size)

    async def manifest(self, name: str, reference: Digest | Tag) -> Fetched:
        """GET; ManifestUnknown for the registry's own 404."""
        async with self._operation(Kind.MANIFEST) as tally:
            async with self._requests.deadline():
                answer = await self._requests.send(
                    tally, "GET", self._prefix + name, f"manifests/{reference}", _MANIFEST_HEADERS
                )
                async with answer.response as response:
                    if response.status == HTTPStatus.NOT_FOUND:
                        await require_registry(answer)
                        raise ManifestUnknown(
                            f"{self._name} has no manifest {_image(name, reference)}"
                        )
                    self._requests.check(answer, *WHOLE)
                    expected = reference if isinstance(reference, Digest) else _digest(answer)
                    raw = await read_content(answer, MAX_MANIFEST, expected)
            tally.received = len(raw)
            return Fetched(raw, _content_type(answer), _digest(answer))

    async def blob_size(
        self, name: str, digest: Digest, *, expected: int | None = None, may_get: bool = True
    ) -> int | None:
        """HEAD; None if the upstream does not say. BlobUnknown for 404.

        With `may_get`, an answer that is neither, or a length that cannot be right, is settled by
        the head of a GET. `expected` is the length as somebody else states it.
        """
        async with self._operation(Kind.BLOB_HEAD) as tally, self._requests.deadline():
            return await self._lengths.read(tally, name, digest, expected=expected, may_get=may_get)

    @asynccontextmanager
    async def blob(
        self,
        name: str,
        digest: Digest,
        *,
        start: int = 0,
        end: int | None = None,
        validator: str | None = None,
        late: Late | None = None,
        is_retry: bool = False,
    ) -> AsyncIterator[BlobAnswer]:
        """GET from byte `start` to byte `end` (inclusive; None is the last). BlobUnknown for 404.

        `start` below 0 means that many last bytes, if the registry supports such ranges. With the
        `validator` of an earlier answer, the whole blob is sent if it has changed since.
        RangeInvalid for 416. Leaving before the end of the body closes the connection. An answer
        that has not begun in time is a failure, unless there is someone to tell that it is `late`.
        """
        del is_retry
        headers = {}
        if start != 0 or end is not None:
            wanted = start if start < 0 else f"{start}-{'' if end is None else end}"
            headers["Range"] = f"bytes={wanted}"
            if validator is not None:
                headers["If-Range"] = validator
        async with self._operation(Kind.BLOB) as tally:
            async with self._requests.deadline(late):
                answer = await self._requests.send(
                    tally,
                    "GET",
                    self._prefix + name,
                    f"blobs/{digest}",
                    headers,
                    may_be_late=late is not None,
                )
            async with answer.response as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    await require_registry(answer)
                    raise BlobUnknown(f"{self._name} has no blob {name} {digest}")
                if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
                    raise await self._range_invalid(answer, name, digest)
                self._requests.check(answer, *CONTENT)
                blob = parse_answer(answer, start=start, end=end)
                try:
                    yield blob
                finally:
                    tally.received = blob.received
                    tally.outcome = "ok" if blob.finished else "abandoned"

    async def tags(self, name: str, query: str) -> Page:
        """One page of the repository's tags; NameUnknown for the registry's own 404.

        `query` is sent as it is. ListingRefused if the registry refuses it with another 4xx.
        """
        async with self._operation(Kind.TAGS) as tally, self._requests.deadline():
            answer = await self._get_page(tally, name, "tags/list", query, "application/json")
            async with answer.response as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    await require_registry(answer)
                    raise NameUnknown(f"{self._name} has no repository {name}")
                if is_refused_request(response.status):
                    raise await read_refusal(answer)
                self._requests.check(answer, *WHOLE)
                return await read_page(tally, answer)

    async def referrers(self, name: str, digest: Digest, query: str) -> Page | None:
        """One page of what refers to `digest`; None where the upstream has no referrers API.

        Registries say that they have none in many ways. A failure is only what may pass, or what
        a login may change.
        """
        async with self._operation(Kind.REFERRERS) as tally:
            async with self._requests.deadline():
                path = f"referrers/{digest}"
                answer = await self._get_page(tally, name, path, query, MediaType.OCI_INDEX)
                async with answer.response as response:
                    if lacks_referrers_api(response.status):
                        return None
                    self._requests.check(answer, *WHOLE)
                    page = await read_page(tally, answer)
            # Some registries answer every path that they do not know with a page for people.
            return page if page.raw.lstrip()[:1] == b"{" else None

    @asynccontextmanager
    async def _operation(self, kind: Kind) -> AsyncIterator[Tally]:
        """Report one operation, which begins when our own limits allow it."""
        if self._rate is not None:
            self._rate.spend(self._name)
        async with self._slots.hold(kind):
            with self._observation.of(kind) as tally:
                yield tally

    async def _get_page(
        self, tally: Tally, name: str, path: str, query: str, accept: str
    ) -> Answer:
        path = f"{path}?{query}" if query else path
        return await self._requests.send(
            tally, "GET", self._prefix + name, path, {"Accept": accept}
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._flights.close()
        await self._session.close()

    async def _range_invalid(
        self, answer: Answer, name: str, digest: Digest
    ) -> RangeInvalid | UpstreamInvalid:
        size = unsatisfied_size(answer.response.headers.get("Content-Range"))
        if size is None:
            # S3 and services like it state the size only in XML.
            size = await self.blob_size(name, digest)
        if size is None:
            return UpstreamInvalid(
                f"{answer.endpoint} refuses the range, and does not state the size",
                context=answer.context,
            )
        return RangeInvalid(f"{name} {digest} has {size} bytes", size=size)


def _image(name: str, reference: Digest | Tag) -> str:
    return f"{name}{'@' if isinstance(reference, Digest) else ':'}{reference}"


def _digest(answer: Answer) -> Digest | None:
    try:
        return Digest(answer.response.headers.get("Docker-Content-Digest", "").strip())
    except DigestInvalid:
        return None


def _content_type(answer: Answer) -> str:
    """Return the header unchanged: it decides what is served. "" if no header can carry it."""
    value = answer.response.headers.get("Content-Type", "")
    return value if value.isascii() and value.isprintable() else ""
