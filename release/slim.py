"""Make installed wheels smaller without a change of what runs.

The Dockerfile runs this, with Python alone: `python3 slim.py DIRECTORY`. Shared libraries lose
what only debuggers and linkers read, for any machine, because no section that is loaded is touched.
Sources and stubs of compiled modules go, too, and modules that nothing of the proxy imports.
"""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path
from typing import Final, NamedTuple

# What compilers, linkers and type checkers read, and no interpreter.
_NOT_RUN: Final = frozenset({".a", ".c", ".h", ".pxd", ".pxi", ".pyi", ".pyx"})
# Modules that are imported by nothing that runs: by tests and checkers of types, when a package
# is built (cffi's compiled half is apart), or for models of pydantic 1.
_NOT_IMPORTED: Final = (
    *("aiohttp/pytest_plugin.py", "aiohttp/test_utils.py", "annotated_types/test_cases.py"),
    *("cffi", "multidict/_testcapi.*", "publicsuffixlist/test.py", "publicsuffixlist/test_psl.txt"),
    *("pycparser", "pydantic/mypy.py", "pydantic/v1", "uvloop/_testbase.py"),
)
# A file header that says: ELF, 64 bits, little-endian.
_MAGIC: Final = b"\x7fELF\x02\x01"
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_PROGRAM: Final = struct.Struct("<IIQQQQQQ")
_ALLOCATED: Final = 0x2
_STRING_TABLE: Final = 3
_WITHOUT_BYTES: Final = 8


class _Section(NamedTuple):
    """An entry of the section header table, as the ELF specification names its fields."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int

    @property
    def end(self) -> int:
        """Where its bytes in the file end."""
        return self.offset + (0 if self.type == _WITHOUT_BYTES else self.size)


def stripped(library: bytes) -> bytes:
    """The shared library without sections that are not loaded; as it was if it is not laid out so.

    Every loaded byte keeps its place, and so does every loaded section in the table. A layout in
    which something that is not loaded comes first is not changed.
    """
    if library[: len(_MAGIC)] != _MAGIC:
        return library
    header = list(_HEADER.unpack_from(library))
    programs_at, sections_at, programs, sections, names = (
        *(header[5], header[6], header[10], header[12]),
        header[13],
    )
    table = [
        _Section._make(_SECTION.unpack_from(library, sections_at + number * _SECTION.size))
        for number in range(sections)
    ]
    segments = [
        _PROGRAM.unpack_from(library, programs_at + number * _PROGRAM.size)
        for number in range(programs)
    ]
    kept = [section for number, section in enumerate(table) if not number or _is_loaded(section)]
    end = max(
        *(offset + size for _, _, offset, _, _, size, _, _ in segments),
        *(section.end for section in kept),
        programs_at + programs * _PROGRAM.size,
    )
    if not kept or kept != table[: len(kept)] or names < len(kept):
        return library
    strings, entries = _names(library, table[names], kept)
    at = -(-(end + len(strings)) // 8) * 8
    entries.append(_Section(1, _STRING_TABLE, 0, 0, end, len(strings), 0, 0, 1, 0))
    header[6], header[12], header[13] = at, len(entries), len(entries) - 1
    content = bytearray(library[:end] + strings)
    content += bytes(at - len(content))
    content += b"".join(_SECTION.pack(*entry) for entry in entries)
    content[: _HEADER.size] = _HEADER.pack(*header)
    return bytes(content) if len(content) < len(library) else library


def _is_loaded(section: _Section) -> bool:
    return bool(section.flags & _ALLOCATED)


def _names(library: bytes, strings: _Section, kept: list[_Section]) -> tuple[bytes, list[_Section]]:
    """A string table for `kept` and itself, and the sections with their places in it."""
    table = bytearray(b"\0.shstrtab\0")
    entries = []
    for section in kept:
        start = strings.offset + section.name
        name = library[start : library.index(b"\0", start)]
        entries.append(section._replace(name=len(table) if name else 0))
        table += name + b"\0" if name else b""
    return bytes(table), entries


def slim(directory: Path) -> None:
    """Make everything below `directory` smaller."""
    for pattern in _NOT_IMPORTED:
        for path in directory.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix in _NOT_RUN:
            path.unlink()
        elif ".so" in path.suffixes:
            path.write_bytes(stripped(path.read_bytes()))


if __name__ == "__main__":
    slim(Path(sys.argv[1]))
