"""The keys of a cluster: one authority, and a certificate for each of its programs."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.addresses import API_PORT, API_SERVICE, LOOPBACK, NODE, NODE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LIFETIME: Final = dt.timedelta(days=30)
# Each program that asks the API, and the user and the group that Kubernetes' own roles are for.
_CLIENTS: Final = {
    "admin": ("lighterage-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "kubelet": (f"system:node:{NODE_NAME}", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
    "scheduler": ("system:kube-scheduler", ""),
}


@dataclass(frozen=True, slots=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def write(directory: Path) -> None:
    """Make everything anew below `directory`: `NAME.crt`, `NAME.key`, and `NAME.kubeconfig`."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = _authority()
    _write(directory, "ca", authority.key, authority.certificate)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    addresses = [LOOPBACK, NODE, API_SERVICE]
    key = ec.generate_private_key(ec.SECP256R1())
    server = _certificate(authority, key, "kube-apiserver", "", names=names, addresses=addresses)
    _write(directory, "server", key, server)
    # Service account tokens are signed with it. Kubernetes up to 1.33 takes RSA and ECDSA alike.
    accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (directory / "accounts.key").write_bytes(_pem(accounts))
    for name, (user, group) in _CLIENTS.items():
        key = ec.generate_private_key(ec.SECP256R1())
        _write(directory, name, key, _certificate(authority, key, user, group))
        (directory / f"{name}.kubeconfig").write_text(_kubeconfig(directory, name))


def _authority() -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lighterage-cluster")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _Authority(key, builder.sign(key, hashes.SHA256()))


def _certificate(
    authority: _Authority,
    key: ec.EllipticCurvePrivateKey,
    user: str,
    group: str,
    *,
    names: Iterable[str] = (),
    addresses: Iterable[str] = (),
) -> x509.Certificate:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    issuer = authority.certificate.subject
    builder = (
        _builder(x509.Name(attributes), issuer, key)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
    )


def _write(
    directory: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> None:
    (directory / f"{name}.key").write_bytes(_pem(key))
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _kubeconfig(directory: Path, name: str) -> str:
    """Everything in one file, so that it can be used from anywhere that reaches the API."""

    def content(file: str) -> str:
        return base64.b64encode((directory / file).read_bytes()).decode()

    cluster = {
        "server": f"https://{NODE}:{API_PORT}",
        "certificate-authority-data": content("ca.crt"),
    }
    user = {
        "client-certificate-data": content(f"{name}.crt"),
        "client-key-data": content(f"{name}.key"),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "cluster",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": name}}],
    }
    return json.dumps(document)  # JSON is YAML
