"""Wrong settings and wrong commands, each with the whole message that a person gets for it.

In what is given and in the message, `{here}` is a directory of the case's own, `{port}` a free
port, and `{taken}` one that another program listens on. Its files are those of `prepare`.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.kit import certificates
from tests.kit.processes import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE: Final = "{here}/lighterage.yaml"
_URL: Final = "https://registry.example"
_SIZE: Final = "a size is in bytes, or a number with KiB, MiB, GiB or TiB after it, such as 100GiB"
_DURATION: Final = "a duration is a number with ms, s, m, h or d after it, such as 90s or 1h30m"
_NO_PROXY: Final = (
    "no proxy answers at http://127.0.0.1:{port}: Connection refused; start one with lighterage "
    "serve, or name its admin listener with --admin or --config (was it started with "
    "--admin-listen?)"
)


@dataclass(frozen=True)
class Wrong:
    """Settings in a file, in secrets and in the environment, and the message without its start."""

    message: str
    file: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


# What is wrong with the settings: `check-config` and `serve` say the same.
SETTINGS: Final = {
    "a bracket": Wrong(
        FILE + ":1:8: a value is missing, or a bracket is not closed",
        "tags: {",
    ),
    "a quote": Wrong(FILE + ":2:8: a quote is not closed", "tags:\n  ttl: '1s\n"),
    "a tab": Wrong(FILE + ":2:1: there is a tab; indent with spaces", "tags:\n\tttl: 1s\n"),
    "indentation": Wrong(
        FILE + ":3:2: the indentation differs from that of the lines above, or the line begins "
        "with something that is no key",
        "tags:\n  ttl: 1s\n stale_if_error: 1d\n",
    ),
    "two colons": Wrong(
        FILE + ":1:10: there is a second ':' in this line, or the line is indented further than "
        "the one above; put a value that contains ': ' between quotes",
        "data: any: b\n",
    ),
    "no mapping": Wrong(FILE + ":1:1: settings are 'key: value', one a line", "- tags\n"),
    "a date": Wrong(
        FILE + ":1:13: this value is not what its form or its tag says; put text between quotes",
        "tags: {ttl: 2026-13-45}",
    ),
    "a tag of python": Wrong(
        FILE + ":1:7: tags such as !!python are not allowed", "data: !!python/name:os.system\n"
    ),
    "no UTF-8": Wrong(FILE + " is not UTF-8 text", "data: \udcff"),
    "a key twice": Wrong(
        FILE + ":3:3: tags.ttl: line 2 says it, too; remove one of them",
        "tags:\n  ttl: 1s\n  ttl: 2s\n",
    ),
    "an unknown key": Wrong(
        FILE + ":2:3: tags.tll: there is no such setting; did you mean 'ttl'?",
        "tags:\n  tll: 1s\n",
    ),
    "an unknown group": Wrong(
        FILE + ":1:1: tag: there is no such setting; did you mean 'tags'?", "tag: {ttl: 1s}\n"
    ),
    "an unknown variable": Wrong(
        "LIGHTERAGE_WORKRES: there is no such setting; did you mean LIGHTERAGE_WORKERS?",
        environ={"LIGHTERAGE_WORKRES": "2"},
    ),
    "an unknown setting in a variable": Wrong(
        "LIGHTERAGE_TAGS__TLL: tags.tll: there is no such setting; did you mean 'ttl'?",
        environ={"LIGHTERAGE_TAGS__TLL": "2s"},
    ),
    "a variable of another Service": Wrong(
        "LIGHTERAGE_ADMIN_SERVICE_HOST: there is no such setting; if Kubernetes sets it for a "
        "Service, set enableServiceLinks: false in the pod's spec",
        environ={"LIGHTERAGE_ADMIN_SERVICE_HOST": "10.0.0.1"},
    ),
    "JSON in a variable": Wrong(
        "LIGHTERAGE_UPSTREAMS starts like JSON, but is not JSON",
        environ={"LIGHTERAGE_UPSTREAMS": "{quay.io"},
    ),
    "a size": Wrong(f"LIGHTERAGE_BLOBS__MAX_SIZE: blobs.max_size: {_SIZE}",
                    environ={"LIGHTERAGE_BLOBS__MAX_SIZE": "much"}),
    "a size beyond all disks": Wrong(
        FILE + ":1:9: blobs.max_size: a size is at most 1048576TiB",
        "blobs: {max_size: 9999999999TiB}\n",
    ),
    "a duration beyond all lives": Wrong(
        FILE + ":1:8: tags.ttl: a duration is at most 36500d", "tags: {ttl: 99999999999d}\n"
    ),
    "a unit twice": Wrong(
        FILE + ":1:8: tags.ttl: each unit of a duration is there once, the largest first: 1h30m",
        "tags: {ttl: 5m5m}\n",
    ),
    "a number that is true": Wrong(
        FILE + ":1:1: workers: a whole number is needed", "workers: true\n"
    ),
    "a share that is true": Wrong(
        FILE + ":1:10: budget.reserve: a share is a number from 0 to 1, or such as 10%",
        "budget: {reserve: true}\n",
    ),
    "a list in a variable": Wrong(
        'LIGHTERAGE_ADMIN__HOSTS: admin.hosts: a list is needed, such as ["a", "b"]',
        environ={"LIGHTERAGE_ADMIN__HOSTS": "a,b"},
    ),
    "two documents": Wrong(
        FILE + ":2:1: a second document begins here; settings are one document",
        "workers: 1\n---\nworkers: 2\n",
    ),
    "a duration": Wrong(FILE + f":1:8: tags.ttl: {_DURATION}", "tags: {ttl: soon}\n"),
    "a duration in a secret": Wrong(
        "the secret {here}/secrets/tags__ttl: tags.ttl: " + _DURATION,
        secrets={"tags__ttl": "soon"},
    ),
    "an address": Wrong(
        FILE + ":1:1: listen: an address is HOST:PORT, such as 0.0.0.0:5000 or [::]:5000",
        "listen: 5000\n",
    ),
    "a whole number": Wrong(FILE + ":1:1: workers: a whole number is needed", "workers: two\n"),
    "yes or no": Wrong(
        FILE + ":1:9: blobs.range_on_miss: true or false is needed",
        "blobs: {range_on_miss: perhaps}\n",
    ),
    "a choice": Wrong(
        FILE + ":1:14: conversion.mixed: it must be 'stored' or 'consistent'",
        "conversion: {mixed: sometimes}\n",
    ),
    "too few": Wrong(
        FILE + ":1:10: limits.connections: it must be at least 1", "limits: {connections: 0}\n"
    ),
    "a group": Wrong(
        FILE + ":1:1: tags: a group of settings is needed here: one 'key: value' a line, indented",
        "tags: soon\n",
    ),
    "an upstream without a url": Wrong(
        FILE + ":1:13: upstreams.quay.io.url: it is missing", "upstreams: {quay.io: {prefix: a}}\n"
    ),
    "a url with a path": Wrong(
        FILE + ":2:13: upstreams.quay.io.url: an upstream's url is http(s)://HOST[:PORT] without "
        "a path; a path before the names of repositories is the prefix",
        "upstreams:\n  quay.io: {url: https://quay.io/v2}\n",
    ),
    "no default": Wrong(
        FILE + ":1:1: upstreams: exactly one upstream must be the default; 0 are: set default: "
        "true in one of them",
        f"upstreams: {{a.example: {{url: '{_URL}'}}, b.example: {{url: '{_URL}'}}}}\n",
    ),
    "one name for two": Wrong(
        FILE + ":3:3: upstreams.b.example: 'a.example' names two upstreams",
        f"upstreams:\n  a.example: {{url: '{_URL}', default: true}}\n"
        f"  b.example: {{url: '{_URL}', aliases: [a.example]}}\n",
    ),
    "a name that is none": Wrong(
        FILE + ":1:13: upstreams.Quay: 'Quay' is not a valid name for an upstream; it is a host "
        "in lower case",
        f"upstreams: {{Quay: {{url: '{_URL}'}}}}\n",
    ),
    "a login for everybody": Wrong(
        "LIGHTERAGE_LISTEN: listen: every client that can reach 0.0.0.0:0 would pull with the "
        "credentials for quay.io; say in access.rules who may pull, listen on 127.0.0.1, or set "
        "access.allow_anonymous: true if you want that",
        f"upstreams: {{quay.io: {{url: '{_URL}', credentials: {{username: a, password: b}}}}}}\n",
        {"LIGHTERAGE_LISTEN": "0.0.0.0:0"},
    ),
    "a bucket without a name": Wrong(
        FILE + ":1:1: blobs: store is s3, but no bucket is configured: set s3.bucket",
        "blobs: {store: s3}\n",
    ),
    "an extra that is not installed": Wrong(
        FILE + ":1:9: blobs.store: store: s3 needs obstore, which is not installed: "
        "pip install 'lighterage[object]'",
        "blobs: {store: s3, s3: {bucket: images}}\n",
        {"PYTHONPATH": "{here}/without"},
    ),
    "no certificate there": Wrong(
        FILE + ":2:3: tls.certificate_file: there is no file {here}/none.pem\n"
        + FILE + ":3:3: tls.key_file: {here} is a directory, and no file",
        "tls:\n  certificate_file: '{here}/none.pem'\n  key_file: '{here}'\n",
    ),
    "a certificate that is none": Wrong(
        FILE + ":1:7: tls.certificate_file: {here}/key.pem has no certificate in PEM",
        "tls: {certificate_file: '{here}/key.pem', key_file: '{here}/key.pem'}\n",
    ),
    "a key of another certificate": Wrong(
        FILE + ":2:3: tls.key_file: {here}/other.pem is not the key of the certificate in "
        "{here}/tls.pem",
        "tls: {certificate_file: '{here}/tls.pem',\n  key_file: '{here}/other.pem'}\n",
    ),
    "a key that asks for a passphrase": Wrong(
        "LIGHTERAGE_TLS__KEY_FILE: tls.key_file: {here}/encrypted.pem is encrypted; the proxy "
        "needs a key without a passphrase",
        environ={
            "LIGHTERAGE_TLS__CERTIFICATE_FILE": "{here}/tls.pem",
            "LIGHTERAGE_TLS__KEY_FILE": "{here}/encrypted.pem",
        },
    ),
    "a CA of an upstream": Wrong(
        FILE + ":1:23: upstreams.quay.io.ca_file: {here}/empty is empty",
        f"upstreams: {{quay.io: {{ca_file: '{{here}}/empty', url: '{_URL}'}}}}\n",
    ),
    "a signing key": Wrong(
        FILE + ":1:14: conversion.signing_key_file: {here}/tls.pem is not a P-256 private key in "
        "PEM; make one with: openssl ecparam -name prime256v1 -genkey -noout -out {here}/tls.pem",
        "conversion: {signing_key_file: '{here}/tls.pem'}\n",
    ),
    "a key for Redis": Wrong(
        FILE + ":1:51: manifests.redis.hmac_key_file: the secret in {here}/short has 5 bytes, and "
        "must have at least 32; make one with: openssl rand -hex 32",
        "manifests: {store: redis, redis: {url: redis://a, hmac_key_file: '{here}/short'}}\n",
    ),
    "a secret of replicas": Wrong(
        FILE + ":4:3: peers.secret_file: the secret in {here}/short has 5 bytes, and must have at "
        "least 16; make one with: openssl rand -hex 32",
        "peers:\n  listen: 127.0.0.1:0\n  discover: [127.0.0.1:{port}]\n"
        "  secret_file: '{here}/short'\n",
    ),
    "a user's line": Wrong(
        FILE + ":1:10: access.htpasswd_file: {here}/users: line 2: its hash is neither bcrypt nor "
        "argon2; write a line with: lighterage htpasswd USER",
        "access: {htpasswd_file: '{here}/users', mode: basic}\n",
    ),
    "users in another encoding": Wrong(
        FILE + ":1:10: access.htpasswd_file: {here}/latin1 is not UTF-8",
        "access: {htpasswd_file: '{here}/latin1', mode: basic}\n",
    ),
    "too many users": Wrong(
        FILE + ":1:10: access.htpasswd_file: {here}/large: it has more than 4194304 bytes; write a "
        "line with: lighterage htpasswd USER",
        "access: {htpasswd_file: '{here}/large', mode: basic}\n",
    ),
    "a short key for tokens": Wrong(
        FILE + ":1:10: access.token_key_file: {here}/short: a token key has at least 32 "
        "characters; make a key with: openssl rand -hex 32",
        "access: {token_key_file: '{here}/short', mode: deny}\n",
    ),
    "keys of an issuer": Wrong(
        FILE + ":4:10: access.issuers.0.jwks_file: {here}/short: it is no JWKS (JSONDecodeError); "
        "for a cluster's own service accounts: kubectl get --raw /openid/v1/jwks",
        "access:\n  mode: basic\n  issuers:\n      - {jwks_file: '{here}/short', issuer: a, "
        "audience: b}\n",
    ),
    "only secrets as keys of an issuer": Wrong(
        FILE + ":4:10: access.issuers.0.jwks_file: {here}/secret.jwks: it has no public key of "
        "RSA, EC or Ed25519; for a cluster's own service accounts: kubectl get --raw "
        "/openid/v1/jwks",
        "access:\n  mode: basic\n  issuers:\n      - {jwks_file: '{here}/secret.jwks', issuer: a, "
        "audience: b}\n",
    ),
    "a CA of an issuer": Wrong(
        FILE + ":5:9: access.issuers.0.ca_file: {here}/key.pem has no certificate in PEM",
        "access:\n  mode: basic\n  issuers:\n      - {jwks_url: 'https://k8s.example/keys',\n"
        "        ca_file: '{here}/key.pem', issuer: a, audience: b}\n",
    ),
    "an audit log in no directory": Wrong(
        FILE + ":1:18: access.audit.file: there is no directory {here}/none; make it, or choose "
        "another file",
        "access: {audit: {file: '{here}/none/audit.log'}}\n",
    ),
    "an audit log that is a directory": Wrong(
        FILE + ":1:18: access.audit.file: {here}/secrets is a directory, and no file",
        "access: {audit: {file: '{here}/secrets'}}\n",
    ),
    "data in a file": Wrong(
        "LIGHTERAGE_DATA: data: {here}/short is not a directory; choose another directory with "
        "data or --data",
        environ={"LIGHTERAGE_DATA": "{here}/short/data"},
    ),
    "data that cannot be written": Wrong(
        "LIGHTERAGE_DATA: data: /proc/self/data is not writable by uid {uid} ({groups}): "
        "/proc/self belongs to uid {uid}, group {gid}, with mode 0555; run chown -R {uid}:{gid} "
        "/proc/self (for a container, on the host: on what is mounted there), run as its owner, or "
        "choose another directory with data or --data",
        environ={"LIGHTERAGE_DATA": "/proc/self/data"},
    ),
    "one port for two": Wrong(
        FILE + ":2:9: admin.listen: 127.0.0.1:{port} takes the port of listen, 0.0.0.0:{port}; "
        "choose another port",
        "listen: 0.0.0.0:{port}\nadmin: {listen: '127.0.0.1:{port}'}\n",
    ),
    "a port that is taken": Wrong(
        "LIGHTERAGE_LISTEN: listen: another program listens on 127.0.0.1:{taken}: stop it; choose "
        "another one with listen or --listen",
        environ={"LIGHTERAGE_LISTEN": "127.0.0.1:{taken}"},
    ),
    "a host that is not ours": Wrong(
        "LIGHTERAGE_ADMIN__LISTEN: admin.listen: 192.0.2.1 is not an address of this machine; "
        "choose another one with admin.listen or --admin-listen",
        environ={"LIGHTERAGE_ADMIN__LISTEN": "192.0.2.1:0"},
    ),
    "a host that is none": Wrong(
        "LIGHTERAGE_LISTEN: listen: there is no address for the host no-host.invalid; choose "
        "another one with listen or --listen",
        environ={"LIGHTERAGE_LISTEN": "no-host.invalid:0"},
    ),
    "a host that can be none": Wrong(
        "LIGHTERAGE_LISTEN: listen: there is no address for the host no..host; choose another one "
        "with listen or --listen",
        environ={"LIGHTERAGE_LISTEN": "no..host:0"},
    ),
}  # fmt: skip
# A command line, its exit status and its message.
COMMANDS: Final = {
    "an unknown command": (
        ("scrubb",),
        2,
        "there is no command 'scrubb'; did you mean scrub?\nsee: lighterage --help",
    ),
    "an unknown option": (
        ("serve", "--lisen", "a"),
        2,
        "there is no option --lisen; did you mean --listen?\nsee: lighterage serve --help",
    ),
    "a missing argument": (
        ("purge",),
        2,
        "REPOSITORY[:TAG|@DIGEST] is missing\nsee: lighterage purge --help",
    ),
    "a file that is missing": (
        ("check-config", "--config", "{here}/none.yaml"),
        2,
        "--config: there is no file {here}/none.yaml\nsee: lighterage check-config --help",
    ),
    "a number out of its range": (
        ("warm", "a:1", "--jobs", "33"),
        2,
        "--jobs: it must be at least 1, and at most 32\nsee: lighterage warm --help",
    ),
    "no number": (
        ("serve", "--workers", "two"),
        2,
        "--workers: a whole number is needed\nsee: lighterage serve --help",
    ),
    "a wrong flag": (("gc", "--max-size", "much"), 1, f"--max-size: blobs.max_size: {_SIZE}"),
    "a scrub of nothing": (
        ("scrub", "--data", "{here}/none"),
        2,
        "--data: data: there is no directory {here}/none",
    ),
    "a gc of nothing": (
        ("gc", "--data", "{here}/none"),
        2,
        "--data: data: there is no directory {here}/none",
    ),
    "a scrub of something else": (
        ("scrub", "--data", "{here}/secrets"),
        2,
        "--data: data: {here}/secrets is not a data directory: no proxy has stored anything there",
    ),
    "a gc of something else": (
        ("gc", "--dry-run", "--data", "{here}/secrets"),
        2,
        "--data: data: {here}/secrets is not a data directory: no proxy has stored anything there",
    ),
    "a purge without a proxy": (
        ("purge", "library/alpine", "--admin", "127.0.0.1:{port}"),
        1,
        _NO_PROXY,
    ),
    "a purge at another server": (
        ("purge", "library/alpine", "--admin", "ftp://127.0.0.1"),
        1,
        "ftp://127.0.0.1 is not the address of an admin listener",
    ),
}


@contextmanager
def prepare(here: Path) -> Iterator[dict[str, object]]:
    """Make the files in `here`, and listen on a port; what the braces stand for."""
    key, certificate = certificates.pem()
    other, _ = certificates.pem()
    files = {"key.pem": key, "tls.pem": certificate, "other.pem": other, "empty": b""}
    files |= {"users": b"# ours\nann:plain\n", "latin1": b"\xe9:x", "large": b"#" * (4 * 2**20 + 1)}
    files["secret.jwks"] = b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'
    files |= {"short": b"short", "encrypted.pem": certificates.encrypted(key)}
    for name, content in files.items():
        (here / name).write_bytes(content)
    (here / "secrets").mkdir()
    (here / "without" / "obstore").mkdir(parents=True)
    (here / "without" / "obstore" / "__init__.py").write_text("raise ImportError\n")
    with socket.create_server((LOOPBACK, 0)) as server:
        yield {"here": here, "port": free_port(), "taken": server.getsockname()[1]}
