"""Schema 1 held against distribution and libtrust themselves, as a Go program of ours runs them."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.errors import ConversionRefused
from proxy.oci.reference import Digest
from proxy.oci.schema1 import libtrust
from proxy.oci.schema1.build import from_image
from proxy.oci.schema1.libtrust import SigningKey
from tests.e2e import odd_images
from tests.kit.oracle import Conversion, Oracle, Rejected

pytestmark = pytest.mark.e2e

GOLDEN: Final = Path(__file__).parents[1] / "unit" / "oci" / "golden"
TIME: Final = "2020-01-02T03:04:05Z"


def ours(case: Conversion) -> bytes | ConversionRefused:
    """What we make of it."""
    layers = [Digest(layer) for layer in case.layers]
    try:
        return from_image(case.config, layers, name=case.name, tag=case.tag).raw
    except ConversionRefused as refusal:
        return refusal


@pytest.mark.parametrize("seed", range(4))
def test_distribution_makes_the_same_bytes(program: Oracle, seed: int) -> None:
    """Of every image, however oddly its config is written."""
    cases = odd_images.images(seed, 500)
    for case, theirs in zip(cases, program.convert(cases), strict=True):
        assert ours(case) == theirs, case


@pytest.mark.parametrize("seed", range(4))
def test_distribution_takes_no_less_and_no_more(program: Oracle, seed: int) -> None:
    """Only where distribution would lose layers do we refuse alone.

    And only an image without history, which it refuses, do we convert alone.
    """
    cases = odd_images.broken_images(seed, 500)
    outcomes = Counter[str]()
    for case, theirs in zip(cases, program.convert(cases), strict=True):
        mine = ours(case)
        if isinstance(mine, ConversionRefused):
            assert isinstance(theirs, Rejected) or "its history makes" in str(mine), case
        elif isinstance(theirs, Rejected):
            assert "empty history" in str(theirs), case
        else:
            assert mine == theirs, case
        outcomes[type(mine).__name__] += 1
    assert min(outcomes["bytes"], outcomes["ConversionRefused"]) > 50, "the cases show nothing"


def test_the_golden_files_are_what_distribution_says_now(program: Oracle) -> None:
    """Whatever release of Go and of the package this machine has."""
    for case in sorted((GOLDEN / "schema1").iterdir()):
        image = json.loads((case / "image.json").read_bytes())
        [payload] = program.convert([Conversion((case / "config.json").read_bytes(), **image)])
        assert payload == (case / "payload.json").read_bytes(), case.name


def test_distribution_converts_what_we_refuse(program: Oracle) -> None:
    """It drops a layer without a word where the history is too short, and panics without rootfs."""
    rootfs = b'"rootfs":{"diff_ids":["1","2"]}'
    layers = [Digest.of(b"1"), Digest.of(b"2")]
    short = Conversion(b'{"history":[{}],' + rootfs + b"}", layers, "a", "b")
    headless = Conversion(b'{"history":[{}]}', layers, "a", "b")
    dropped, panic = program.convert([short, headless])
    assert isinstance(dropped, bytes)
    assert layers[1].encode() not in dropped
    assert "panic" in str(panic)
    assert isinstance(ours(short), ConversionRefused)
    assert isinstance(ours(headless), ConversionRefused)


PAYLOADS: Final = [
    (GOLDEN / "schema1" / "plain" / "payload.json").read_bytes(),
    (GOLDEN / "schema1" / "text" / "payload.json").read_bytes(),
    b'{"schemaVersion":1,"name":"compact","tag":"t","fsLayers":[],"history":[]}',
    b'{ "schemaVersion": 1, "name": "spaces" \r\n}\n\n',
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=["plain", "text", "compact", "spaces"])
def test_libtrust_verifies_our_signature(program: Oracle, payload: bytes) -> None:
    """And finds the payload that we signed."""
    for _ in range(5):
        body = SigningKey.generate().sign(payload, time=TIME)
        assert program.verify(body) == Digest.of(payload)


def test_libtrust_verifies_keys_and_signatures_with_leading_zeros(program: Oracle) -> None:
    """These two keys have one in x or y; of the signatures one in 128 has one in r or s."""
    for scalar in (379, 43):
        key = SigningKey(ec.derive_private_key(scalar, ec.SECP256R1()))
        times = (f"2020-01-02T03:{n // 60:02}:{n % 60:02}Z" for n in range(3600))
        bodies = (key.sign(PAYLOADS[0], time=time) for time in times)
        short = list(islice(filter(_has_leading_zeros, bodies), 4))
        assert len(short) == 4
        for body in short:
            assert program.verify(body) == Digest.of(PAYLOADS[0])


def _has_leading_zeros(body: bytes) -> bool:
    raw = base64.urlsafe_b64decode(json.loads(body)["signatures"][0]["signature"] + "==")
    return 0 in (raw[0], raw[32])


@pytest.mark.parametrize("payload", PAYLOADS[:2], ids=["plain", "text"])
def test_our_signed_body_is_libtrusts(program: Oracle, tmp_path: Path, payload: bytes) -> None:
    """Byte for byte, but for the time and with it the signature: form, key and key id."""
    key = SigningKey.generate()
    file = tmp_path / "key.pem"
    file.write_bytes(key.pem())
    theirs = program.sign(payload, file)
    protected = json.loads(theirs)["signatures"][0]["protected"]
    time = json.loads(base64.urlsafe_b64decode(protected + "=="))["time"]
    mine = key.sign(payload, time=time)

    def form(body: bytes) -> bytes:
        return re.sub(rb'("signature": )"[^"]{86}"', rb"\1", body)

    assert form(mine) == form(theirs)
    assert libtrust.payload(theirs, json.loads(theirs)) == payload


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"schemaVersion": 1', b'"schemaVersion": 2', "invalid signature"),
        (b'"schemaVersion": 1', b'"schemaVersion":  1', "after array element"),
        (b'"kid": "', b'"kid": "A', "does not match"),
        (b'"alg": "ES256"', b'"alg": "ES384"', "does not support signature algorithm"),
        (b'"signatures": [', b'"unsigned": [', "missing signature key"),
    ],
)
def test_libtrust_rejects_what_was_tampered_with(
    program: Oracle, old: bytes, new: bytes, reason: str
) -> None:
    """Or else the tests above show nothing."""
    body = SigningKey.generate().sign(PAYLOADS[0], time=TIME)
    assert old in body
    with pytest.raises(Rejected, match=reason):
        program.verify(body.replace(old, new, 1))


def test_libtrust_rejects_a_signature_of_another_payload(program: Oracle) -> None:
    """Of the same length, by the same key, at the same time."""
    key = SigningKey.generate()
    other = PAYLOADS[0].replace(b"library/ship", b"library/shop")
    mine, foreign = (json.loads(key.sign(text, time=TIME)) for text in (PAYLOADS[0], other))
    body = key.sign(PAYLOADS[0], time=TIME)
    swapped = body.replace(
        mine["signatures"][0]["signature"].encode(), foreign["signatures"][0]["signature"].encode()
    )
    with pytest.raises(Rejected, match="invalid signature"):
        program.verify(swapped)
