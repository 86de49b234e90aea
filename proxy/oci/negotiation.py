"""Which representation a client gets, as a decision: values that somebody else acts on.

A decision is a list of options, best first. Whether an edge of the graph refuses is only known when
its content is there, so the service takes the first option that does not, and answers 404 with
every reason if all do. Not for requests by digest: those get exactly what the digest names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from proxy.oci import conversion, image, index
from proxy.oci.headers.accept import Accept
from proxy.oci.manifest import Image, Index, Manifest, Schema1
from proxy.oci.mediatype import MediaType, manifest_type

if TYPE_CHECKING:
    from proxy.oci.conversion import Conversion
    from proxy.oci.platform import Platform


class Rule(StrEnum):
    """Which rule decided: it is in the log, so that a wrong representation is one line's search."""

    NAMED = "named"
    CONVERTED = "converted"
    WILDCARD = "wildcard"
    UNNAMED = "unnamed"
    ABSENT = "absent"
    DIGEST = "digest"


class AcceptMissing(StrEnum):
    """What a client without an `Accept` header gets: docker up to 1.9 sends none."""

    SCHEMA1 = "schema1"
    STORED = "stored"


class Mixed(StrEnum):
    """What becomes of images that mix OCI and docker types, for clients that name their type."""

    STORED = "stored"
    CONSISTENT = "consistent"


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's choices in a negotiation."""

    platform: Platform
    accept_missing: AcceptMissing = AcceptMissing.SCHEMA1
    mixed: Mixed = Mixed.STORED


@dataclass(frozen=True, slots=True)
class Stored:
    """Serve the bytes as they came."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class Convert:
    """Make another manifest, by these edges of the graph in turn."""

    path: tuple[Conversion, ...]
    rule: Rule

    @property
    def target(self) -> MediaType:
        """What comes out."""
        return self.path[-1].target


@dataclass(frozen=True, slots=True)
class Descend:
    """Take the image of one platform, and negotiate again on what that really is."""

    rule: Rule


Option: TypeAlias = Stored | Convert | Descend

# What a client without Accept is taken to have said.
_LEGACY: Final = Accept.parse((MediaType.V2S1_SIGNED,))
# docker 26 to 28, crane and kaniko name schema 1, and then refuse it.
_BETTER_THAN_SCHEMA1: Final = (MediaType.V2S2, MediaType.OCI_MANIFEST)

# In characters; a dozen reasons of ordinary length.
_LONGEST_REASON: Final = 1024

# Of which images a converted index consists.
_CHILDREN: Final = {
    MediaType.DOCKER_LIST: MediaType.V2S2,
    MediaType.OCI_INDEX: MediaType.OCI_MANIFEST,
}


def negotiate(manifest: Manifest, accept: Accept, policy: Policy) -> tuple[Option, ...]:
    """The options for a request by tag, best first; none means that nothing serves."""
    if not accept.present:
        return _without_accept(manifest, policy)
    named = _named(manifest, accept)
    if named and not _passed_over(manifest, accept, policy):
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
    """The options for the child that a `Descend` led to.

    Only what the client named: whoever takes anything is better served with the whole index.
    """
    if not accept.present:
        return _options_for(child, _LEGACY, policy, Rule.ABSENT)
    return _options_for(child, accept, policy, Rule.CONVERTED)


def _options_for(
    manifest: Manifest, accept: Accept, policy: Policy, rule: Rule
) -> tuple[Option, ...]:
    if not _named(manifest, accept):
        return _conversions(manifest, accept, rule)
    if not _passed_over(manifest, accept, policy):
        return (Stored(rule),)
    return (*_conversions(manifest, accept, rule), Stored(rule))


def _without_accept(manifest: Manifest, policy: Policy) -> tuple[Option, ...]:
    if policy.accept_missing is AcceptMissing.STORED or not _is_image(manifest):
        return (Stored(Rule.ABSENT),)
    return _options_for(manifest, _LEGACY, policy, Rule.ABSENT)


def _is_image(manifest: Manifest) -> bool:
    """Whether there is an image in it that a legacy client could have meant."""
    match manifest:
        case Image():
            return image.is_container_image(manifest)
        case Index():
            return any(map(index.is_image_entry, manifest.manifests))
        case Schema1():
            return True
        case _:
            return False


def _named(manifest: Manifest, accept: Accept) -> bool:
    """Whether the client names the stored type, and can read the images where that is an index."""
    unreadable = isinstance(manifest, Index) and _has_unreadable_images(manifest, accept)
    return accept.names(manifest.media_type) and not unreadable


def _passed_over(manifest: Manifest, accept: Accept, policy: Policy) -> bool:
    """Whether something better than the stored bytes is tried first, although they are named."""
    if isinstance(manifest, Schema1):
        return any(map(accept.names, _BETTER_THAN_SCHEMA1))
    return policy.mixed is Mixed.CONSISTENT and conversion.is_mixed(manifest)


def _has_unreadable_images(manifest: Index, accept: Accept) -> bool:
    """Whether the client, which names types of images, does not name those of this index.

    One that names no image type at all wants the index for its own sake.
    """
    types = {manifest_type(x.media_type) for x in manifest.manifests if index.is_image_entry(x)}
    return any(found is not None and not _reads(accept, found) for found in types)


def _reads(accept: Accept, image_type: MediaType) -> bool:
    """Whether an index of such images is of use to the client.

    Lists of schema 1 call it unsigned, signed or not; who asks for a digest gets it as needed.
    """
    name = MediaType.V2S1_SIGNED if image_type.is_schema1 else image_type
    return accept.names(name) or not any(map(accept.names, _BETTER_THAN_SCHEMA1))


def _conversions(manifest: Manifest, accept: Accept, rule: Rule) -> tuple[Option, ...]:
    """What can be reached: highest q first, schema 1 last among equals, then fewer steps."""
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
    if isinstance(manifest, Index) and accept.names_manifest and not accept.names_index:
        return (*options, Descend(rule))
    return options


def explain_refusal(manifest: Manifest, accept: Accept, reasons: list[str]) -> str:
    """Why this client cannot have this manifest, for the person who reads the client's log.

    The reasons quote the manifest, which may say anything at any length, as the client may.
    """
    accepted = f"the client accepts {str(accept)[:_LONGEST_REASON]}"
    asked = accepted if accept.present else "the client sent no Accept header"
    why = "; ".join(dict.fromkeys(reasons)) or "nothing that was accepted can be made from it"
    return (
        f"{manifest.digest} is of type {manifest.media_type}; {asked}; "
        f"it was not converted: {why[:_LONGEST_REASON]}"
    )
