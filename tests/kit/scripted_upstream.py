"""A registry for tests, in this process: content by method calls, and any fault on demand.

    async with ScriptedUpstream() as upstream:
        digest = upstream.add_manifest("library/alpine", "3.20", raw, MediaType.OCI_MANIFEST)
        upstream.fault("GET", "/v2/*/manifests/*", Fault(status=503), times=1)
        ...
        assert upstream.count("HEAD", "/v2/library/alpine/manifests/3.20") == 1

A second one plays the storage that the first redirects to (`serve`).
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from dataclasses import dataclass
from fnmatch import fnmatchcase
from time import monotonic
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import parse_qs

from aiohttp import web
from multidict import CIMultiDict

from proxy.errors import ManifestInvalid
from proxy.oci.manifest import Schema1, read_manifest
from proxy.oci.reference import Digest
from tests.kit.faults import (
    Answer,
    Fault,
    Plan,
    content,
    error,
    redirect,
    send,
    send_raw,
    spoil,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from types import TracebackType

    from multidict import CIMultiDictProxy

__all__ = ["Fault", "Request", "ScriptedUpstream", "redirect"]

_PATH: Final = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")
# Page tokens have up to 16 KiB, in bytes.
_LONGEST_LINE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in. `query` is raw; `at` is monotonic, in seconds.

    `port` is the client's, another one for each connection.
    """

    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]
    at: float
    port: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _TokenRules:
    login: str | None
    expires_in: int | None
    realm: str
    scope: str
    key: str
    identity: str | None


