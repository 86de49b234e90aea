"""Schema 1 from an image: distribution's bytes, or a refusal with a reason."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConversionRefused
from proxy.oci.manifest import MANIFEST_LIMIT
from proxy.oci.reference import Digest
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES, from_image

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "schema1"
CASES: Final = sorted(case.name for case in GOLDEN.iterdir())
BASE: Final = Digest("sha256:" + "ab" * 32)
NEXT: Final = Digest("sha256:" + "cd" * 32)
STEP: Final = {"created": "2020-01-02T03:04:05Z", "created_by": "a step"}
EMPTY: Final = {**STEP, "empty_layer": True}


def config(history: object, *, layers: int = 1, **members: object) -> bytes:
    """A config with this history and as many diff ids as it has layers."""
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{n:064x}" for n in range(layers)]}
    return json.dumps({"rootfs": rootfs, "history": history, **members}).encode()


def convert(text: bytes | str, layers: list[Digest] | None = None) -> bytes:
    """The payload for `library/ship:latest`."""
    raw = text if isinstance(text, bytes) else text.encode()
    return from_image(
        raw, [BASE] if layers is None else layers, name="library/ship", tag="latest"
    ).raw


def steps(payload: bytes) -> list[dict[str, Any]]:
    """The v1Compatibility objects, newest first."""
    return [json.loads(entry["v1Compatibility"]) for entry in json.loads(payload)["history"]]


@pytest.mark.parametrize("case", CASES)
def test_the_payload_is_distributions(case: str) -> None:
    """Byte for byte; the expected ones come from distribution itself (golden/README.md)."""
    image = json.loads((GOLDEN / case / "image.json").read_bytes())
    payload = from_image(
        (GOLDEN / case / "config.json").read_bytes(),
        [Digest(layer) for layer in image["layers"]],
        name=image["name"],
        tag=image["tag"],
    )
    assert payload.raw == (GOLDEN / case / "payload.json").read_bytes()


@pytest.mark.parametrize("history", [None, []])
def test_an_image_without_history_has_a_step_a_layer(history: object) -> None:
    """The image spec allows it, and docker counts layers by their steps."""
    payload = json.loads(convert(config(history, layers=2, architecture="arm"), [BASE, NEXT]))
    newest, lower = steps(json.dumps(payload).encode())
    assert [layer["blobSum"] for layer in payload["fsLayers"]] == [NEXT, BASE]
    assert lower.keys() == {"id", "created", "container_config"}
    assert lower["created"] == "0001-01-01T00:00:00Z"
    assert newest["parent"] == lower["id"]
    assert newest["architecture"] == "arm"
    with pytest.raises(ConversionRefused, match="neither history nor layers"):
        convert(config(history, layers=0), [])


def test_the_empty_layer() -> None:
    """The digest that docker knows, and what it unpacks."""
    assert EMPTY_LAYER == "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
    assert gzip.decompress(EMPTY_LAYER_BYTES) == bytes(1024)


entries = st.fixed_dictionaries(
    {"empty_layer": st.booleans()},
    optional={
        "created": st.datetimes().map(lambda time: time.isoformat() + "Z"),
        "created_by": st.text(st.characters(exclude_categories=["Cs"])),
        "author": st.text(st.characters(exclude_categories=["Cs"])),
        "comment": st.text(st.characters(exclude_categories=["Cs"])),
    },
)


@given(history=st.lists(entries, min_size=1, max_size=8))
def test_the_structure_is_one_that_docker_takes(history: list[dict[str, Any]]) -> None:
    """What docker 1.9 checks: ids of 64 digits that chain to a base, one layer for each entry."""
    wanted = [entry for entry in history if not entry["empty_layer"]]
    layers = [Digest.of(str(number).encode()) for number in range(len(wanted))]

    raw = config(history, layers=len(layers), architecture="arm64", os="linux")
    payload = convert(raw, layers)
    manifest = json.loads(payload)

    assert list(manifest) == [
        *("schemaVersion", "name", "tag", "architecture"),
        *("fsLayers", "history"),
    ]
    assert manifest["schemaVersion"] == 1
    assert (manifest["name"], manifest["tag"]) == ("library/ship", "latest")
    assert manifest["architecture"] == "arm64"

    oldest_first = steps(payload)[::-1]
    blobs = [layer["blobSum"] for layer in manifest["fsLayers"]][::-1]
    assert len(blobs) == len(oldest_first) == len(history)
    assert [blob for blob in blobs if blob != EMPTY_LAYER] == layers
    for entry, step, blob in zip(history, oldest_first, blobs, strict=True):
        assert (blob == EMPTY_LAYER) == entry["empty_layer"] == step.get("throwaway", False)
    for entry, step in zip(history[:-1], oldest_first[:-1], strict=True):
        assert step["container_config"] == {"Cmd": [entry.get("created_by", "")]}
        assert step.get("author", "") == entry.get("author", "")
        assert step.get("comment", "") == entry.get("comment", "")

    parent = ""
    for step, blob in zip(oldest_first, blobs, strict=True):
        assert step.get("parent", "") == parent
        hashed = f"{blob.partition(':')[2]} {parent}".encode()
        if step is oldest_first[-1]:
            hashed += b" " + raw
        assert step["id"] == sha256(hashed).hexdigest()
        parent = step["id"]
    assert oldest_first[-1]["os"] == "linux"
    assert not {"rootfs", "history"} & oldest_first[-1].keys()


def test_name_and_tag_are_part_of_the_payload() -> None:
    """So each name and tag has a digest of its own."""
    raw = config([STEP])
    names = [("a", "1"), ("a", "2"), ("b", "1")]
    payloads = {from_image(raw, [BASE], name=name, tag=tag).raw for name, tag in names}
    assert len(payloads) == len(names)


def test_every_byte_of_the_config_counts() -> None:
    """A space that means nothing makes another newest id, and no other lower one."""
    tight, wide = config([STEP, EMPTY]), config([STEP, EMPTY]) + b"\n"
    (newest, lower), (other_newest, other_lower) = steps(convert(tight)), steps(convert(wide))
    assert lower == other_lower
    assert newest["id"] != other_newest["id"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"null", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"\xef\xbb\xbf" + config([STEP]), "cannot be read"),
        (config([STEP]) + b"{}", "cannot be read"),
        (config([STEP])[:-1] + b',"x":"\xff"}', "cannot be read"),
        (config([STEP])[:-1] + b',"x":"\xed\xa0\x80"}', "cannot be read"),
        (config([STEP])[:-1] + b',"x":"\x01"}', "cannot be read"),
        (config([STEP])[:-1] + b',"x":"\\x41"}', "cannot be read"),
        (config([STEP])[:-1] + b',"x":NaN}', "NaN is not a number"),
        (config([STEP])[:-1] + b',"x":-Infinity}', "-Infinity is not a number"),
        (config([STEP])[:-1] + b',"x":' + b"[" * 100_000 + b"}", "nested too deeply"),
        (config([STEP])[:-1] + b',"x":[' + b"0," * 200_000 + b"0]}", "over 200000 commas"),
        (config([STEP])[:-1] + b',"created":""}', "cannot be read"),
        (config([STEP])[:-1] + b',"Created":"yesterday"}', "cannot be read"),
        (config([STEP])[:-1] + b',"created":5}', "cannot be read"),
        (config([STEP], rootfs=None), "no rootfs"),
        (b'{"history":[{}]}', "no rootfs"),
        (config([STEP], rootfs={}), "0 diff ids, and it has 1 layers"),
        (config([STEP], rootfs={"diff_ids": None}), "0 diff ids, and it has 1 layers"),
        (config([STEP, STEP], layers=2), "2 diff ids, and it has 1 layers"),
        (config([STEP, STEP]), "its history makes 2 layers, and it has 1"),
        (config([STEP, STEP, EMPTY]), "its history makes 2 layers, and it has 1"),
        (config([EMPTY]), "its history makes 0 layers, and it has 1"),
        (config([{}] * 20_000), "over 16384 history entries"),
        (config({}), "Expecting '\\['"),
        (config("x"), "Expecting '\\['"),
        (config([5]), "Expecting '{'"),
        (config([[]]), "Expecting '{'"),
        (config([STEP], rootfs=[]), "Expecting '{'"),
        (config([STEP], rootfs={"diff_ids": {}}), "Expecting '\\['"),
        (config([STEP], rootfs={"diff_ids": [5]}), "'5' is not a string"),
        (config([STEP], rootfs={"type": 5, "diff_ids": ["x"]}), "'5' is not a string"),
        (config([STEP], rootfs={"base_layer": 5, "diff_ids": ["x"]}), "'5' is not a string"),
        (config([STEP], architecture=5), "'5' is not a string"),
        (config([{"created_by": ["a"]}]), "is not a string"),
        (config([{"author": {}}]), "is not a string"),
        (config([{"comment": True}]), "is not a string"),
        (config([{"empty_layer": "true"}]), "is neither true nor false"),
        (config([{"empty_layer": 0}]), "is neither true nor false"),
        (config([{"created": ""}]), "is not an RFC 3339 time"),
        (config([{"created": 5}]), "'5' is not a string"),
        (config([{"created": "2021-02-29T00:00:00Z"}]), "is not an RFC 3339 time"),
        (config([{"created": "2021-02-28T00:00:00,5Z"}]), "is not an RFC 3339 time"),
        (
            b'{"rootfs":{"diff_ids":["x"]},"history":[{"created":"2021-02-28T00:00:00\\u005a"}]}',
            "time",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(raw: bytes, reason: str) -> None:
    """What distribution refuses, and what it would lose layers of or crash on."""
    with pytest.raises(ConversionRefused, match=reason):
        convert(raw)


@pytest.mark.parametrize(
    "text",
    ["a" * MANIFEST_LIMIT, "<" * (MANIFEST_LIMIT // 5), '"' * (MANIFEST_LIMIT // 3)],
    ids=["plain", "html", "quotes"],
)
def test_a_manifest_over_the_limit_is_refused(text: str) -> None:
    """Clients read no more than that; what counts is the text with its escapes."""
    with pytest.raises(ConversionRefused, match=r"would be over 4194304 bytes"):
        convert(config([STEP], label=text))


def test_a_large_config_is_converted() -> None:
    """Right up to the limit."""
    room = MANIFEST_LIMIT - len(convert(config([STEP], label="")))
    assert len(convert(config([STEP], label="a" * room))) == MANIFEST_LIMIT


def test_a_number_of_any_length_stays_as_it_is() -> None:
    """Python would count its digits and refuse it; nobody has to know its value."""
    raw = config([STEP])[:-1] + b',"Size":' + b"9" * 10_000 + b"}"
    assert b"9" * 10_000 in convert(raw)
