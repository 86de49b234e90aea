"""What a registry asks for in `WWW-Authenticate`, and which token servers it may name.

A realm is a URL that the upstream chooses, and that receives our credentials, so it is vetted
before a connection is made (distribution spec, "Authentication"; CVE-2026-33540).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from proxy.errors import UpstreamInvalid
from proxy.upstream.auth.site import same_site

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

# Real challenges have four parameters in a few hundred bytes; beyond these they are an attack.
MAX_HEADER_LENGTH: Final = 8 * 1024
MAX_PARAMETERS: Final = 64

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 -- RFC 9110's grammar, no secret
# RFC 9110, 11.2 and 11.3: either a parameter of the scheme before it, or the next scheme.
_ITEM: Final = re.compile(
    rf"""[\s,]*(?:
        (?P<name>{_TOKEN})[ \t]*=[ \t]*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))
      | (?P<scheme>{_TOKEN})(?:[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))|(?=[ \t,]|$))
    )""",
    re.VERBOSE,
)
# No user information, no fragment, nothing that two readers of URLs could read in two ways.
_URL: Final = re.compile(
    r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?:[/?][!-\"$-~]*)?", re.IGNORECASE
)
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token is wanted, which `realm` issues for `service` and the scopes in `scope`."""

    realm: str
    service: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Basic:
    """Username and password are wanted with every request."""


Challenge = Bearer | Basic


def parse_challenges(lines: Sequence[str]) -> tuple[Challenge, ...]:
    """Return the challenges of all lines, in their order; UpstreamInvalid beyond the limits.

    Other schemes are skipped, and so is the rest of a line after something unreadable.
    """
    if sum(map(len, lines)) > MAX_HEADER_LENGTH:
        raise UpstreamInvalid(f"its challenge is longer than {MAX_HEADER_LENGTH} bytes")
    found: list[tuple[str, dict[str, str]]] = []
    for count, item in enumerate(_items(lines)):
        if count >= MAX_PARAMETERS:
            raise UpstreamInvalid(f"its challenge has more than {MAX_PARAMETERS} parameters")
        if item["scheme"]:
            found.append((item["scheme"].lower(), {}))
        elif found:
            # A repeated parameter must not mean one thing to the check and another to us.
            found[-1][1].setdefault(item["name"].lower(), _value(item))
    return tuple(filter(None, (_challenge(scheme, values) for scheme, values in found)))


def choose(
    challenges: Iterable[Challenge], *, registry: str, allowed: Collection[str], credentials: bool
) -> Challenge | None:
    """Return the challenge to answer: a token if its realm may be used, else Basic.

    None if there are no credentials for any of them; UpstreamInvalid if the only reason is a realm
    that may not be used. `registry` is the registry's URL, `allowed` are further hosts for realms.
    """
    basic, refusal = False, None
    for challenge in challenges:
        match challenge:
            case Bearer(realm):
                try:
                    vet_realm(realm, registry=registry, allowed=allowed)
                except UpstreamInvalid as error:
                    refusal = refusal or error
                else:
                    return challenge
            case Basic():
                basic = True
            case _:
                assert_never(challenge)
    if basic and credentials:
        return Basic()
    if refusal:
        raise refusal
    return None


def vet_realm(realm: str, *, registry: str, allowed: Collection[str] = ()) -> None:
    """UpstreamInvalid, unless `realm` is on the registry's own site or an allowed host, over https.

    Plain http will do only where the registry itself is spoken to in plain http.
    """
    own = _URL.fullmatch(registry)
    if own is None:
        raise ValueError(registry)
    parts = _URL.fullmatch(realm)
    if parts is None or int(parts[3] or 0) > _MAX_PORT:
        raise UpstreamInvalid(
            f"it names a token realm that is no plain http(s) URL: {realm[:80]!r}"
        )
    scheme, host = parts[1].lower(), _host(parts[2])
    if scheme != "https" and own[1].lower() == "https":
        raise UpstreamInvalid(f"it names a token realm without TLS, on {host}: nothing was sent")
    if host not in map(_host, allowed) and not same_site(host, _host(own[2])):
        raise UpstreamInvalid(
            f"it names a token realm on another site, {host}: nothing was sent; if that is right, "
            "list the host in the upstream's `realms`"
        )


def _items(lines: Sequence[str]) -> Iterable[re.Match[str]]:
    for line in lines:
        position = 0
        while item := _ITEM.match(line, position):
            yield item
            position = item.end()


def _value(item: re.Match[str]) -> str:
    if item["quoted"] is None:
        return item["plain"]
    return re.sub(r"\\(.)", r"\1", item["quoted"])


def _challenge(scheme: str, values: dict[str, str]) -> Challenge | None:
    if scheme == "bearer" and "realm" in values:
        return Bearer(values["realm"], values.get("service"), values.get("scope"))
    return Basic() if scheme == "basic" else None


def _host(host: str) -> str:
    return host.strip("[]").lower().removesuffix(".")
