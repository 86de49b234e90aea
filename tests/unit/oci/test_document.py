"""JSON that every reader reads alike, or not at all."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ManifestInvalid
from proxy.oci.document import parse, spellings

NAMES = spellings("layers", "mediaType", "fsLayers")


def test_an_object_is_a_mapping() -> None:
    """So are those in it."""
    assert parse(b' {"a": {"b": [1, "\\u00e4", null]}}\n') == {"a": {"b": [1, "ä", None]}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": [-Infinity]}', "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),  # a byte order mark
        ('{"a": 1}'.encode("utf-16"), "not JSON"),
        (b'{"a": "\x01"}', "not JSON"),
        (b'{"a": "\xff"', "not JSON"),
        (b'{"a": ' + b"[" * 9000 + b"]" * 8999 + b"}", "not JSON"),
        (b'{"a": ' + b"[" * 9000 + b"]" * 9001 + b"}", "not JSON"),
        (b'{"a": [' + b'"",' * 150_000 + b'"\xff"' + b"[]" * 150_000, "not JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not JSON"),
        (b"<!DOCTYPE html><html></html>", "not JSON"),
        (b"\x1f\x8b\x08\x00", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"{}"', "not a JSON object"),
        (b"5", "not a JSON object"),
        (b'{"a": [' + b"{}," * 200_001 + b"{}]}", "over 200000 commas"),
    ],
)
def test_what_is_not_one_json_object(text: bytes, reason: str) -> None:
    """By the standard; Python alone would take several of these."""
    with pytest.raises(ManifestInvalid, match=reason):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a": "J\xf6rg"}', {"a": "J\ufffdrg"}),
        (b'{"a": "\xed\xa0\x80"}', {"a": "\ufffd" * 3}),  # half a surrogate pair
        (b'{"a": ' + b"9" * 5000 + b', "b": 9}', {"a": -1, "b": 9}),
        (b'{"a": "[[", "b": "\\"[", "c": "\xff"}', {"a": "[[", "b": '"[', "c": "\ufffd"}),
    ],
)
def test_what_only_go_accepts_is_read_with_a_loss(text: bytes, expected: object) -> None:
    """Registries that are written in Go store it."""
    document = parse(text)
    assert document == expected
    assert not document.is_exact
    assert parse(b"{}").is_exact


@pytest.mark.parametrize("levels", [64, 900, 9000])
@pytest.mark.parametrize("deep", [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_lies_deep_is_not_read(levels: int, deep: tuple[bytes, bytes]) -> None:
    """What comes after it is."""
    opening, closing = deep
    document = parse(b'{"x": ' + opening * levels + b"1" + closing * levels + b', "layers": ["]"]}')
    assert document["layers"] == ["]"]


@given(st.binary() | st.text().map(str.encode) | st.binary().map(lambda raw: b'{"' + raw + b'":1}'))
def test_any_bytes_are_an_object_or_invalid(text: bytes) -> None:
    """Nothing else happens."""
    with contextlib.suppress(ManifestInvalid):
        parse(text).refuse_ambiguous(NAMES)


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"layers": []}',
        b'{"layers": null}',
        b'{"Layers": null}',
        b'{"layers": [], "fslayers": null}',
        b'{"layer": 1, "LAYER": 2, "layer": 3}',
        b'{"layers": [], "layers": []}',
        b'{"l\\u0061yers": [], "layers": []}',
        b'{"layers": [{"a": 1, "b": [2]}], "layers": [{"a": 1, "b": [2]}]}',
        b'{"layerss": 1, "media type": 1, "media_type": 1}',
        b'{"x": {"Layers": 1, "LAYERS": 2}}',
    ],
)
def test_what_is_there_once(text: bytes) -> None:
    """What nobody looks for may be there twice; null is nothing, however it is spelt."""
    parse(text).refuse_ambiguous(NAMES)


@pytest.mark.parametrize(
    "text",
    [
        b'{"layers": [], "layers": null}',
        b'{"layers": [], "layers": null, "layers": []}',
        b'{"layers": 1, "layers": 1.0}',
        b'{"layers": 1, "layers": true}',
        b'{"layers": [1], "layers": [true]}',
        b'{"layers": {"a": 1}, "layers": {"A": 1}}',
        b'{"layers": {"a": 1, "a": 2}, "layers": {"a": 1, "a": 2}}',
        b'{"layers": null, "Layers": []}',
        b'{"Layers": null, "layers": []}',  # Go takes either for the other
        b'{"LAYERS": null, "layers": null}',
        b'{"Layers": []}',
        b'{"MediaType": ""}',
        b'{"mediatype": 0}',
        b'{"fslayers": false}',
        '{"layer\u017f": []}'.encode(),  # a long s, which Go takes for an s
        '{"f\u017fLayers": []}'.encode(),
    ],
)
def test_what_another_reader_reads_otherwise(text: bytes) -> None:
    """Go takes any letter case and the last of several; others do not."""
    with pytest.raises(ManifestInvalid, match="twice or misspelt"):
        parse(text).refuse_ambiguous(NAMES)
