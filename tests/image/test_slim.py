"""What the image's build takes from wheels, and that what is loaded stays as it was."""

from __future__ import annotations

import struct
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest

from release.slim import slim, stripped
from tests.image.elf import section_names

INSTALLED: Final = Path(sysconfig.get_path("platlib"))
# Of what is in the image; the checkers of types are of many more.
LIBRARIES: Final = sorted(path for path in INSTALLED.rglob("*.so") if "mypy" not in str(path))
LOADED: Final = 1


def segments(library: bytes) -> list[tuple[tuple[int, ...], bytes]]:
    """Every program header, with the bytes that it has in the file."""
    (at,) = struct.unpack_from("<Q", library, 32)
    size, number = struct.unpack_from("<HH", library, 54)
    found = []
    for place in range(at, at + size * number, size):
        header = struct.unpack_from("<IIQQQQQQ", library, place)
        found.append((header, bytearray(library[header[2] : header[2] + header[5]])))
        if header[0] == LOADED and header[2] == 0:
            # The file's own header, where the section table's place is; nothing loads by it.
            found[-1][1][40:48], found[-1][1][58:64] = bytes(8), bytes(6)
    return [(header, bytes(content)) for header, content in found]


@pytest.mark.parametrize("path", LIBRARIES, ids=lambda path: path.name)
def test_every_loaded_byte_stays_where_it_was(path: Path) -> None:
    before = path.read_bytes()
    after = stripped(before)
    assert segments(after) == segments(before)
    assert section_names(after) <= section_names(before)
    assert not section_names(after) & {".symtab", ".strtab", ".debug_info"}
    assert stripped(after) == after


def test_the_largest_one_is_smaller_and_works(tmp_path: Path) -> None:
    (path,) = INSTALLED.glob("uvloop/loop.*.so")
    content = stripped(path.read_bytes())
    assert len(content) < path.stat().st_size / 2
    (tmp_path / path.name).write_bytes(content)
    run = (
        "import sys, importlib.util as u;"
        "s = u.spec_from_file_location('uvloop.loop', sys.argv[1]);"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.Loop().time() > 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", run, tmp_path / path.name],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "True\n"


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(60)])
def test_what_is_no_library_of_64_bits_is_left_alone(content: bytes) -> None:
    assert stripped(content) == content


def test_what_no_interpreter_reads_goes(tmp_path: Path) -> None:
    kept = {"a.py", "b/py.typed", "cffi.py", "pydantic/main.py", "other/v1/models.py"}
    gone = {"a.pyi", "a.pyx", "b/c.c", "cffi/api.py", "multidict/_testcapi.x.so"}
    gone |= {"pydantic/mypy.py", "pydantic/v1/main.py"}
    for name in kept | gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    slim(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == kept
