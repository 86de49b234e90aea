"""libtrust's signature: made, and taken off again."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from proxy.errors import ManifestInvalid
from proxy.oci.schema1 import libtrust
from proxy.oci.schema1.libtrust import SigningKey

GOLDEN: Final = Path(__file__).parents[1] / "golden"
TIME: Final = "2020-01-02T03:04:05Z"
PAYLOAD: Final = '{\n   "schemaVersion": 1,\n   "name": "Größe/日本"\n}'.encode()


def key(scalar: int) -> SigningKey:
    """The key with this private number: always the same, and no secret."""
    return SigningKey(ec.derive_private_key(scalar, ec.SECP256R1()))


def signed(payload: bytes = PAYLOAD) -> dict[str, Any]:
    """The signed body, parsed."""
    document: dict[str, Any] = json.loads(key(1).sign(payload, time=TIME))
    return document


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def verify(body: bytes) -> None:
    """Verify every signature as RFC 7515 says; InvalidSignature where one is wrong."""
    document = json.loads(body)
    message = encode(libtrust.payload(body, document))
    for signature in document["signatures"]:
        jwk, raw = signature["header"]["jwk"], unbase64(signature["signature"])
        x, y = (unbase64(jwk[name]) for name in "xy")
        assert (len(x), len(y), len(raw)) == (32, 32, 64)
        point = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1())
        r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
        point.public_key().verify(
            encode_dss_signature(r, s),
            f"{signature['protected']}.{message}".encode(),
            ec.ECDSA(hashes.SHA256()),
        )


def test_the_id_of_a_key_is_libtrusts() -> None:
    """Of the curve's base point, which is the public key of 1."""
    assert key(1).kid == "LTJF:F6YM:5CJS:INX2:7DGN:CBAJ:QG4J:5ZFN:NOP6:TYVC:W7TR:VLFS"


def test_the_nonce_is_that_of_rfc_6979() -> None:
    """Its example, A.2.5, SHA-256, "sample"."""
    private = key(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721)
    assert private._signature(b"sample").hex() == (
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )


def test_the_signed_body_has_libtrusts_form() -> None:
    """Down to the spaces: docker cuts the payload out of the bytes."""
    body = key(1).sign(PAYLOAD, time=TIME).decode()
    signature = json.loads(body)["signatures"][0]
    length = len(PAYLOAD) - len("\n}")
    assert json.loads(unbase64(signature["protected"])) == {
        "formatLength": length,
        "formatTail": encode(b"\n}"),
        "time": TIME,
    }
    assert (
        body
        == f"""\
{PAYLOAD[:length].decode()},
   "signatures": [
      {{
         "header": {{
            "jwk": {{
               "crv": "P-256",
               "kid": "{key(1).kid}",
               "kty": "EC",
               "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
               "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
            }},
            "alg": "ES256"
         }},
         "signature": "{signature["signature"]}",
         "protected": "{signature["protected"]}"
      }}
   ]
}}"""
    )


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD,
        b'{"schemaVersion":1,"name":"compact"}',
        b'\n{ "schemaVersion" : 1 \t\r\n } \n\n',
        b'{"nested":{"name":"}"}}',
    ],
)
def test_what_is_signed_can_be_taken_out_again(payload: bytes) -> None:
    """The exact payload, whatever its spaces; and the signature is right."""
    body = SigningKey.generate().sign(payload, time=TIME)
    assert libtrust.payload(body, json.loads(body)) == payload
    verify(body)


def test_lengths_are_in_bytes() -> None:
    """A count of characters would cut the end off a text that is not ASCII."""
    header = json.loads(unbase64(signed()["signatures"][0]["protected"]))
    assert header["formatLength"] == len(PAYLOAD) - 2 > len(PAYLOAD.decode()) - 2


def test_the_same_input_gives_the_same_bytes() -> None:
    """A digest's bytes never change, also where they have to be made again."""
    assert key(7).sign(PAYLOAD, time=TIME) == key(7).sign(PAYLOAD, time=TIME)
    assert key(7).sign(PAYLOAD, time=TIME) != key(8).sign(PAYLOAD, time=TIME)
    assert key(7).sign(PAYLOAD, time=TIME) != key(7).sign(PAYLOAD, time="2021-01-02T03:04:05Z")


