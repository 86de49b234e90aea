"""`Accept`: one meaning for all its spellings, and never an error."""

from __future__ import annotations

import itertools
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oci.headers.accept import NO_ACCEPT, Accept
from proxy.oci.mediatype import MediaType
from tests.unit.oci.clients import CLIENTS, DOCKER_1_13, DOCKER_28

V2S1, SIGNED, V2S2, LIST, OCI, INDEX = MediaType

_NAMES: Final = (*MediaType, "application/json", "application/*", "*/*", "text/html", "x/y")
_QUALITIES: Final = ("", "", ";q=1", ";q=0", ";q=0.5", ";q=0.001", ";charset=utf-8", ";v=1;q=0.7")

items = st.builds(str.__add__, st.sampled_from(_NAMES), st.sampled_from(_QUALITIES))


def spelt(item: str) -> st.SearchStrategy[str]:
    """`item` in some letter case, with spaces where there may be any."""
    spaces = st.sampled_from(["", " ", "\t", "  "])
    cases = st.sampled_from([str, str.upper, str.title])
    separated = spaces.map(lambda space: f"{space};{space}")
    return st.builds(
        lambda case, before, separator, after: (
            before + separator.join(map(case, item.split(";"))) + after
        ),
        cases,
        spaces,
        separated,
        spaces,
    )


@given(st.data(), st.lists(items, max_size=12))
def test_only_the_meaning_counts(data: st.DataObject, said: list[str]) -> None:
    """Neither order, lines, letter case nor spaces; equal ones are one key."""
    again = [data.draw(spelt(item)) for item in data.draw(st.permutations(said))]
    lines: list[list[str]] = [[]]
    for item in again:
        if data.draw(st.booleans()):
            lines.append([])
        lines[-1].append(item)

    one_line = Accept.parse((",".join(said),))
    many_lines = Accept.parse(tuple(",".join(line) for line in lines))

    assert one_line == many_lines
    assert hash(one_line) == hash(many_lines)


@given(st.lists(st.text()) | st.lists(st.text("application/vnd*,;q=.0 \t\"'+-e")))
def test_any_text_is_understood_somehow(lines: list[str]) -> None:
    """Weights are of the range that there is, and a type is either named or excluded."""
    accept = Accept.parse(tuple(lines))
    assert accept.present == bool(lines)
    assert all(0 < weight <= 1 for _, weight in accept.weights)
    assert not accept.excluded & {name for name, _ in accept.weights}
    assert str(accept)


@pytest.mark.parametrize("lines", [DOCKER_1_13, DOCKER_28])
def test_dockers_random_order(lines: tuple[str, ...]) -> None:
    """Each of its orders, and all types in one line, are one key."""
    spellings = {Accept.parse(order) for order in itertools.permutations(lines)}
    assert spellings == {Accept.parse((", ".join(lines),))}


@pytest.mark.parametrize(
    ("client", "named", "wildcard"),
    [
        ("docker-1.13", {SIGNED, V2S2, LIST}, False),
        ("docker-28", {SIGNED, V2S2, LIST, OCI, INDEX}, False),
        ("containerd", {V2S2, LIST, OCI, INDEX}, True),
        ("skopeo", set(MediaType), False),
        ("crane", set(MediaType), False),
        ("kaniko", {V2S2, LIST, OCI, INDEX}, False),
        ("curl", set(), True),
        ("json", set(), False),
        ("v2s2-only", {V2S2}, False),
        ("v2s1-only", {V2S1, SIGNED}, False),
        ("oci-only", {OCI, INDEX}, False),
    ],
)
def test_what_each_client_names(client: str, named: set[MediaType], *, wildcard: bool) -> None:
    """And whether it takes anything else."""
    accept = Accept.parse(CLIENTS[client])
    assert {media_type for media_type in MediaType if accept.names(media_type)} == named
    assert accept.names_manifest == bool(named)
    assert accept.names_index == bool(named & {LIST, INDEX})
    assert accept.wildcard is wildcard
    assert accept.present


