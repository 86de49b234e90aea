"""Content negotiation by tag: which representation a client gets.

The decision is a list of options, best first. Whether a conversion is refused is known only once
its content is fetched. So the caller takes the first option that works, and answers 404 with all
the reasons if none does. Requests by digest are not negotiated: they get the bytes of the digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from proxy.oci import conversion, image, index
from proxy.oci.headers.accept import Accept
from proxy.oci.manifest import Image, Index, Manifest, Schema1
from proxy.oci.mediatype import OCI_CONFIG, MediaType

if TYPE_CHECKING:
    from proxy.oci.conversion import Conversion
    from proxy.oci.platform import Platform


class Rule(StrEnum):
    """The rule that decided, for the access log."""

    NAMED = "named"
    CONVERTED = "converted"
    WILDCARD = "wildcard"
    UNNAMED = "unnamed"
    ABSENT = "absent"
    DIGEST = "digest"


class AcceptMissing(StrEnum):
    """What a client without an `Accept` header gets; docker 1.9 and older send none."""

    SCHEMA1 = "schema1"
    STORED = "stored"


class Mixed(StrEnum):
    """How an image that mixes OCI and docker types is served to a client that names its type."""

    STORED = "stored"
    CONSISTENT = "consistent"


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that negotiation depends on."""

    platform: Platform
    accept_missing: AcceptMissing = AcceptMissing.SCHEMA1
    mixed: Mixed = Mixed.STORED


