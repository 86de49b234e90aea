"""What the settings say, as the domain's own values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from proxy.catalog.routing import Routes
from proxy.manifests.freshness import Lifetime
from proxy.manifests.lifetimes import Lifetimes
from proxy.oci.negotiation import Policy
from proxy.oci.schema1.libtrust import SigningKey
from proxy.stores.disk.signing_key import load_key, load_or_create_key

if TYPE_CHECKING:
    from proxy.config import ConversionSettings, Settings, TagSettings

_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def policy_of(conversion: ConversionSettings) -> Policy:
    """How representations are negotiated."""
    return Policy(
        platform=conversion.platform,
        accept_missing=conversion.accept_missing,
        mixed=conversion.mixed,
    )


def lifetimes_of(tags: TagSettings) -> Lifetimes:
    """How long tags are fresh, and may be stale."""

    def life(ttl: float, stale_if_error: float | None) -> Lifetime:
        kept = tags.stale_if_error if stale_if_error is None else stale_if_error
        return Lifetime(ttl, kept, tags.stale_while_revalidate)

    rules = [(rule.match, life(rule.ttl, rule.stale_if_error)) for rule in tags.rules]
    return Lifetimes(
        life(tags.ttl, None),
        rules,
        revalidation_timeout=tags.revalidation_timeout,
        keep_deleted=tags.keep_deleted,
    )


def routes_of(settings: Settings) -> Routes:
    """Which upstream a request means."""
    names = {
        alias: name
        for name, upstream in settings.upstreams.items()
        for alias in (name, *upstream.aliases)
    }
    hubs = {
        name
        for name, upstream in settings.upstreams.items()
        if name in _DOCKER_HUB or urlsplit(upstream.url).hostname in _DOCKER_HUB
    }
    routing = settings.routing
    return Routes(
        names,
        settings.default_upstream,
        frozenset(hubs),
        by_ns=routing.ns,
        by_host=routing.host,
        by_path=routing.path,
    )


def head_first_of(settings: Settings) -> frozenset[str]:
    """The upstreams where mirrors or other replicas deliver what a HEAD of the registry names."""
    return frozenset(
        name
        for name, upstream in settings.upstreams.items()
        if upstream.mirrors or settings.peers.secret_file is not None
    )


def signing_key_of(settings: Settings, *, creates: bool = True) -> SigningKey:
    """The key of schema 1; ValueError or OSError if there is none that can be used.

    With `creates`, one that is missing is made. Otherwise another key takes its place, and gives
    the same digests: they are the payloads'.
    """
    given = settings.conversion.signing_key_file
    if given is not None:
        return load_key(given)
    path = settings.data / "signing-key.pem"
    if creates or path.exists():
        return load_or_create_key(path)
    return SigningKey.generate()
