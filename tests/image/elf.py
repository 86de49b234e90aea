"""What an ELF file says of itself."""

from __future__ import annotations

import struct


def section_names(library: bytes) -> set[str]:
    """The names of an ELF file's sections, as its own table has them."""
    (at,) = struct.unpack_from("<Q", library, 40)
    size, number, strings = struct.unpack_from("<HHH", library, 58)
    (table,) = struct.unpack_from("<Q", library, at + strings * size + 24)
    starts = [struct.unpack_from("<I", library, at + each * size)[0] for each in range(number)]
    return {
        library[table + start : library.index(b"\0", table + start)].decode() for start in starts
    }