@dataclass(frozen=True, slots=True)
class Stored:
    """Serve the stored bytes."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class Convert:
    """Convert along these edges of the graph, in order."""

    path: tuple[Conversion, ...]
    rule: Rule

    @property
    def target(self) -> MediaType:
        """The type of the result."""
        return self.path[-1].target


@dataclass(frozen=True, slots=True)
class Descend:
    """Select the image of one platform, and negotiate again on its own type."""

    rule: Rule


Option: TypeAlias = Stored | Convert | Descend

# The Accept that is assumed for a client without the header.
_LEGACY: Final = Accept.parse((MediaType.V2S1_SIGNED,))
# docker 26 to 28, crane and kaniko name schema 1, but cannot read it.
_BETTER_THAN_SCHEMA1: Final = (MediaType.V2S2, MediaType.OCI_MANIFEST)

_OCI_TYPES: Final = (MediaType.OCI_MANIFEST, MediaType.OCI_INDEX)

# In characters; about a dozen reasons.
_MAX_REASON: Final = 1024

# The type of the images in a converted index.
_CHILDREN: Final = {
    MediaType.DOCKER_LIST: MediaType.V2S2,
    MediaType.OCI_INDEX: MediaType.OCI_MANIFEST,
}


def negotiate(manifest: Manifest, accept: Accept, policy: Policy) -> tuple[Option, ...]:
    """The options for a request by tag, best first; empty if no representation is acceptable."""
    if not accept.present:
        return _without_accept(manifest, policy)
    named = accept.names(manifest.media_type)
    if named and not _prefers_conversion(manifest, accept, policy):
        return (Stored(Rule.NAMED),)
    options = _conversions(manifest, accept, Rule.CONVERTED)
    if named:
        return (*options, Stored(Rule.NAMED))
    anything = accept.wildcard or not accept.names_manifest
    if anything and not accept.excludes(manifest.media_type):
        rule = Rule.WILDCARD if accept.wildcard else Rule.UNNAMED
        return (*options, Stored(rule))
    return options


def negotiate_child(child: Manifest, accept: Accept, policy: Policy) -> tuple[Option, ...]:
    """The options for the image that `Descend` selected.

    Wildcards do not count here: a client that accepts anything gets the whole index.
    """
    if not accept.present:
        return _options_for(child, _LEGACY, policy, Rule.ABSENT)
    return _options_for(child, accept, policy, Rule.CONVERTED)


def _options_for(
    manifest: Manifest, accept: Accept, policy: Policy, rule: Rule
) -> tuple[Option, ...]:
    if not accept.names(manifest.media_type):
        return _conversions(manifest, accept, rule)
    if not _prefers_conversion(manifest, accept, policy):
        return (Stored(rule),)
    return (*_conversions(manifest, accept, rule), Stored(rule))


def _without_accept(manifest: Manifest, policy: Policy) -> tuple[Option, ...]:
    if policy.accept_missing is AcceptMissing.STORED or not _is_image(manifest):
        return (Stored(Rule.ABSENT),)
    return _options_for(manifest, _LEGACY, policy, Rule.ABSENT)


def _is_image(manifest: Manifest) -> bool:
    """Whether the manifest is or contains an image that a legacy client could run."""
    match manifest:
        case Image():
            return image.is_container_image(manifest)
        case Index():
            return bool(manifest.images or manifest.nested)
        case Schema1():
            return True
        case _:
            return False


def _prefers_conversion(manifest: Manifest, accept: Accept, policy: Policy) -> bool:
    """Whether a conversion is tried before the stored bytes, although the client names them."""
    match manifest:
        case Schema1():
            return any(map(accept.names, _BETTER_THAN_SCHEMA1))
        case Index() if _has_unreadable_images(manifest, accept):
            return True
        case Image(media_type=MediaType.V2S2) if manifest.config.media_type == OCI_CONFIG:
            consistent = not accept.wildcard and not any(map(accept.names, _OCI_TYPES))
        case _:
            consistent = False
    return consistent or (policy.mixed is Mixed.CONSISTENT and conversion.is_mixed(manifest))


def _has_unreadable_images(manifest: Index, accept: Accept) -> bool:
    """Whether the client names image types, but not those of the images in this index.

    A client that names no image type at all wants the index itself. One that names an OCI index
    together with OCI images knows that an index may have any children.
    """
    if manifest.media_type == MediaType.OCI_INDEX and accept.names(MediaType.OCI_MANIFEST):
        return False
    nested = bool(manifest.nested) and not _reads(accept, MediaType.OCI_INDEX)
    return nested or any(not _reads(accept, found) for found in manifest.image_types)


def _reads(accept: Accept, image_type: MediaType) -> bool:
    """Whether the client can read an index of images of this type.

    Lists give schema 1 children the unsigned type, whether they are signed or not.
    """
    name = MediaType.V2S1_SIGNED if image_type.is_schema1 else image_type
    return accept.names(name) or not any(map(accept.names, _BETTER_THAN_SCHEMA1))


def _conversions(manifest: Manifest, accept: Accept, rule: Rule) -> tuple[Option, ...]:
    """The possible conversions: by q, then schema 1 last, then by the number of steps."""
    ranked: list[tuple[tuple[float, bool, int, bool], Option]] = []
    for target in MediaType:
        if target == MediaType.V2S1 or not accept.names(target):
            continue
        path = conversion.path(manifest.media_type, target)
        if path is None or not _reads(accept, _CHILDREN.get(target, target)):
            continue
        rank = (
            -accept.weight(target),
            target.is_schema1,
            len(path),
            target != manifest.media_type,
        )
        ranked.append((rank, Convert(path, rule)))
    ranked.sort(key=lambda item: item[0])
    options = tuple(option for _, option in ranked)
    if isinstance(manifest, Index) and accept.names_manifest:
        # A list must state a platform, and a lone image without one has none to state.
        lone = not accept.names(manifest.media_type) and index.lone_image(manifest) is not None
        if lone or not accept.names_index:
            return (*options, Descend(rule))
    return options


def explain_refusal(manifest: Manifest, accept: Accept, reasons: list[str]) -> str:
    """The message of the 404 for a client that accepts no available representation.

    The reasons quote the manifest and the client's header, so their length is limited.
    """
    accepted = f"the client accepts {str(accept)[:_MAX_REASON]}"
    request = accepted if accept.present else "the client sent no Accept header"
    why = "; ".join(dict.fromkeys(reasons)) or "no conversion leads to a type that was accepted"
    return (
        f"{manifest.digest} is of type {manifest.media_type}; {request}; "
        f"it was not converted: {why[:_MAX_REASON]}"
    )
