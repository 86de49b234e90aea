"""What a layer's bytes say, whatever pieces they come in; and what is no layer."""

from __future__ import annotations

import hashlib
import tracemalloc
import zlib
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConversionRefused, DigestInvalid, RefusalReason
from proxy.oci import layer as layer_module
from proxy.oci.layer import LayerFacts, LayerMeter
from proxy.oci.reference import Digest
from proxy.oci.schema1.build import EMPTY_LAYER_BYTES
from proxy.oci.schema1.to_image import EMPTY_LAYER_FACTS
from tests.kit import images, schema1

ARCHIVE: Final = schema1.plain(schema1.two_layers()[0])
GZIP: Final = schema1.gzipped(ARCHIVE)
DIGEST: Final = Digest.of(b"named by the manifest")


def measure(content: bytes, *, piece: int = 4096, max_unpacked: int = 2**30) -> LayerFacts:
    meter = LayerMeter(DIGEST, max_unpacked=max_unpacked)
    for start in range(0, len(content), piece):
        meter.feed(memoryview(content)[start : start + piece])
    return meter.finish()


@given(piece=st.integers(min_value=1, max_value=len(GZIP) + 1), cut=st.integers(0, len(ARCHIVE)))
def test_gzip_of_any_number_of_members_in_any_pieces(piece: int, cut: int) -> None:
    """A reader that stops after the first member has another digest, and no error."""
    parts = [ARCHIVE[:cut], b"", ARCHIVE[cut:]]
    content = b"".join(map(schema1.gzipped, parts))
    assert measure(content, piece=piece) == LayerFacts(
        digest=DIGEST,
        size=len(content),
        diff_id=Digest.of(ARCHIVE),
        unpacked=len(ARCHIVE),
        is_gzip=True,
    )


@given(piece=st.integers(min_value=1, max_value=len(ARCHIVE)))
def test_plain_tar(piece: int) -> None:
    expected = LayerFacts(DIGEST, len(ARCHIVE), Digest.of(ARCHIVE), len(ARCHIVE), is_gzip=False)
    assert measure(ARCHIVE, piece=piece) == expected


@pytest.mark.parametrize("archive", [b"", bytes(512), bytes(1024), bytes(10240)])
def test_an_archive_may_be_empty(archive: bytes) -> None:
    assert measure(archive).diff_id == Digest.of(archive)
    assert measure(schema1.gzipped(archive)).diff_id == Digest.of(archive)


def test_old_tar_programs_added_signed_bytes() -> None:
    header = bytearray(ARCHIVE[:512])
    header[0:2] = "é".encode()
    header[148:156] = b" " * 8
    total = sum(byte - 256 if byte > 127 else byte for byte in header)
    header[148:156] = b"%06o\0 " % total
    assert measure(bytes(header) + bytes(1024)).unpacked == 1536


def test_the_empty_layer_is_what_its_bytes_say() -> None:
    content = EMPTY_LAYER_BYTES
    meter = LayerMeter(Digest.of(content), max_unpacked=1024)
    meter.feed(content)
    assert meter.finish() == EMPTY_LAYER_FACTS