class ScriptedUpstream:
    """A registry on a port of its own, which remembers what it is asked."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        """`self.headers` are sent with every answer, as rate limits are.

        With `self.lists_tags` it has an empty list of tags for every repository.
        """
        self.lists_tags = False
        self.requests: list[Request] = []
        self.headers: dict[str, str] = {}
        self.address = address
        self._tls = tls
        self._manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._blobs: dict[tuple[str, str], bytes] = {}
        self._files: dict[str, bytes] = {}
        self._arrival = asyncio.Event()
        self._plan = Plan()
        self._basic: str | None = None
        self._users: dict[str, tuple[str, ...]] = {}
        self._tokens: _TokenRules | None = None
        self._issued: dict[str, tuple[str, float]] = {}
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self, *, tls: ssl.SSLContext | None = None) -> None:
        """Listen; after `stop`, on the same port again. `tls` is another certificate to show."""
        self._server = web.Server(
            self._handle, handler_cancellation=True, max_line_size=_LONGEST_LINE
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.address, self.port, ssl_context=tls or self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection: from now on it refuses."""
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"{'https' if self._tls else 'http'}://{self.address}:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._server.connections)

    # Content

    def add_manifest(self, name: str, tag: str | None, raw: bytes, media_type: str) -> Digest:
        """Serve `raw` under its digest, and under `tag` from now on."""
        digest = _named(raw, media_type)
        self._manifests[name, digest] = raw, media_type
        if tag is not None:
            self._manifests[name, tag] = raw, media_type
        return digest

    def add_blob(self, name: str, content: bytes) -> Digest:
        """Serve `content` under its digest."""
        digest = Digest.of(content)
        self._blobs[name, digest] = content
        return digest

    def remove(self, name: str, reference: str) -> None:
        """Forget a tag, a manifest or a blob."""
        self._manifests.pop((name, reference), None)
        self._blobs.pop((name, reference), None)

    def serve(self, path: str, content: bytes) -> str:
        """Serve `content` at any path, without a login, as object storage does; its whole URL."""
        self._files[path] = content
        return self.url + path

    # What it was asked

    def count(self, method: str = "*", path: str = "*") -> int:
        """How often a method was asked for a path; both may have the shell's wildcards."""
        return sum(
            fnmatchcase(request.method, method) and fnmatchcase(request.path, path)
            for request in self.requests
        )

    async def asked(self, method: str = "*", path: str = "*", times: int = 1) -> None:
        """Wait until it was asked so often."""
        while self.count(method, path) < times:
            self._arrival.clear()
            await self._arrival.wait()

    # What it does wrong, and whom it lets in

    def fault(self, method: str, path: str, fault: Fault, *, times: int | None = None) -> None:
        """Answer wrongly, `times` times or until `heal`; both patterns as in `count`."""
        self._plan.add(method, path, fault, times)

    def heal(self) -> None:
        """Answer rightly from now on."""
        self._plan.clear()

    def require_basic(self, username: str, password: str) -> None:
        """Let nobody in without this login."""
        self._basic = _basic(username, password)

    def require_users(
        self, users: Mapping[tuple[str, str], tuple[str, ...]], *, public: tuple[str, ...] = ()
    ) -> None:
        """Let each login into the repositories of its patterns, and everybody into `public` ones.

        Without a login the answer elsewhere is 401, and with a wrong one; with another one, 403.
        """
        self._users = {_basic(*login): names for login, names in users.items()} | {"": public}

    def require_token(
        self,
        username: str | None = None,
        password: str = "",
        *,
        expires_in: int | None = 300,
        realm: str | None = None,
        scope: str = "repository:{name}:pull",
        key: str = "token",
        identity: str | None = None,
    ) -> None:
        """Let in who has a token for the repository, issued at `/token`: to this login, or to all.

        `scope` is what the challenge asks for. `key` is what the token is called in the answer;
        `expires_in`, in seconds, is kept to here also where the answer leaves it out (None: 60).
        An `identity` token, by POST, is as good as the login.
        """
        login = None if username is None else _basic(username, password)
        realm = realm or f"{self.url}/token"
        self._tokens = _TokenRules(login, expires_in, realm, scope, key, identity)

    def revoke_tokens(self) -> None:
        """Refuse every token that was issued until now."""
        self._issued.clear()

    # Answering

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        port = request.transport.get_extra_info("peername")[1] if request.transport else 0
        body = await request.read()
        asked = Request(request.method, path, query, request.headers, monotonic(), port, body)
        self.requests.append(asked)
        self._arrival.set()
        fault = self._plan.take(request.method, path)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.raw is not None:
            return await send_raw(request, fault.raw)
        byte_range = None if fault.ignore_range else request.headers.get("Range")
        answer = self._answer(asked, path, byte_range)
        answer.headers.update(self.headers)
        return await send(request, spoil(answer, fault), fault)

    def _answer(self, request: Request, path: str, byte_range: str | None) -> Answer:
        if path in self._files:
            return content(self._files[path], "application/octet-stream", byte_range)
        if path == "/token" and self._tokens is not None:
            return self._issue(request, self._tokens)
        parts = _PATH.fullmatch(path)
        if self._users and (refused := self._refuse(request, path)) is not None:
            return refused
        challenge = self._challenge(request, parts["name"] if parts else "")
        if challenge is not None:
            answer = error(401, "UNAUTHORIZED")
            answer.headers["WWW-Authenticate"] = challenge
            return answer
        if parts is None:
            known = path == "/v2/" or (self.lists_tags and path.endswith("/tags/list"))
            return content(b"{}", "application/json") if known else error(404)
        return self._content(parts["name"], parts["kind"], parts["reference"], byte_range)

    def _refuse(self, request: Request, path: str) -> Answer | None:
        name = path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]
        sent = request.headers.get("Authorization", "")
        if any(fnmatchcase(name, pattern) for pattern in self._users.get(sent, ())):
            return None
        if sent in self._users and sent:
            return None if path == "/v2/" else error(403, "DENIED")
        if path != "/v2/" and any(fnmatchcase(name, each) for each in self._users[""]):
            return None
        answer = error(401, "UNAUTHORIZED")
        answer.headers["WWW-Authenticate"] = 'Basic realm="scripted"'
        return answer

    def _content(self, name: str, kind: str, reference: str, byte_range: str | None) -> Answer:
        manifest = self._manifests.get((name, reference))
        blob = self._blobs.get((name, reference))
        if kind == "manifests" and manifest is not None:
            answer = content(*manifest)
            answer.headers["Docker-Content-Digest"] = _named(*manifest)
            return answer
        if kind == "blobs" and blob is not None:
            answer = content(blob, "application/octet-stream", byte_range)
            answer.headers["Docker-Content-Digest"] = reference
            return answer
        return error(404, "BLOB_UNKNOWN" if kind == "blobs" else "MANIFEST_UNKNOWN")

    def _challenge(self, request: Request, name: str) -> str | None:
        """What the request lacks; None lets it in."""
        sent = request.headers.get("Authorization", "")
        if self._basic is not None and sent != self._basic:
            return 'Basic realm="scripted"'
        if self._tokens is None:
            return None
        scope = self._tokens.scope.format(name=name)
        good_for, until = self._issued.get(sent.removeprefix("Bearer "), ("", 0.0))
        if good_for == scope and monotonic() < until:
            return None
        return f'Bearer realm="{self._tokens.realm}",service="scripted",scope="{scope}"'

    def _issue(self, request: Request, rules: _TokenRules) -> Answer:
        query = parse_qs((request.body or request.query.encode()).decode())
        given = query.get("refresh_token"), request.headers.get("Authorization")
        if rules.login is not None and given not in (
            (None, rules.login),
            ([rules.identity], None),
        ):
            return error(401, "UNAUTHORIZED")
        token = secrets.token_urlsafe(32)
        life = 60 if rules.expires_in is None else rules.expires_in
        scope = " ".join(query.get("scope", []))
        self._issued[token] = scope, monotonic() + life
        body: dict[str, str | int] = {rules.key: token}
        if rules.expires_in is not None:
            body["expires_in"] = rules.expires_in
        return Answer(
            200, CIMultiDict({"Content-Type": "application/json"}), json.dumps(body).encode()
        )


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _named(raw: bytes, media_type: str) -> Digest:
    """What a registry calls a manifest: signed schema 1 by its payload's digest."""
    try:
        manifest = read_manifest(raw, media_type)
    except ManifestInvalid:
        return Digest.of(raw)
    return manifest.digest if isinstance(manifest, Schema1) else Digest.of(raw)
