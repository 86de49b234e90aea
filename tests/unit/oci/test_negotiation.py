"""Negotiation of every stored kind for every client, by tag."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from proxy.errors import ManifestUnknown
from proxy.oci.headers.accept import Accept
from proxy.oci.manifest import Index
from proxy.oci.mediatype import MediaType
from proxy.oci.negotiation import (
    AcceptMissing,
    Convert,
    Mixed,
    Rule,
    explain_refusal,
    negotiate,
)
from tests.kit import images
from tests.kit.manifest_kinds import KINDS, with_layers
from tests.unit.oci.clients import CLIENTS, accept_of, containerd_by_digest
from tests.unit.oci.serving import ARM64, POLICY, read, serve, shelf, word, words
from tests.unit.oci.soundness import assert_sound

V2S1, SIGNED, V2S2, LIST, OCI, INDEX = MediaType

# What each client gets: `stored` bytes, what they were converted to, the `child` for linux/amd64
# as it is or converted, or nothing.
TABLE: Final = """
                  docker-1.9 docker-1.13 docker-28 containerd skopeo crane  kaniko curl   json   v2s2-only  v2s1-only  oci-only
signed            stored     v2s2        v2s2      v2s2       v2s2   v2s2   v2s2   stored stored v2s2       stored     oci
unsigned          v2s1       v2s2        v2s2      v2s2       v2s2   v2s2   v2s2   stored stored v2s2       stored     oci
quay              v2s1       v2s2        v2s2      v2s2       v2s2   v2s2   v2s2   stored stored v2s2       stored     oci
damaged           v2s1       v2s1        v2s1      stored     v2s1   v2s1   404    stored stored 404        stored     404
v2s2              v2s1       stored      stored    stored     stored stored stored stored stored stored     v2s1       oci
list              child:v2s1 stored      stored    stored     stored stored stored stored stored child      child:v2s1 index
oci               v2s1       v2s2        stored    stored     stored stored stored stored stored v2s2       v2s1       stored
oci-undeclared    v2s1       v2s2        stored    stored     stored stored stored stored stored v2s2       v2s1       stored
index             child:v2s1 list        stored    stored     stored stored stored stored stored child:v2s2 child:v2s1 stored
index-undeclared  child:v2s1 list        stored    stored     stored stored stored stored stored child:v2s2 child:v2s1 stored

mixed-config      v2s1       v2s2        stored    stored     stored stored stored stored stored v2s2       v2s1       stored
mixed-layers      v2s1       v2s2        stored    stored     stored stored stored stored stored v2s2       v2s1       stored
mixed-docker      v2s1       v2s2        stored    stored     stored stored stored stored stored v2s2       v2s1       oci
mixed-list        child:v2s1 list        stored    stored     stored stored stored stored stored child:v2s2 child:v2s1 index
mixed-zstd        404        404         stored    stored     stored stored stored stored stored 404        404        stored
docker-in-index   child:v2s1 list        stored    stored     stored stored stored stored stored child      child:v2s1 stored

artifact          stored     404         stored    stored     stored stored stored stored stored 404        404        stored
chart             stored     404         stored    stored     stored stored stored stored stored 404        404        stored
signature         stored     404         stored    stored     stored stored stored stored stored 404        404        stored
attestation       stored     404         stored    stored     stored stored stored stored stored 404        404        stored
attested          child:v2s1 list        stored    stored     stored stored stored stored stored child:v2s2 child:v2s1 stored
referrers         stored     404         stored    stored     stored stored stored stored stored 404        404        stored
without-platform  child:v2s1 child:v2s2  stored    stored     stored stored stored stored stored child:v2s2 child:v2s1 stored
elsewhere         404        404         stored    stored     stored stored stored stored stored 404        404        stored
nested            child:v2s1 list        stored    stored     stored stored stored stored stored child:v2s2 child:v2s1 stored
list-of-schema1   child      stored      stored    stored     stored stored stored stored stored child:v2s2 child      404
list-of-zstd      404        stored      stored    stored     stored stored stored stored stored 404        404        index

