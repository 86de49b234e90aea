"""The findings of several catalog layers, merged into one answer. PURE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ManifestInvalid
from proxy.oci.derivation import Origin
from proxy.ports.catalog import MAX_CLOCK_SKEW, Found

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.ports.catalog import Claim, Grant, TagEntry

# Equal entries differ by what some layers round: in seconds.
_PRECISION: Final = 0.002


def access_of(
    found: Found, repository: str, is_open: Callable[[str], bool]
) -> Grant | Claim | None:
    """Return the grant; or the claim, if it suffices.

    A claim suffices in an open repository, for bytes that the same upstream has delivered to
    another repository that is open now: it reveals nothing that everybody may not read anyway.
    """
    if found.grant is not None or found.claim is None or not is_open(repository):
        return found.grant
    return found.claim if any(map(is_open, found.granted_to)) else None


def origin_of(found: Found) -> Origin | None:
    """What a derived manifest was made from, if that was found and can be read."""
    try:
        return None if found.origin is None else Origin.decode(found.origin)
    except ManifestInvalid:
        return None


def supersedes(found: Found, best: Found, now: float) -> bool:
    """Whether the entry that a layer has found takes the place of the best one so far."""
    if found.tag is None or best.tag is None:
        return found.tag is not None
    gained = _validated_at(found.tag, now) - _validated_at(best.tag, now)
    return gained > _PRECISION or (gained > -_PRECISION and best.raw is None)


def _validated_at(entry: TagEntry, now: float) -> float:
    """Return when the entry was validated; long ago if the time was set by a wrong clock."""
    return entry.validated_at if entry.validated_at <= now + MAX_CLOCK_SKEW else 0.0


def merge(near: Found, far: Found) -> Found:
    """Merge both, taking each fact from the nearest layer that has it."""
    return Found(
        near.tag or far.tag,
        near.grant or far.grant,
        near.claim or far.claim,
        near.raw or far.raw,
        near.origin or far.origin,
        near.granted_to or far.granted_to,
    )
