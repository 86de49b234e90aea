"""One registry's connections: requests and their redirects. Credentials stay at its origin."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from proxy.errors import FailedAt, FailureContext, Phase, UpstreamInvalid
from proxy.kit.content_coding import choose_content, looks_like_json, parse_coding
from proxy.upstream import redirect
from proxy.upstream.failures import failures
from proxy.upstream.ssrf import Guard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from proxy.oci.reference import Digest
    from proxy.upstream.transport import Transport

# The body of a challenge or redirect is read only so that its connection can be used again.
_DRAINED: Final = 64 * 1024
_DRAIN_TIMEOUT: Final = 1.0
# The head of an answer is kept for as long as its body takes. In bytes: page tokens and signed
# redirects take 16 KiB each.
_LONGEST_HEAD: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body is still to come. `endpoint` names the server, for a person."""

    response: aiohttp.ClientResponse
    endpoint: str
    at: FailedAt
    url: URL

    @property
    def context(self) -> FailureContext:
        """Of a failure after this head."""
        return FailureContext(at=self.at, phase=Phase.ANSWER, status=self.response.status)


async def _nothing(_url: URL) -> None:
    """What servers that are redirected to get where nothing is to be sent."""


class Session:
    """The connections to one registry, and to where it redirects. Opened when first needed."""

    def __init__(
        self, *, name: str, url: str, transport: Transport, trusted: Collection[str] = ()
    ) -> None:
        """`trusted` hosts may be on a private network although the registry is not."""
        self._name = name
        self._base = URL(url)
        self._transport = transport
        self._trusted = trusted
        self._open: tuple[aiohttp.ClientSession, Guard] | None = None

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        authorization: str | None,
        elsewhere: Callable[[URL], Awaitable[str | None]] = _nothing,
        silence: float | None = None,
    ) -> Answer:
        """Return the answer of the registry, or of the server that it redirects to.

        `authorization` is sent to the registry's own origin only, and not after a redirect has left
        it. From there on `elsewhere` returns what each server gets instead. `silence` is how long
        an answer may take to begin, in seconds, where that is longer than a body may be silent.
        """
        url = URL(f"{self._base}".rstrip("/") + path, encoded=True)
        endpoint, at, visited = self._name, FailedAt.REGISTRY, {url}
        while True:
            sent = dict(headers)
            own = at is FailedAt.REGISTRY
            value = authorization if own else await elsewhere(url)
            if value is not None:
                sent["Authorization"] = value
            response = await self._request(
                method, url, sent, endpoint=endpoint, at=at, own=own, silence=silence
            )
            if response.status not in redirect.STATUSES:
                return Answer(response, endpoint, at, url)
            await drain(response)
            url = self._next(endpoint, url, response, visited)
            if redirect.origin(url) != redirect.origin(self._base):
                at = FailedAt.REDIRECT
            if at is FailedAt.REDIRECT:
                endpoint = f"{url.raw_host}, which {self._name} redirects to,"

    async def token(
        self, url: URL, headers: Mapping[str, str], *, form: bytes | None = None
    ) -> Answer:
        """Return a token server's answer, or that of where it redirects to on its own origin.

        GET, or POST of a `form`, which is encoded as a URL's query is. Credentials follow no
        redirect to another origin: UpstreamInvalid.
        """
        endpoint = f"{url.raw_host}, the token server of {self._name},"
        method, sent = "GET", dict(headers)
        if form is not None:
            method, sent["Content-Type"] = "POST", "application/x-www-form-urlencoded"
        home, visited = redirect.origin(url), {url}
        own = home == redirect.origin(self._base)
        at = FailedAt.TOKEN_SERVER
        while True:
            response = await self._request(
                method, url, sent, form, endpoint=endpoint, at=at, own=own
            )
            if response.status not in redirect.STATUSES:
                return Answer(response, endpoint, at, url)
            await drain(response)
            url = self._next(endpoint, url, response, visited)
            if redirect.origin(url) != home:
                raise UpstreamInvalid(
                    f"{endpoint} answered {response.status}, a redirect to another origin, "
                    f"{url.raw_host}: nothing was sent there, and no setting allows it, because "
                    "logins follow no such redirect; the registry has to name that server itself",
                    context=FailureContext(at=at),
                )
            if form is not None and response.status not in redirect.SAME_METHOD:
                raise UpstreamInvalid(
                    f"{endpoint} redirects a POST to a GET", context=FailureContext(at=at)
                )

    async def close(self) -> None:
        """Close every connection."""
        if self._open is not None:
            session, guard = self._open
            self._open = None
            await session.close()
            await guard.close()

    def _next(
        self, endpoint: str, url: URL, response: aiohttp.ClientResponse, visited: set[URL]
    ) -> URL:
        """Where a redirect leads; UpstreamInvalid in circles, or after too many."""
        target = redirect.follow(endpoint, url, response.headers.get("Location"))
        if target in visited or len(visited) > redirect.MAX_REDIRECTS:
            raise UpstreamInvalid(f"{endpoint} redirects in circles, or too often")
        visited.add(target)
        return target

    async def _request(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        endpoint: str,
        at: FailedAt,
        own: bool,
        silence: float | None = None,
    ) -> aiohttp.ClientResponse:
        proxy, host = self._transport.proxy, url.raw_host or ""
        if self._open is None:
            home = self._base.raw_host or ""
            guard = Guard(home, self._trusted, proxy=proxy.host if proxy else "")
            self._open = self._transport.open(guard), guard
        session, guard = self._open
        through = proxy if proxy is not None and proxy.serves(host) else None
        with failures(endpoint, FailureContext(at=at, phase=Phase.WAIT)):
            await (guard.admit(host) if through is None else guard.admit_through_proxy(host))
            response = await session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                proxy=through.url if through is not None else None,
                ssl=self._transport.tls_for(own=own),
                timeout=self._transport.timeout(silence),
            )
        if sum(len(name) + len(value) for name, value in response.headers.items()) > _LONGEST_HEAD:
            response.close()
            raise UpstreamInvalid(
                f"{endpoint} sent headers of more than {_LONGEST_HEAD} bytes",
                context=FailureContext(at=at, phase=Phase.WAIT),
            )
        if silence is not None:
            # It is None where the whole body was received with the head.
            protocol = response.connection and response.connection.protocol
            if protocol is not None:
                protocol.read_timeout = self._transport.idle_timeout
                protocol.start_timeout()
        return response


