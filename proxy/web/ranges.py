"""The `Range` header with a single byte range, as registries use it (RFC 9110, 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from proxy.errors import RangeInvalid

# A single range is shorter. The pattern's blanks take quadratic time in a long header.
_MAX_LENGTH: Final = 256
# More digits than any offset has; int() refuses thousands of digits.
_ONE_RANGE: Final = re.compile(r"bytes\s*=\s*([0-9]{0,99})\s*-\s*([0-9]{0,99})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`first-last`, `first-` or `-suffix`."""

    first: int | None
    last: int | None

    def within(self, size: int) -> tuple[int, int]:
        """The first and last byte in a blob of `size`; RangeInvalid if the range is outside."""
        if self.first is None:
            first, last = max(0, size - (self.last or 0)), size - 1
        else:
            first, last = self.first, size - 1 if self.last is None else min(self.last, size - 1)
        if first > last:
            raise RangeInvalid(f"the blob has {size} bytes", size=size)
        return first, last


def parse_range(header: str | None) -> ByteRange | None:
    """Parse a range; None for a header to ignore: other units, several ranges, malformed."""
    if header is None or len(header) > _MAX_LENGTH:
        return None
    found = _ONE_RANGE.fullmatch(header)
    if found is None:
        return None
    first, last = (int(text) if text else None for text in found.groups())
    if first is None and last is None:
        return None
    if first is not None and last is not None and last < first:
        return None
    return ByteRange(first, last)
