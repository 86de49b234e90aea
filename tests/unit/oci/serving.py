"""One request by tag, answered without a service: the decision, and the conversions applied.

The decisions of `proxy.manifests`, with all content at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, assert_never

from proxy.errors import ConversionRefused, ManifestUnknown
from proxy.oci import nesting
from proxy.oci.derivation import ConversionInputs, Derived
from proxy.oci.index import for_platform
from proxy.oci.manifest import Index, Manifest, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.negotiation import (
    Convert,
    Descend,
    Option,
    Policy,
    Stored,
    explain_refusal,
    negotiate,
    negotiate_child,
)
from proxy.oci.platform import Platform
from proxy.oci.reference import Digest
from tests.kit.manifest_kinds import KEY
from tests.kit.schema1 import facts_of

if TYPE_CHECKING:
    from proxy.oci.conversion import Conversion
    from proxy.oci.headers.accept import Accept
    from tests.kit.images import Content

AMD64: Final = Platform("linux", "amd64")
ARM64: Final = Platform("linux", "arm64")
POLICY: Final = Policy(AMD64)
INPUTS: Final = ConversionInputs(
    name="library/ship",
    tag="latest",
    platforms=(AMD64, ARM64),
    max_children=8,
    max_depth=3,
    key=KEY,
)
_WORDS: Final = {
    MediaType.V2S1: "unsigned",
    MediaType.V2S1_SIGNED: "v2s1",
    MediaType.V2S2: "v2s2",
    MediaType.DOCKER_LIST: "list",
    MediaType.OCI_MANIFEST: "oci",
    MediaType.OCI_INDEX: "index",
}


@dataclass(frozen=True, slots=True)
class Served:
    """What the client gets: `word` says what was done, and `derived` what was made of `source`."""

    manifest: Manifest
    word: str
    source: Manifest
    derived: Derived | None = None


def read(content: Content) -> Manifest:
    """The manifest of `content`, as it came from an upstream that names its type."""
    return read_manifest(content.manifest, content.media_type)


def shelf(content: Content) -> dict[Digest, bytes]:
    """The bytes of all that `content` names, and of itself."""
    here = {Digest.of(content.manifest): content.manifest}
    if content.media_type == MediaType.V2S1_SIGNED:
        here = {read(content).digest: content.manifest}
    for digest, blob in content.blobs.items():
        here[Digest(digest)] = blob
    for child in content.children:
        here |= shelf(child)
    return here


def serve(content: Content, accept: Accept, policy: Policy = POLICY) -> Served:
    """The answer; ManifestUnknown, with every reason, if no option serves."""
    manifest = read(content)
    return _first(negotiate(manifest, accept, policy), _Request(content, manifest, accept, policy))


def word(content: Content, accept: Accept, policy: Policy = POLICY) -> str:
    """What was done for the client, as the tables have it."""
    try:
        return serve(content, accept, policy).word
    except ManifestUnknown:
        return "404"


def convert(source: Manifest, path: tuple[Conversion, ...], here: dict[Digest, bytes]) -> Derived:
    """What `path` makes of `source`; Refused if an edge refuses, or names what is not there."""
    made = Derived(source)
    for edge in path:
        if isinstance(made.manifest, Index):
            made = replace(made, manifest=expanded(made.manifest, here, INPUTS.platforms))
        needs = [need.digest for need in edge.needs(made.manifest, INPUTS)]
        if missing := [need for need in needs if need not in here]:
            raise ConversionRefused(f"the upstream has no {missing[0]}, which it names")
        inputs = INPUTS
        if edge.needs_layers:
            inputs = replace(INPUTS, layers=tuple(facts_of(here[need]) for need in needs))
        step = edge.apply(made.manifest, {need: here[need] for need in needs}, inputs)
        made = Derived(
            step.manifest, (*made.children, *step.children), blobs=(*made.blobs, *step.blobs)
        )
    return made


def words(options: tuple[Option, ...]) -> str:
    """The options of a decision, best first."""
    return " ".join(map(_option, options))


@dataclass(frozen=True, slots=True)
class _Request:
    content: Content
    manifest: Manifest
    accept: Accept
    policy: Policy


def _first(options: tuple[Option, ...], request: _Request) -> Served:
    reasons = []
    for option in options:
        try:
            return _take(option, request.manifest, request)
        except ConversionRefused as refusal:
            reasons.append(str(refusal))
    raise ManifestUnknown(explain_refusal(request.manifest, request.accept, reasons))


def _take(option: Option, manifest: Manifest, request: _Request) -> Served:
    match option:
        case Stored():
            return Served(manifest, "stored", manifest)
        case Convert(path):
            made = convert(manifest, path, shelf(request.content))
            return Served(made.manifest, _WORDS[path[-1].target], manifest, made)
        case Descend():
            return _descend(manifest, request)
        case _:
            assert_never(option)


def _descend(manifest: Manifest, request: _Request) -> Served:
    assert isinstance(manifest, Index)
    here = shelf(request.content)
    platform = request.policy.platform
    for wanted in for_platform(expanded(manifest, here, (platform,)), platform):
        child = read_manifest(here[wanted.digest], wanted.media_type, expected=wanted.digest)
        for option in negotiate_child(child, request.accept, request.policy):
            try:
                served = _take(option, child, request)
            except ConversionRefused:
                continue
            else:
                return replace(
                    served, word="child" if served.word == "stored" else f"child:{served.word}"
                )
    raise ConversionRefused(f"its image for {platform} cannot be had")


def expanded(
    index: Index, here: dict[Digest, bytes], platforms: tuple[Platform, ...], depth: int = 3
) -> Index:
    """The index with the entries of those that it names."""
    for _ in range(depth - 1):
        inner = {
            entry.digest: read_manifest(here[entry.digest], entry.media_type)
            for entry in nesting.nested_for(index, platforms)
            if entry.digest in here
        }
        index = nesting.expand(index, {k: v for k, v in inner.items() if isinstance(v, Index)})
    return index


def _option(option: Option) -> str:
    match option:
        case Stored():
            return "stored"
        case Convert(path):
            return ">".join(_WORDS[edge.target] for edge in path)
        case Descend():
            return "child"
        case _:
            assert_never(option)
