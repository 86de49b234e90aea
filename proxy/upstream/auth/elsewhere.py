"""The challenges of registries that ours redirects to. They are answered as by anybody.

What a registry on another origin asks for is a token of its own. Our login is for our registry, and
the login of a registry that is configured beside it is not lent to whatever this one redirects to:
so the token is an anonymous one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamDenied
from proxy.kit.lru import LruCache
from proxy.upstream import redirect
from proxy.upstream.auth.authority import Authority
from proxy.upstream.auth.challenge import Bearer, parse_challenges

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from yarl import URL

    from proxy.upstream.auth.authority import Authorization
    from proxy.upstream.auth.tokens import Tokens

_MOST_ORIGINS: Final = 8
_REGISTRY_PATH: Final = re.compile(r"/v2/(.+)/(?:manifests|blobs|tags|referrers)/[^/]+")


class RedirectAuthorities:
    """The last challenge of each origin that one registry redirects to."""

    def __init__(self, *, name: str, realms: Collection[str], tokens: Tokens) -> None:
        """`name` is the registry's; `realms` are hosts that may be token servers of all of them."""
        self._name = name
        self._realms = realms
        self._tokens = tokens
        self._known: LruCache[tuple[str, str, int | None], Authority] = LruCache(_MOST_ORIGINS)

    def find(self, url: URL) -> Authority | None:
        """The authority for the URL's origin, if that has sent a challenge before."""
        return self._known.get(redirect.origin(url))

    def get(self, url: URL) -> Authority:
        """The authority for the URL's origin."""
        if (authority := self.find(url)) is None:
            authority = Authority(
                name=f"{url.raw_host}, which {self._name} redirects to,",
                url=str(url.origin()),
                realms=self._realms,
                credentials=lambda: None,
                tokens=self._tokens,
            )
            self._known.put(redirect.origin(url), authority, 1)
        return authority


@dataclass(slots=True)
class RedirectLogins:
    """What one request sends to the origins that it is redirected to.

    `repository` is what the request is about at our registry.
    """

    authorities: RedirectAuthorities
    repository: str
    _sent: dict[tuple[str, str, int | None], Authorization] = field(default_factory=dict)
    _next: dict[tuple[str, str, int | None], Authorization] = field(default_factory=dict)

    async def value(self, url: URL) -> str | None:
        """The `Authorization` header for a request to `url`; None for none."""
        origin = redirect.origin(url)
        sent = self._next.pop(origin, None)
        if sent is None and (authority := self.authorities.find(url)) is not None:
            sent = await authority.anticipate(self._name(url))
        if sent is None:
            return None
        self._sent[origin] = sent
        return sent.value

    async def answer(self, url: URL, lines: Sequence[str]) -> bool:
        """Whether these `WWW-Authenticate` lines of a 401 can be answered in another attempt.

        Only a registry's can: a storage service that denies what it was asked has its own reasons.
        """
        challenges = parse_challenges(lines)
        scoped = any(isinstance(each, Bearer) and each.scope for each in challenges)
        if not scoped and not _REGISTRY_PATH.fullmatch(url.raw_path):
            return False
        origin = redirect.origin(url)
        authority = self.authorities.get(url)
        try:
            self._next[origin] = await authority.answer(
                self._name(url), lines, self._sent.get(origin)
            )
        except UpstreamDenied:
            return False
        return True

    def _name(self, url: URL) -> str:
        """The repository's name there."""
        found = _REGISTRY_PATH.fullmatch(url.raw_path)
        return found[1] if found else self.repository