_TEXT: Final = b"this is no archive, but a text of some length. " * 30
NOTHING: Final = "is neither gzip nor a tar archive"
REFUSED: Final = {
    "text": (_TEXT, NOTHING),
    "short text": (b"x", NOTHING),
    "gzip of text": (schema1.gzipped(_TEXT), NOTHING),
    "gzip of a short text": (schema1.gzipped(b"x"), NOTHING),
    "a cut header": (ARCHIVE[:511], NOTHING),
    "zeros of no block": (bytes(100), NOTHING),
    "a block of zeros and a text": (bytes(512) + _TEXT, NOTHING),
    "another checksum": (ARCHIVE[:148] + b"0000000\0" + ARCHIVE[156:], NOTHING),
    "a checksum that is no number": (ARCHIVE[:148] + b"9999999\0" + ARCHIVE[156:], NOTHING),
    "bzip2": (b"BZh9" + bytes(600), NOTHING),
    "xz": (b"\xfd7zXZ\0" + bytes(600), NOTHING),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(600), NOTHING),
    "zeros after gzip": (GZIP + bytes(16), "has other bytes after its gzip data"),
    "a byte after gzip": (GZIP + b"\x1f", "has other bytes after its gzip data"),
    "text after gzip": (GZIP + _TEXT, "has other bytes after its gzip data"),
    "cut gzip": (GZIP[:-1], "ends in the middle of its gzip data"),
    "only a magic number": (b"\x1f\x8b", "ends in the middle of its gzip data"),
    "no deflate": (b"\x1f\x8b\x07" + bytes(64), "is damaged gzip data"),
    "another trailer": (GZIP[:-8] + bytes(8), "is damaged gzip data"),
    "a second member that is damaged": (
        schema1.gzipped(ARCHIVE[:700]) + schema1.gzipped(ARCHIVE[700:])[:-8] + bytes(8),
        "is damaged gzip data",
    ),
    "text after the archive": (
        schema1.gzipped(ARCHIVE + _TEXT),
        "has other bytes after the end of its tar archive",
    ),
    "text within the archive": (
        schema1.gzipped(ARCHIVE.rstrip(b"\0") + bytes(-len(ARCHIVE.rstrip(b"\0")) % 512) + _TEXT),
        "has no tar header at byte",
    ),
}


@pytest.mark.parametrize("piece", [1, 7, 4096, 2**20])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_layer_is_refused(kind: str, piece: int) -> None:
    content, sentence = REFUSED[kind]
    with pytest.raises(ConversionRefused, match=sentence) as caught:
        measure(content, piece=piece)
    assert caught.value.reason is RefusalReason.LAYERS
    assert DIGEST in str(caught.value)


@given(content=st.binary(max_size=2000), piece=st.integers(1, 600))
def test_anything_is_measured_or_refused(content: bytes, piece: int) -> None:
    for given_content in (content, GZIP[:10] + content, schema1.gzipped(content)):
        try:
            facts = measure(given_content, piece=piece)
        except ConversionRefused:
            continue
        assert facts.size == len(given_content)


def test_what_it_unpacks_to_is_bounded_to_the_byte() -> None:
    assert measure(GZIP, max_unpacked=len(ARCHIVE)).unpacked == len(ARCHIVE)
    with pytest.raises(ConversionRefused, match="unpacks to more than") as caught:
        measure(GZIP, max_unpacked=len(ARCHIVE) - 1)
    assert caught.value.reason is RefusalReason.SIZE


def test_the_number_of_members_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes time, and need not unpack to anything."""
    monkeypatch.setattr(layer_module, "_MAX_MEMBERS", 10)
    empty = schema1.gzipped(b"")
    assert measure(GZIP + empty * 9).unpacked == len(ARCHIVE)
    with pytest.raises(ConversionRefused, match="gzip members") as caught:
        measure(GZIP + empty * 10)
    assert caught.value.reason is RefusalReason.SIZE


def test_a_sparse_file_of_a_thousand_to_one_is_measured_in_little_memory() -> None:
    """A bound by ratio would refuse real images: a sparse lastlog is about that."""
    size = 64 * 2**20
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    header = images.sparse_header("var/log/lastlog", size)
    content = deflate.compress(header)
    hasher = hashlib.sha256(header)
    for _ in range(size // 2**20):
        content += deflate.compress(bytes(2**20))
        hasher.update(bytes(2**20))
    content += deflate.compress(bytes(1024)) + deflate.flush()
    hasher.update(bytes(1024))
    assert size > 900 * len(content)
    tracemalloc.start()
    try:
        facts = measure(content, piece=256 * 1024)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert facts.diff_id == f"sha256:{hasher.hexdigest()}"
    assert peak < 2 * 2**20


def test_facts_survive_being_written() -> None:
    facts = measure(GZIP)
    assert LayerFacts.decode(facts.encode()) == facts
    wrongs = (("size", None), ("size", "1"), ("size", -1), ("size", True), ("gzip", 1))
    for name, wrong in (*wrongs, ("unpacked", -1), ("diff_id", "x")):
        with pytest.raises((ValueError, DigestInvalid)):
            LayerFacts.decode(facts.encode() | {name: wrong})
