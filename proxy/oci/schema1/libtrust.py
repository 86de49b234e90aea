"""libtrust signatures of schema 1; docker up to 1.7 verifies them, later versions parse them.

The signatures are inside the document that they sign. A signature's protected header says how to
restore the signed bytes: the first `formatLength` bytes of the body, followed by `formatTail`.
(docker/libtrust jsonsign.go, ec_key.go, util.go.)
"""

from __future__ import annotations

import json
import re
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from proxy.errors import ManifestInvalid
from proxy.oci.schema1 import gojson, rfc3339

# The `time` for an image without a creation time.
_NO_TIME: Final = "1970-01-01T00:00:00Z"
_COORDINATE: Final = 32  # bytes of x, y, r and s on P-256
_KID: Final = 30  # bytes of the hash that make the 48 characters of a key's id
_BASE64: Final = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A P-256 key. Equal keys, payloads and times give equal signed bodies (RFC 6979)."""

    _private: ec.EllipticCurvePrivateKey = field(repr=False)
    # What a manifest's signatures have in common, but for the signature and what it protects.
    _block: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Encode the public key once."""
        point = self._private.public_key().public_numbers()
        jwk = {
            "crv": "P-256",
            "kid": self.kid,
            "kty": "EC",
            "x": _base64(point.x.to_bytes(_COORDINATE)),
            "y": _base64(point.y.to_bytes(_COORDINATE)),
        }
        header = {"jwk": jwk, "alg": "ES256"}
        signature = {"header": header, "signature": "%s", "protected": "%s"}
        block = json.dumps([signature], indent=3).replace("\n", "\n   ")
        object.__setattr__(self, "_block", block)

    @classmethod
    def generate(cls) -> Self:
        """Generate a random key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, pem: bytes) -> Self:
        """Load a PEM key as `pem()`, openssl or libtrust write it; ValueError if it is not one."""
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("the signing key is not a PEM private key without password") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise ValueError("the signing key is not an EC key on the curve P-256")
        return cls(private)

    def pem(self) -> bytes:
        """The private key in SEC1, a format that distribution also reads."""
        return self._private.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )

    @property
    def kid(self) -> str:
        """The id of the public key; libtrust rejects a signature with another one."""
        public = self._private.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        text = b32encode(sha256(der).digest()[:_KID]).decode()
        return ":".join(re.findall("....", text))

    def sign(self, payload: bytes, *, time: str) -> bytes:
        """Add signatures to `payload`, a JSON object with members but no `signatures`.

        `time` is RFC 3339 in UTC and whole seconds. ValueError if the end of the payload shows
        that it is not such an object.
        """
        head = _strip_closing_brace(payload)
        protected = _base64(
            json.dumps(
                {
                    "formatLength": len(head),
                    "formatTail": _base64(payload[len(head) :]),
                    "time": time,
                },
                separators=(",", ":"),
            ).encode()
        )
        signature = _base64(self._signature(f"{protected}.{_base64(payload)}".encode()))
        block = self._block % (signature, protected)
        return head + b',\n   "signatures": ' + block.encode() + b"\n}"

    def _signature(self, message: bytes) -> bytes:
        """The concatenation of r and s at full length, not DER (RFC 7518, 3.4)."""
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(self._private.sign(message, algorithm))
        return r.to_bytes(_COORDINATE) + s.to_bytes(_COORDINATE)


def signed_time(created: str | None) -> str:
    """The `time` of a signature: the image's creation time, so that signing is reproducible.

    In UTC and whole seconds; a fixed time if `created` is missing or malformed.
    """
    try:
        return rfc3339.in_utc(created or "")
    except ValueError:
        return _NO_TIME


def payload(body: bytes, document: Mapping[str, object]) -> bytes:
    """The bytes that the signatures in `body` sign; the manifest's digest covers them.

    `document` is the parsed body. Without signatures the payload is the body. ManifestInvalid for
    signatures that are malformed, contradict each other, or sign another document than their own.
    Signatures are not verified: the digest protects the content.
    """
    signatures = document.get("signatures")
    if signatures is None:
        return body
    if not isinstance(signatures, list) or not signatures:
        raise ManifestInvalid("the schema 1 manifest's signatures are not a non-empty list")
    length, tail = _format(signatures[0])
    if any(_format(other) != (length, tail) for other in signatures[1:]):
        raise ManifestInvalid("the schema 1 manifest's signatures disagree on what they sign")
    if length > len(body):
        raise ManifestInvalid("the schema 1 manifest's signature is for a longer manifest")
    signed = body[:length] + tail
    unsigned = {key: value for key, value in document.items() if key != "signatures"}
    # Clients read the payload, and we read the document: they must be equal.
    if not _is_same_document(signed, unsigned):
        raise ManifestInvalid("the schema 1 manifest's signature is for another manifest")
    return signed


def _is_same_document(text: bytes, document: Mapping[str, object]) -> bool:
    try:
        return bool(json.loads(text.decode()) == document)
    except (ValueError, RecursionError):
        return False


def _format(signature: object) -> tuple[int, bytes]:
    """The format length in bytes and the format tail of one signature."""
    members = signature if isinstance(signature, Mapping) else {}
    protected = [value for key, value in members.items() if gojson.fold(key) == "protected"]
    if len(protected) != 1:
        raise ManifestInvalid("a signature of the schema 1 manifest has no protected header")
    header = _protected_header(_unbase64(protected[0]))
    length = header.get("formatLength")
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise ManifestInvalid("a signature of the schema 1 manifest has no format length")
    return length, _unbase64(header.get("formatTail"))


def _protected_header(text: bytes) -> Mapping[str, object]:
    try:
        header = json.loads(text.decode())
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, Mapping):
        raise ManifestInvalid("a protected header in the schema 1 manifest is not a JSON object")
    return header


def _strip_closing_brace(payload: bytes) -> bytes:
    """`payload` without its closing brace and the white space around it."""
    text = payload.rstrip()
    head = text[:-1].rstrip()
    if not text.endswith(b"}") or not head or head.endswith((b"{", b",")):
        raise ValueError("only a JSON object with members can be signed")
    return head


def _base64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _unbase64(text: object) -> bytes:
    """Decode base64url without padding (RFC 7515)."""
    if not isinstance(text, str) or not _BASE64.fullmatch(text) or len(text) % 4 == 1:
        raise ManifestInvalid("a signature of the schema 1 manifest is not base64url")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
