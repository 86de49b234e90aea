"""Whether the signatures of a schema 1 manifest are right.

Nothing depends on it: a digest names the payload, and a key in the manifest itself proves nothing.
A signature that is wrong is worth a line in the log, because docker up to 1.7 refuses it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from proxy.errors import ManifestInvalid
from proxy.oci.document import parse
from proxy.oci.schema1 import libtrust

if TYPE_CHECKING:
    from proxy.oci.manifest import Schema1

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}


def find_damage(manifest: Schema1) -> str | None:
    """Why one of its signatures is wrong, as half a sentence; None if there is nothing to say."""
    try:
        document = parse(manifest.raw)
        signatures = document.get("signatures")
        payload = libtrust.payload(manifest.raw, document)
        for signature in signatures if isinstance(signatures, list) else ():
            _verify(signature, payload)
    except InvalidSignature:
        return "a signature is not that of its content"
    except (ManifestInvalid, UnsupportedAlgorithm, KeyError, TypeError, ValueError):
        return "a signature cannot be read"
    return None


def _verify(signature: Mapping[str, object], payload: bytes) -> None:
    """Return if the signature is right; InvalidSignature, or an error of a reader."""
    header = _mapping(signature["header"])
    jwk, algorithm = _mapping(header["jwk"]), str(header["alg"])
    value = _bytes(signature["signature"])
    message = f"{signature['protected']}.{urlsafe_b64encode(payload).rstrip(b'=').decode()}"
    digest = _HASHES[algorithm[2:]]
    if algorithm.startswith("ES"):
        # r and s, each as long as the curve's numbers (RFC 7518, 3.4).
        curve, half = _CURVES[str(jwk["crv"])], len(value) // 2
        key = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve)
        der = encode_dss_signature(int.from_bytes(value[:half]), int.from_bytes(value[half:]))
        key.public_key().verify(der, message.encode(), ec.ECDSA(digest))
    else:
        numbers = rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"]))
        numbers.public_key().verify(value, message.encode(), padding.PKCS1v15(), digest)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(value)
    return value


def _bytes(value: object) -> bytes:
    text = str(value)
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(value: object) -> int:
    return int.from_bytes(_bytes(value))