async def drain(response: aiohttp.ClientResponse) -> None:
    """Read a short body, so that the connection can be used again; close it if there is more."""
    async with response:
        with suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                size = 0
                while size <= _DRAINED and (chunk := await response.content.readany()):
                    size += len(chunk)


async def read_whole(answer: Answer, limit: int) -> bytes:
    """Return the body; UpstreamInvalid as soon as it is longer than `limit` bytes.

    UpstreamUnavailable if it ends early.
    """
    announced = answer.response.content_length
    chunks: list[bytes] = []
    size = 0
    while announced is None or announced <= limit:
        with failures(answer.endpoint, answer.context):
            chunk = await answer.response.content.readany()
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            break
    raise UpstreamInvalid(f"{answer.endpoint} sent more than {limit} bytes", context=answer.context)


async def read_content(answer: Answer, limit: int, digest: Digest | None = None) -> bytes:
    """Return the content of `read_whole`, decoded if its Content-Encoding is more than a label.

    The content is what has the `digest`; without one it is JSON, as all other answers are.
    """
    raw = await read_whole(answer, limit)
    labels = answer.response.headers.getall("Content-Encoding", None)
    if labels is None:
        return raw
    return choose_content(
        raw,
        parse_coding(labels),
        looks_like_json if digest is None else digest.matches,
        limit=limit,
        sender=answer.endpoint,
    )