@pytest.mark.parametrize("scalar", [379, 43], ids=["x", "y"])
def test_coordinates_keep_their_leading_zeros(scalar: int) -> None:
    """These two keys have one; libtrust takes 32 bytes and no fewer."""
    verify(key(scalar).sign(PAYLOAD, time=TIME))


def test_signatures_keep_their_leading_zeros() -> None:
    """One in 128 has one: among these there are some for r and some for s."""
    seconds = [f"2020-01-02T03:{n // 60:02}:{n % 60:02}Z" for n in range(1500)]
    shorts = {"r": "", "s": ""}
    for time in seconds:
        body = key(1).sign(PAYLOAD, time=time)
        raw = unbase64(json.loads(body)["signatures"][0]["signature"])
        assert len(raw) == 64
        shorts |= {"r": time} if raw[0] == 0 else {}
        shorts |= {"s": time} if raw[32] == 0 else {}
    for time in shorts.values():
        assert time
        verify(key(1).sign(PAYLOAD, time=time))


def test_tampering_shows() -> None:
    """Anything that changes the payload breaks the signature."""
    body = key(1).sign(PAYLOAD, time=TIME)
    with pytest.raises(InvalidSignature):
        verify(body.replace("Größe".encode(), "Grüße".encode()))


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"{ }", b'{"a":1,}', b'{"a":1', b"1", b"}"])
def test_what_is_no_object_with_members_cannot_be_signed(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"only a JSON object with members can be signed"):
        key(1).sign(payload, time=TIME)


def test_a_key_survives_its_file() -> None:
    """Whichever of the usual forms the file has."""
    private = ec.derive_private_key(5, ec.SECP256R1())
    forms = (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
    pems = [private.private_bytes(Encoding.PEM, form, NoEncryption()) for form in forms]
    # libtrust writes the key's id in a header.
    pems.append(pems[1].replace(b"KEY-----\n", b"KEY-----\nkeyID: ABCD\n\n", 1))
    for pem in (*pems, key(5).pem()):
        assert SigningKey.load(pem).sign(PAYLOAD, time=TIME) == key(5).sign(PAYLOAD, time=TIME)


def test_what_is_no_usable_key_is_an_error() -> None:
    """One clear sentence for the operator."""
    secret = ec.generate_private_key(ec.SECP256R1())
    encrypted = BestAvailableEncryption(b"password")
    public = key(1).pem().replace(b"PRIVATE", b"PUBLIC")
    for pem in (
        b"",
        b"{}",
        public,
        secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted),
    ):
        with pytest.raises(ValueError, match=r"not a PEM private key without password"):
            SigningKey.load(pem)
    for other in (
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ):
        pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(ValueError, match=r"not an EC key on the curve P-256"):
            SigningKey.load(pem)


def test_a_key_is_not_shown() -> None:
    """Neither in a log nor in a traceback."""
    assert repr(key(1)) == "SigningKey()"


def test_libtrusts_own_signature_is_taken_off() -> None:
    """A body that libtrust signed, with text that is not ASCII (golden/README.md)."""
    body = (GOLDEN / "signed-text.json").read_bytes()
    payload = (GOLDEN / "schema1" / "text" / "payload.json").read_bytes()
    assert libtrust.payload(body, json.loads(body)) == payload
    assert libtrust.payload(body + b"\n", json.loads(body)) == payload
    verify(body)


@pytest.mark.parametrize("document", [{"schemaVersion": 1}, {"signatures": None}])
def test_without_signatures_the_body_is_the_payload(document: dict[str, object]) -> None:
    """To the last byte."""
    body = json.dumps(document).encode() + b"\n"
    assert libtrust.payload(body, document) == body


def with_header(**changes: object) -> dict[str, Any]:
    """The signed document with other members in its protected header; None takes one out."""
    document = signed()
    signature = document["signatures"][0]
    header = {**json.loads(unbase64(signature["protected"])), **changes}
    kept = {name: value for name, value in header.items() if value is not None}
    signature["protected"] = encode(json.dumps(kept).encode())
    return document