zstd              404        404         stored    stored     stored stored stored stored stored 404        404        stored
foreign           404        stored      stored    stored     stored stored stored stored stored stored     404        oci
foreign-oci       404        v2s2        stored    stored     stored stored stored stored stored v2s2       404        stored
encrypted         404        404         stored    stored     stored stored stored stored stored 404        404        stored
unknown           stored     404         404       stored     404    404    404    stored stored 404        404        404
empty-config      stored     404         stored    stored     stored stored stored stored stored 404        404        stored
"""  # noqa: E501 -- a table is read by its columns

# The same where `conversion.mixed` is `consistent`, for the kinds that are mixed.
CONSISTENT: Final = """
                  docker-1.9 docker-1.13 docker-28 containerd skopeo crane  kaniko curl   json   v2s2-only  v2s1-only  oci-only
mixed-config      v2s1       v2s2        oci       oci        oci    oci    oci    stored stored v2s2       v2s1       oci
mixed-layers      v2s1       v2s2        oci       oci        oci    oci    oci    stored stored v2s2       v2s1       oci
mixed-docker      v2s1       v2s2        v2s2      v2s2       v2s2   v2s2   v2s2   stored stored v2s2       v2s1       oci
mixed-list        child:v2s1 list        list      list       list   list   list   stored stored child:v2s2 child:v2s1 index
mixed-zstd        404        404         stored    stored     stored stored stored stored stored 404        404        stored
list-of-zstd      404        stored      index     index      index  index  index  stored stored 404        404        index
"""  # noqa: E501 -- the same


def cells(table: str) -> list[tuple[str, str, str]]:
    """Stored kind, client and expected word of each cell."""
    clients, *rows = (line.split() for line in table.splitlines() if line)
    return [
        (kind, client, expected)
        for kind, *row in rows
        for client, expected in zip(clients, row, strict=True)
    ]


def test_the_table_is_whole() -> None:
    """Every kind for every client, once."""
    told = [(kind, client) for kind, client, _ in cells(TABLE)]
    assert sorted(told) == sorted((kind, client) for kind in KINDS for client in CLIENTS)


@pytest.mark.parametrize(("kind", "client", "expected"), cells(TABLE))
def test_every_client_gets_the_expected_representation(
    kind: str, client: str, expected: str
) -> None:
    """As the table has it; the client named what it gets, if that is not just what is stored."""
    content, accept = KINDS[kind], accept_of(client)
    assert word(content, accept) == expected
    if expected in {"stored", "404"}:
        return
    served = serve(content, accept)
    legacy = Accept.parse((SIGNED,))
    asked = accept if accept.present else legacy
    assert asked.names(served.manifest.media_type)
    if isinstance(served.manifest, Index):
        assert all(asked.names(entry.media_type) for entry in served.manifest.manifests)
    if served.derived is not None:
        assert_sound(served.source, served.derived, shelf(content))


@pytest.mark.parametrize(("kind", "client", "expected"), cells(CONSISTENT))
def test_mixed_images_made_consistent(kind: str, client: str, expected: str) -> None:
    """For clients that name their type; the stored bytes where that cannot be."""
    assert word(KINDS[kind], accept_of(client), replace(POLICY, mixed=Mixed.CONSISTENT)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_mixed_stays_as_it_is(kind: str) -> None:
    """Whatever becomes of those that are."""
    consistent = replace(POLICY, mixed=Mixed.CONSISTENT)
    if kind not in {kind for kind, _, _ in cells(CONSISTENT)}:
        for client in CLIENTS:
            accept = accept_of(client)
            assert word(KINDS[kind], accept, consistent) == word(KINDS[kind], accept)


@pytest.mark.parametrize("kind", KINDS)
def test_clients_without_accept_may_get_what_is_stored(kind: str) -> None:
    """Where the operator has no docker of 2015; nobody else notices."""
    policy = replace(POLICY, accept_missing=AcceptMissing.STORED)
    assert word(KINDS[kind], Accept.parse(()), policy) == "stored"
    for client in CLIENTS.keys() - {"docker-1.9"}:
        accept = accept_of(client)
        assert word(KINDS[kind], accept, policy) == word(KINDS[kind], accept)


@pytest.mark.parametrize("kind", KINDS)
def test_containerd_gets_what_it_saw(kind: str) -> None:
    """If it asks for a tag once more, with the type that it saw and a wildcard."""
    seen = serve(KINDS[kind], accept_of("containerd")).manifest
    again = serve(KINDS[kind], Accept.parse(containerd_by_digest(seen.media_type)))
    assert again.manifest == seen


def test_the_platform_is_the_operators() -> None:
    """Not the first of the index."""
    arm64 = read(images.oci_index().children[1])
    for policy, expected in ((POLICY, False), (replace(POLICY, platform=ARM64), True)):
        served = serve(images.oci_index(), Accept.parse((OCI,)), policy)
        assert served.word == "child"
        assert (served.manifest == arm64) is expected


@pytest.mark.parametrize(
    ("kind", "text", "options"),
    [
        # The client's highest q; among equals schema 1 last.
        ("oci", f"{SIGNED}, {V2S2}", "v2s2 v2s2>unsigned>v2s1"),
        ("oci", f"{SIGNED}, {V2S2};q=0.9", "v2s2>unsigned>v2s1 v2s2"),
        ("oci", f"{V2S1}, {V2S2}", "v2s2 v2s2>unsigned>v2s1"),
        ("v2s2", f"{SIGNED};q=0.2, {OCI};q=0.1", "unsigned>v2s1 oci"),
        ("v2s2", f"{SIGNED}, {OCI}", "oci unsigned>v2s1"),
        # What is stored is never converted to what is liked better.
        ("v2s2", f"{V2S2};q=0.1, {OCI}", "stored"),
        ("index", f"{INDEX};q=0.001, {OCI};q=0.001, {LIST}, {V2S2}", "stored"),
        # Schema 1 is, if there is a conversion: a client that names more refuses it.
        ("signed", f"{SIGNED}, {V2S2}", "v2s2 stored"),
        ("signed", f"{V2S1}, {OCI}", "v2s2>oci stored"),
        ("signed", f"{V2S2}, {OCI}, */*", "v2s2 v2s2>oci stored"),
        ("signed", f"{V2S2};q=0.9, {OCI}, */*;q=0", "v2s2>oci v2s2"),
        ("signed", f"{SIGNED}", "stored"),
        ("unsigned", f"{V2S1}, {SIGNED}, {OCI}", "v2s2>oci v2s1 stored"),
        ("unsigned", f"{V2S1}, {SIGNED}", "stored"),
        # One platform only for who names no index at all; a wildcard comes after all that is named.
        ("index", f"{LIST}, {V2S2}", "list"),
        ("index", f"{LIST};q=0, {V2S2}", "child"),
        ("index", f"{V2S2}, */*", "child stored"),
        ("index", f"{LIST}, {V2S2}, */*", "list stored"),
        ("index", f"{V2S2}, application/json", "child"),
        ("index", "text/html", "stored"),
        # An index is named for its own sake, or for images that the client reads.
        ("index", INDEX, "stored"),
        ("index", f"{INDEX}, {V2S2}", "stored"),
        ("index", f"{INDEX}, {LIST};q=0.1, {V2S2}", "list stored"),
        ("index", LIST, "list"),
        ("index", f"{LIST}, {OCI}", ""),
        ("list", f"{INDEX}, {V2S2}", ""),
        ("docker-in-index", f"{INDEX}, {OCI}", "stored"),
        ("mixed-list", f"{LIST}, {V2S2}, {SIGNED}", "list stored"),
        ("mixed-list", f"{LIST}, {INDEX}, {V2S2}", "list stored"),
        # A config of the other family is made consistent for a client that knows no OCI type.
        ("mixed-docker", V2S2, "v2s2 stored"),
        ("mixed-docker", f"{V2S2}, {OCI}", "stored"),
        ("mixed-docker", f"{V2S2}, */*", "stored"),
        # A list would have to state a platform.
        ("without-platform", f"{LIST}, {V2S2}", "list child"),
        ("without-platform", f"{INDEX}, {V2S2}", "stored"),
        # What is excluded is not sent, by a wildcard neither.
        ("oci", f"*/*, {OCI};q=0", ""),
        ("oci", f"*/*, {OCI};q=0, {V2S2}", "v2s2"),
        ("index", f"*/*, {INDEX};q=0", ""),
        ("oci", "*/*;q=0", "stored"),  # which excludes nothing that we know
        ("oci", f"{V2S2}, */*;q=0", "v2s2"),
        ("v2s2", f"{V2S1}, {SIGNED};q=0", ""),
        # What nobody knows is passed on to who names it, or takes anything.
        ("unknown", "application/vnd.OCI.artifact.manifest.v1+json", "stored"),
        ("unknown", f"*/*, {V2S2}", "stored"),
        ("unknown", V2S2, ""),
        ("empty-config", V2S2, "v2s2"),
        ("oci", "", "stored"),
    ],
)
def test_options(kind: str, text: str, options: str) -> None:
    """Best first, with what is tried if it refuses."""
    assert words(negotiate(read(KINDS[kind]), Accept.parse((text,)), POLICY)) == options


def test_options_for_a_mixed_image_made_consistent() -> None:
    """As its own type first, and as it is last."""
    policy = replace(POLICY, mixed=Mixed.CONSISTENT)
    skopeo = accept_of("skopeo")
    for kind, options in {
        "mixed-config": "oci v2s2 v2s2>unsigned>v2s1 stored",
        "mixed-docker": "v2s2 oci unsigned>v2s1 stored",
        "mixed-list": "list index stored",
    }.items():
        assert words(negotiate(read(KINDS[kind]), skopeo, policy)) == options


@pytest.mark.parametrize(
    ("kind", "client", "rule"),
    [
        ("v2s2", "docker-1.9", Rule.ABSENT),
        ("artifact", "docker-1.9", Rule.ABSENT),
        ("index", "docker-1.9", Rule.ABSENT),
        ("oci", "skopeo", Rule.NAMED),
        ("signed", "crane", Rule.CONVERTED),
        ("oci", "docker-1.13", Rule.CONVERTED),
        ("index", "v2s2-only", Rule.CONVERTED),
        ("signed", "containerd", Rule.CONVERTED),
        ("signed", "curl", Rule.WILDCARD),
        ("index", "curl", Rule.WILDCARD),
        ("index", "json", Rule.UNNAMED),
    ],
)
def test_the_deciding_rule_is_given(kind: str, client: str, rule: Rule) -> None:
    """For the log."""
    first, *_ = negotiate(read(KINDS[kind]), accept_of(client), POLICY)
    assert first.rule == rule


def test_a_conversion_knows_its_target() -> None:
    """However many steps lead there."""
    first, *_ = negotiate(read(KINDS["oci"]), accept_of("docker-1.9"), POLICY)
    assert isinstance(first, Convert)
    assert first.target == SIGNED


@pytest.mark.parametrize(
    ("kind", "client"),
    [(kind, client) for kind, client, expected in cells(TABLE) if expected == "404"],
)
def test_a_refusal_says_what_and_why(kind: str, client: str) -> None:
    """What is stored, what was accepted, and why nothing serves."""
    with pytest.raises(ManifestUnknown) as caught:
        serve(KINDS[kind], accept_of(client))
    manifest, message = read(KINDS[kind]), caught.value.message
    assert f"{manifest.digest} is of type {manifest.media_type}; " in message
    assert "the client sent no Accept header" in message or str(accept_of(client)) in message
    assert message.partition("it was not converted: ")[2]


@pytest.mark.parametrize(
    ("kind", "client", "reason"),
    [
        ("zstd", "docker-1.13", "'application/vnd.oci.image.layer.v1.tar+zstd'"),
        ("encrypted", "v2s2-only", "'application/vnd.oci.image.layer.v1.tar+gzip+encrypted'"),
        ("foreign", "docker-1.9", "foreign layers"),
        ("artifact", "docker-1.13", "it is an artifact of type application/vnd.example.sbom"),
        ("signature", "v2s2-only", "which is not an image layer"),
        ("elsewhere", "docker-1.9", "it has no image for linux/amd64 (it has windows/amd64)"),
        (
            "elsewhere",
            "docker-1.13",
            "it has no image for any of linux/amd64, linux/arm64 (it has windows/amd64)",
        ),
        ("referrers", "docker-1.13", "(it has none)"),
        ("damaged", "kaniko", "is neither gzip nor a tar archive"),
        ("unknown", "skopeo", "no conversion leads to a type that was accepted"),
    ],
)
def test_reasons(kind: str, client: str, reason: str) -> None:
    """In words that an operator can look for."""
    with pytest.raises(ManifestUnknown) as caught:
        serve(KINDS[kind], accept_of(client))
    assert reason in caught.value.message


def test_a_refusal_is_short() -> None:
    """Each reason once, and not all that a manifest says of itself."""
    twice = explain_refusal(read(images.oci()), Accept.parse((V2S2,)), ["a", "b", "a"])
    assert twice.endswith(f"the client accepts {V2S2}; it was not converted: a; b")
    endless = with_layers(images.oci(), "x" * 1_000_000)
    for accept in (V2S2, f"{V2S2}, x/{'y' * 30_000}"):
        with pytest.raises(ManifestUnknown) as caught:
            serve(endless, Accept.parse((accept,)))
        assert len(caught.value.message) < 3000
