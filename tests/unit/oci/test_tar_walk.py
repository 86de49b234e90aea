"""What is one whole tar archive, as docker and containerd read it, and what is none."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oci import tar_walk
from proxy.oci.tar_walk import NotAnArchiveError, TarWalk, TooManyEntriesError
from tests.kit import images

END: Final = bytes(1024)
_LONG: Final = "usr/share/" + "long/" * 60 + "name"
_FORMATS: Final = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}


def walk(content: bytes, piece: int = 4096) -> None:
    archive = TarWalk()
    for start in range(0, len(content), piece):
        archive.feed(memoryview(content)[start : start + piece])
    archive.finish()


def archived(form: int, *members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """As Python's tarfile writes it, with padding to ten KiB."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> bytes:
    """One header and what follows it, without an end."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, len(content)
    return entry.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def with_size(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header alone."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT)


def patched(header: bytes, changes: dict[int, bytes]) -> bytes:
    """The header with other bytes in some places, and its checksum."""
    raw = bytearray(header)
    for place, content in changes.items():
        raw[place : place + len(content)] = content
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


@pytest.mark.parametrize("form", _FORMATS)
@given(
    contents=st.lists(st.integers(0, 3000), max_size=5),
    piece=st.integers(1, 5000),
    missing=st.integers(0, 1024),
)
def test_every_archive_is_one_whole_and_cut(
    form: str, contents: list[int], piece: int, missing: int
) -> None:
    members = []
    for number, size in enumerate(contents):
        entry = tarfile.TarInfo(f"{number}")
        if form != "ustar":
            entry.name = f"{_LONG}-ü-{number}"
        members.append((entry, b"\1" * size))
    content = archived(_FORMATS[form], *members)
    walk(content, piece)
    whole = len(content.rstrip(b"\0"))
    if contents and contents[-1] and missing:
        with pytest.raises(NotAnArchiveError, match="ends in the middle of a tar archive"):
            walk(content[: whole - min(missing, contents[-1])], piece)


_FILE: Final = member("etc/passwd", b"root:x:0:0\n")
_SPARSE_HEADER: Final = patched(with_size("lastlog", 512, tarfile.GNUTYPE_SPARSE), {482: b"\1"})
_PAX_OF_1000: Final = b"13 size=1000\n"
WHOLE: Final[dict[str, bytes]] = {
    "no end": _FILE,
    "half an end": _FILE + bytes(512),
    "a tape's padding": _FILE + bytes(10240),
    "zeros of no block after the end": _FILE + END + bytes(100),
    "a last file without its padding": _FILE.rstrip(b"\0"),
    "a link with a size": with_size("bin/sh", 4096, tarfile.LNKTYPE) + _FILE,
    "a directory with a size": with_size("var/", 4096, tarfile.DIRTYPE) + _FILE,
    "V7's directory with a size": with_size("var/", 4096, tarfile.AREGTYPE) + _FILE,
    "a sparse file with more of its map": _SPARSE_HEADER
    + (bytes(504) + b"\1" + bytes(7) + bytes(512) + b"x" * 512)
    + _FILE,
    "a size of PAX records": member("PaxHeaders/0", _PAX_OF_1000, tarfile.XHDTYPE)
    + (with_size("large", 0) + b"x" * 1000 + bytes(24))
    + _FILE,
    "a size in binary": patched(with_size("large", 0), {124: b"\x80" + bytes(9) + b"\2\0"})
    + (b"x" * 512 + _FILE),
    "global records": member("PaxHeaders/g", b"12 size=999\n", tarfile.XGLTYPE) + _FILE,
    "a vendor's type": member("x", b"y" * 600, b"V") + _FILE,
}


@pytest.mark.parametrize("piece", [1, 511, 4096])
@pytest.mark.parametrize("kind", WHOLE)
def test_what_readers_take_is_an_archive(kind: str, piece: int) -> None:
    walk(WHOLE[kind], piece)


_AFTER_END: Final = "has other bytes after the end of its tar archive"
_IN_THE_MIDDLE: Final = "ends in the middle of a tar archive"
NOT_WHOLE: Final = {
    "a text instead of a second header": (_FILE + b"t" * 600, "has no tar header at byte 1024"),
    "a second archive": (_FILE + END + _FILE, _AFTER_END),
    "a byte after the end": (_FILE + END + b"\1", _AFTER_END),
    "a byte after much padding": (_FILE + bytes(20000) + b"\1", _AFTER_END),
    "a header after one block of zeros": (_FILE + bytes(512) + _FILE, _AFTER_END),
    "a byte after one block of zeros": (_FILE + bytes(512) + b"\1", _AFTER_END),
    "a cut file": (with_size("large", 4096) + bytes(4095), _IN_THE_MIDDLE),
    "a cut header": (_FILE + _FILE[:300], _IN_THE_MIDDLE),
    "zeros of no block": (_FILE + bytes(100), _IN_THE_MIDDLE),
    "a cut map": (_SPARSE_HEADER, _IN_THE_MIDDLE),
    "a checksum in the second header": (
        _FILE + _FILE.replace(b"passwd", b"shadow"),
        "has no tar header at byte 1024",
    ),
    "a size that is no number": (
        _FILE + patched(with_size("x", 0), {124: b"9" * 11}),
        "has no tar header at byte 1024",
    ),
    "a negative size": (
        _FILE + patched(with_size("x", 0), {124: b"\xff" * 12}),
        "has no tar header at byte 1024",
    ),
    "long names of 2 MiB": (
        with_size("././@LongLink", 2**21, tarfile.GNUTYPE_LONGNAME),
        "has a tar header of 2097152 bytes",
    ),
}


@pytest.mark.parametrize("piece", [1, 511, 4096, 2**20])
@pytest.mark.parametrize("kind", NOT_WHOLE)
def test_what_is_no_whole_archive_is_refused(kind: str, piece: int) -> None:
    content, sentence = NOT_WHOLE[kind]
    with pytest.raises(NotAnArchiveError, match=f"^{sentence}$"):
        walk(content, piece)


def test_the_number_of_entries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_walk, "_MAX_HEADERS", 10)
    walk(_FILE * 10 + END)
    with pytest.raises(TooManyEntriesError, match="has over 10 entries"):
        walk(_FILE * 11 + END)


def test_a_large_file_and_much_padding_take_no_memory() -> None:
    size = 64 * 2**20
    zeros = bytes(2**20)
    archive = TarWalk()
    tracemalloc.start()
    try:
        archive.feed(images.sparse_header("var/log/lastlog", size))
        for _ in range(2 * size // 2**20):
            archive.feed(zeros)
        archive.finish()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * 2**20


@given(content=st.binary(max_size=3000), piece=st.integers(1, 600))
def test_anything_is_an_archive_or_refused_whatever_its_pieces(content: bytes, piece: int) -> None:
    outcomes = set()
    for size in (piece, 2**20):
        try:
            walk(_FILE + content, size)
        except NotAnArchiveError as error:
            outcomes.add(str(error))
        else:
            outcomes.add("")
    assert len(outcomes) == 1