def test_a_missing_header_is_not_an_empty_one() -> None:
    """Old dockers send none; an empty one names no type."""
    assert Accept.parse(()) == NO_ACCEPT
    assert not NO_ACCEPT.present
    assert Accept.parse(("",)).present
    assert not Accept.parse(("",)).names_manifest


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        (V2S2, 1.0),
        (f"{V2S2};q=0.5", 0.5),
        (f"{V2S2} ; Q = 0.5", 0.5),
        (f"{V2S2};charset=utf-8;q=.25;x=y", 0.25),
        (f"{V2S2};q=0", 0.0),
        (f"{V2S2};q=0.000", 0.0),
        (f"{V2S2};q=-0.0", 0.0),
        (f"{V2S2};q=0.001", 0.001),
        (f"{V2S2};q=0.2;q=0.9", 0.2),
        (f"{V2S2};q=0.2,{V2S2};q=0.9", 0.9),
        (f"{V2S2};q=0,{V2S2}", 1.0),
        # What is no q is as if it was not said: the client does name the type.
        (f"{V2S2};q", 1.0),
        (f"{V2S2};q=", 1.0),
        (f"{V2S2};q=high", 1.0),
        (f"{V2S2};q=nan", 1.0),
        (f"{V2S2};q=inf", 1.0),
        (f"{V2S2};q=-1", 1.0),
        (f"{V2S2};q=2", 1.0),
        (f'{V2S2};q="0"', 1.0),
        # No name of it.
        (f"{V2S2}x", 0.0),
        (f"{V2S2} {OCI}", 0.0),
        (f"x;y={V2S2}", 0.0),
        ("*/*", 0.0),
        ("application/*", 0.0),
        (",;,/,", 0.0),
    ],
)
def test_the_weight_of_a_type(text: str, weight: float) -> None:
    """A wildcard names nothing; what cannot be read is as if not said."""
    accept = Accept.parse((text,))
    assert accept.weight(V2S2) == weight
    assert accept.names(V2S2) == (weight > 0)
    assert accept.excludes(V2S2) == (";q=" in text and weight == 0)


@pytest.mark.parametrize(
    ("text", "wildcard"),
    [
        ("*/*", True),
        ("application/*", True),
        (f"{V2S2}, */*;q=0.1", True),
        ("*/*;q=0", False),
        ("application/*;q=0, */*", False),  # the narrower range decides
        ("application/*, */*;q=0", True),
        ("text/*", False),
        ("*", False),
        ("*/json", False),
    ],
)
def test_wildcards(text: str, *, wildcard: bool) -> None:
    """Those that a manifest's type is in, with q > 0."""
    assert Accept.parse((text,)).wildcard is wildcard


@pytest.mark.parametrize(
    ("text", "signed", "unsigned"),
    [
        (SIGNED, 1.0, 0.0),
        (V2S1, 1.0, 1.0),
        (f"{V2S1};q=0.5", 0.5, 0.5),
        (f"{V2S1}, {SIGNED};q=0.5", 0.5, 1.0),
        (f"{V2S1}, {SIGNED};q=0", 0.0, 1.0),
        (f"{V2S1};q=0, {SIGNED}", 1.0, 0.0),
    ],
)
def test_the_two_names_of_schema_1(text: str, signed: float, unsigned: float) -> None:
    """The unsigned one stands for both, unless the client says otherwise."""
    accept = Accept.parse((text,))
    assert (accept.weight(SIGNED), accept.weight(V2S1)) == (signed, unsigned)


def test_a_type_that_nobody_knows_has_letter_cases_too() -> None:
    """A manifest keeps its own spelling of its type."""
    accept = Accept.parse(("application/vnd.Example+JSON", "text/x;q=0"))
    assert accept.names("application/VND.example+json")
    assert accept.excludes("Text/X")


def test_an_endless_header_costs_little() -> None:
    """The rest of it is not read."""
    accept = Accept.parse((f"{V2S2}," + ",".join(f"x/{n}" for n in range(100_000)),))
    assert accept.names(V2S2)
    assert len(accept.weights) < 2000


def test_a_long_header_is_read_to_its_end() -> None:
    """What matters may be the last of hundreds."""
    assert Accept.parse((*(f"x/{n}" for n in range(500)), V2S2)).names(V2S2)


def test_only_headers_of_ordinary_length_are_cached() -> None:
    """A thousand long ones would be a hundred megabytes."""
    for client in CLIENTS.values():
        assert Accept.parse(client) is Accept.parse(tuple(client))
    long = f"{V2S2}, x/{'y' * 4000}"
    assert Accept.parse((long,)) == Accept.parse((long,))
    assert Accept.parse((long,)) is not Accept.parse((long,))


@given(st.lists(items))
def test_it_costs_no_less_than_its_types(said: list[str]) -> None:
    accept = Accept.parse((",".join(said),))
    types = [*(name for name, _ in accept.weights), *accept.excluded]
    assert accept.cost >= sum(map(len, types))
    assert (accept.cost > 0) == bool(types)


def test_the_message_names_the_types() -> None:
    """The types, and whether others are taken."""
    assert str(Accept.parse((f"{V2S2};q=0.5, */*, {OCI};q=0",))) == f"{V2S2}, */*"
    assert str(Accept.parse(("*/*;q=0",))) == "nothing"
