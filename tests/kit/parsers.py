"""Every parser of what upstreams, clients and Redis send: how to call it, and what it may raise."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from proxy.catalog import shared_values
from proxy.catalog.routing import Routes
from proxy.errors import ConversionRefused, RegistryError
from proxy.kit.content_coding import choose_content, looks_like_json, parse_coding
from proxy.manifests import stored_page
from proxy.oci.derivation import Origin
from proxy.oci.derived_record import DerivedRecord
from proxy.oci.headers.accept import Accept
from proxy.oci.headers.link import LinkInvalid, following
from proxy.oci.headers.ratelimit import RateLimit
from proxy.oci.layer import LayerMeter
from proxy.oci.manifest import Schema1, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, parse_name, parse_reference
from proxy.oci.schema1 import build, imageconfig, rfc3339
from proxy.oci.schema1.to_image import to_image
from proxy.oci.schema1.verification import find_damage
from proxy.peers import layers as peer_layers
from proxy.peers.answers import Value, read_error
from proxy.peers.frames import Frame, FrameInvalid, FrameReader, Kind
from proxy.peers.questions import Question
from proxy.peers.signing import MIN_SECRET, Signer
from proxy.stores.bucket import index as bucket_index
from proxy.upstream.auth.challenge import Bearer, parse_challenges, vet_realm
from proxy.upstream.auth.credentials import CredentialsError
from proxy.upstream.auth.docker_config import credentials_for
from proxy.upstream.auth.token_server import parse_token
from proxy.upstream.framing import end_of_head, is_interim, read_head
from proxy.upstream.health.rate_limit import MeterReading
from proxy.web.conditions import not_modified, range_applies
from proxy.web.paths import parse_target
from proxy.web.ranges import parse_range
from tests.kit import images, schema1

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NOW: Final = 1_700_000_000.0
_DIGEST: Final = Digest.of(b"")
_ROUTES: Final = Routes({"docker.io": "docker.io", "quay.io": "quay.io"}, "docker.io")
_IMAGE: Final = images.docker_with_empty_steps()
_MARKER: Final = b"\n"


@dataclass(frozen=True, slots=True)
class Parser:
    """A function of bytes. It raises `errors` and nothing else."""

    parse: Callable[[bytes], object]
    seeds: Sequence[bytes]
    errors: tuple[type[Exception], ...] = ()

    def __call__(self, data: bytes) -> None:
        with suppress(*self.errors):
            self.parse(data)


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """Headers and paths come as aiohttp decodes them."""
    return lambda data: parse(data.decode("utf-8", "surrogateescape"))


def _manifest(data: bytes) -> None:
    media_type, _, raw = data.partition(_MARKER)
    read_manifest(raw, media_type.decode("latin-1"))


def _config(data: bytes) -> None:
    build.from_image(data, [_DIGEST, _DIGEST], name="library/cargo", tag="1")


def _challenges(text: str) -> None:
    for challenge in parse_challenges((text,)):
        if isinstance(challenge, Bearer):
            vet_realm(challenge.realm, registry="https://registry.example")


def _head(data: bytes) -> None:
    end = end_of_head(data) or len(data)
    is_interim(data[:end])
    for to_head in (True, False):
        again = read_head(data[:end], to_head=to_head)
        assert read_head(again.raw, to_head=to_head).length == again.length


def _encoded(data: bytes) -> None:
    label, _, raw = data.partition(_MARKER)
    coding = parse_coding([label.decode("latin-1")])
    choose_content(raw, coding, looks_like_json, limit=2**20, sender="it")


def _rate_limit(text: str) -> None:
    limit, _, remaining = text.partition("\n")
    headers = {"RateLimit-Limit": limit, "RateLimit-Remaining": remaining}
    RateLimit.parse({**headers, "Docker-RateLimit-Source": limit})


def _frames(data: bytes) -> None:
    reader = FrameReader(Signer(bytes(MIN_SECRET)).seal(""))
    for start in range(0, len(data), 7):
        for frame in reader.feed(data[start : start + 7]):
            if frame.kind is Kind.EXTENT:
                frame.extent  # noqa: B018 -- it parses


def _target(text: str) -> None:
    host, _, target = text.partition("\n")
    parse_target(target, host, _ROUTES)


def _steps(data: bytes) -> None:
    manifest = read_manifest(data)
    if isinstance(manifest, Schema1):
        find_damage(manifest)
        to_image(manifest, [_FACTS])


def _layer(data: bytes) -> None:
    meter = LayerMeter(_DIGEST, max_unpacked=2**16)
    for start in range(0, len(data), 100):
        meter.feed(data[start : start + 100])
    meter.finish()


_OLD: Final = schema1.old_docker(schema1.two_layers()[:1])
_FACTS: Final = schema1.facts_of(schema1.two_layers()[0])
_ORIGIN: Final = json.dumps(
    {
        "source": str(_DIGEST),
        "target": str(MediaType.V2S1_SIGNED),
        "converter": 1,
        "name": "library/cargo",
        "tag": "1",
        "platforms": ["linux/amd64"],
        "max_children": 64,
        "layers": [_FACTS.encode()],
    }
).encode()
_RECORD: Final = json.dumps(
    {
        "format": 1,
        "type": str(_IMAGE.media_type),
        "origin": json.loads(_ORIGIN),
        "repositories": ["docker.io/library/cargo"],
    }
).encode()
_TOKEN: Final = b'{"token": "abc", "expires_in": 300, "issued_at": "2026-01-01T00:00:00Z"}'
_LOGINS: Final = b'{"auths": {"quay.io": {"auth": "YTpi"}}}'
_REGISTRY: Final = (RegistryError,)

PARSERS: Final[dict[str, Parser]] = {
    "manifest": Parser(
        _manifest,
        [
            content.media_type.encode() + _MARKER + content.manifest
            for content in (_IMAGE, images.oci(), images.docker_list(), images.oci_index())
        ],
        _REGISTRY,
    ),
    "image config": Parser(_config, list(_IMAGE.blobs.values())[:1], (ConversionRefused,)),
    "config": Parser(
        _text(imageconfig.read_config),
        list(_IMAGE.blobs.values())[:1],
        (ValueError, RecursionError),
    ),
    "steps of schema 1": Parser(
        _steps, [_OLD.manifest, schema1.quay([]).manifest], (RegistryError, ConversionRefused)
    ),
    "layer": Parser(
        _layer,
        [schema1.two_layers()[0], schema1.plain(schema1.two_layers()[0])[:2048]],
        (ConversionRefused,),
    ),
    "time": Parser(_text(rfc3339.in_utc), [b"2026-01-01T00:00:00.5+02:00"], (ValueError,)),
    "Accept": Parser(
        _text(lambda text: Accept.parse(tuple(text.split("\n")))), [b"a/b;q=0.5, */*\nx/y"]
    ),
    "Link": Parser(
        _text(lambda text: following(text.split("\n"))),
        [b'</v2/a/tags/list?n=1&last=b>; rel="next"'],
        (LinkInvalid,),
    ),
    "RateLimit": Parser(_text(_rate_limit), [b"100;w=21600\n76;w=21600"]),
    "Range": Parser(_text(parse_range), [b"bytes=0-1", b"bytes=-5", b"bytes=1-"], _REGISTRY),
    "If-None-Match": Parser(
        _text(lambda text: not_modified(text.split("\n"), _DIGEST)),
        [f'"{_DIGEST}", W/"x"'.encode()],
    ),
    "If-Range": Parser(_text(lambda text: range_applies(text, _DIGEST)), [f'"{_DIGEST}"'.encode()]),
    "target": Parser(
        _text(_target),
        [
            b"localhost\n/v2/library/cargo/manifests/1?ns=docker.io",
            f"quay.io:443\n/v2/a/blobs/{_DIGEST}".encode(),
            b"x\n/v2/a/b/tags/list?n=1&last=a",
            b"\nhttp://quay.io/v2/",
        ],
        _REGISTRY,
    ),
    "name": Parser(_text(parse_name), [b"library/cargo"], _REGISTRY),
    "reference": Parser(_text(parse_reference), [b"1", str(_DIGEST).encode()], _REGISTRY),
    "WWW-Authenticate": Parser(
        _text(_challenges),
        [b'Bearer realm="https://auth.registry.example/token",service="x",scope="y", Basic'],
        _REGISTRY,
    ),
    "head of an answer": Parser(
        _head,
        [
            b"HTTP/1.1 200 OK\r\nContent-Length : 5, 5\r\nX: a\r\n b\r\n\r\n",
            b"HTTP/1.1 103 Hints\n\nHTTP/1.0 200\nTransfer-Encoding: identity, chunked\n\n",
        ],
    ),
    "encoded answer": Parser(
        _encoded, [b"gzip\n" + gzip.compress(b"{}"), b"deflate\nx"], _REGISTRY
    ),
    "token": Parser(
        lambda data: parse_token(data, "it", datetime.fromtimestamp(_NOW, UTC)), [_TOKEN], _REGISTRY
    ),
    "docker config": Parser(
        _text(lambda text: credentials_for(["quay.io"], text)), [_LOGINS], (CredentialsError,)
    ),
    "tag in Redis": Parser(
        lambda data: shared_values.decode_entry(data, _NOW), [f"{_DIGEST} 1.000".encode()]
    ),
    "grant in Redis": Parser(shared_values.decode_grant, [b'["delivered","a/b"]']),
    "digest in Redis": Parser(shared_values.decode_digest, [str(_DIGEST).encode()]),
    "listing in Redis": Parser(
        lambda data: shared_values.decode_listing(data, _NOW), [b"1.000\n{}\n{}"]
    ),
    "purges in Redis": Parser(
        lambda data: shared_values.decode_marks(data, _NOW), [b"1.000 2.000"]
    ),
    "budget in Redis": Parser(
        lambda data: MeterReading.decode(data, _NOW),
        [b'{"limit": 1, "remaining": 1, "window": 1, "source": "", "at": 1.0}'],
    ),
    "stored page": Parser(
        lambda data: stored_page.decode(data, ""),
        [b'{"query":"","next":"n=1","filtered":false}\n{"tags":[]}'],
        _REGISTRY,
    ),
    "grant in a bucket": Parser(bucket_index._decode, [b'["delivered",null]']),
    "frames of a peer": Parser(_frames, [b"\x02\0\0\0\x01x", b"\0\0\0\0\0"], (FrameInvalid,)),
    "value of a peer": Parser(
        lambda data: Value.read(Frame(Kind.VALUE, data)), [b'{"age":1}\n{}'], (FrameInvalid,)
    ),
    "error of a peer": Parser(
        lambda data: read_error(Frame(Kind.ERROR, data)),
        [b'{"error":"BlobUnknown","message":"x","retry_after":1}'],
        (FrameInvalid,),
    ),
    "facts of a peer": Parser(
        lambda data: peer_layers._read(_FACTS.digest, Value.read(Frame(Kind.VALUE, data))),
        [json.dumps(_FACTS.encode()).encode() + b"\n"],
        (ValueError, KeyError, FrameInvalid, RegistryError, ConversionRefused),
    ),
    "question of a peer": Parser(
        _text(Question.decode), [f"/peers/1/blob?name=a&reference={_DIGEST}".encode()], _REGISTRY
    ),
    "layer in a bucket": Parser(bucket_index._decode_layer, [json.dumps(_FACTS.encode()).encode()]),
    "origin": Parser(Origin.decode, [_ORIGIN], _REGISTRY),
    "derived record": Parser(
        lambda data: DerivedRecord.decode(_DIGEST, data),
        [_RECORD + b"\n" + _IMAGE.manifest],
        _REGISTRY,
    ),
}