def with_signatures(*signatures: object) -> dict[str, Any]:
    return {**signed(), "signatures": list(signatures)}


LENGTH: Final = len(PAYLOAD) - 2


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (with_signatures(), "not a non-empty list"),
        ({**signed(), "signatures": {}}, "not a non-empty list"),
        ({**signed(), "signatures": "x"}, "not a non-empty list"),
        ({**signed(), "signatures": False}, "not a non-empty list"),
        (with_signatures(None), "no protected header"),
        (with_signatures({"signature": "x"}), "no protected header"),
        (with_signatures({"protected": "e30", "Protected": "e30"}), "no protected header"),
        (with_signatures({"protected": 5}), "not base64url"),
        (with_signatures({"protected": "e3=="}), "not base64url"),
        (with_signatures({"protected": "e30\n"}), "not base64url"),
        (with_signatures({"protected": "+/+/"}), "not base64url"),
        (with_signatures({"protected": "e30aa"}), "not base64url"),
        (with_signatures({"protected": ""}), "is not a JSON object"),
        (with_signatures({"protected": encode(b"[]")}), "is not a JSON object"),
        (with_signatures({"protected": encode(b"\xff")}), "is not a JSON object"),
        (with_signatures({"protected": encode(b"[" * 100_000)}), "is not a JSON object"),
        (with_header(formatLength=None), "no format length"),
        (with_header(formatLength=str(LENGTH)), "no format length"),
        (with_header(formatLength=float(LENGTH)), "no format length"),
        (with_header(formatLength=True), "no format length"),
        (with_header(formatLength=0), "no format length"),
        (with_header(formatLength=-1), "no format length"),
        (with_header(formatTail=None), "not base64url"),
        (with_header(formatTail=5), "not base64url"),
        (with_header(formatLength=1_000_000), "for a longer manifest"),
        (with_header(formatLength=10**4000), "for a longer manifest"),
        (with_header(formatLength=LENGTH - 1), "for another manifest"),
        (with_header(formatLength=LENGTH + 1), "for another manifest"),
        (with_header(formatLength=1, formatTail=encode(b'"a":1}')), "for another manifest"),
        (with_header(formatLength=1, formatTail=encode(b"}")), "for another manifest"),
        (with_header(formatTail=""), "for another manifest"),
        (with_header(formatTail=encode(b',"x":1}')), "for another manifest"),
        (with_header(formatTail=encode(b"\xff}")), "for another manifest"),
        (with_signatures(*signed()["signatures"], None), "no protected header"),
        (
            with_signatures(*signed()["signatures"], *with_header(formatLength=1)["signatures"]),
            "disagree",
        ),
        (
            with_signatures(
                *signed()["signatures"], *with_header(formatTail=encode(b" }"))["signatures"]
            ),
            "disagree",
        ),
    ],
)
def test_signatures_that_say_nothing_clear_make_the_manifest_invalid(
    document: dict[str, Any], reason: str
) -> None:
    """Nothing is guessed where a client could understand another payload."""
    body = key(1).sign(PAYLOAD, time=TIME)
    with pytest.raises(ManifestInvalid, match=reason):
        libtrust.payload(body, document)


def test_several_signatures_of_one_payload() -> None:
    """Each key's block stands in the list, and all agree."""
    blocks = [json.loads(key(n).sign(PAYLOAD, time=TIME))["signatures"][0] for n in (1, 2, 3)]
    body = PAYLOAD[:LENGTH] + b',"signatures":' + json.dumps(blocks).encode() + b"}"
    assert libtrust.payload(body, json.loads(body)) == PAYLOAD
    verify(body)


@pytest.mark.parametrize(
    ("created", "time"),
    [
        ("2020-01-02T03:04:05.678+02:00", "2020-01-02T01:04:05Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+01:00", "1970-01-01T00:00:00Z"),
        ("yesterday", "1970-01-01T00:00:00Z"),
        ("", "1970-01-01T00:00:00Z"),
        (None, "1970-01-01T00:00:00Z"),
    ],
)
def test_the_time_of_a_signature_is_the_images(created: str | None, time: str) -> None:
    """Never the clock's, or the same digest would have other bytes tomorrow."""
    assert libtrust.signed_time(created) == time
