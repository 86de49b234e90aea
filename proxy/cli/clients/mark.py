"""The first line of a client's file that somebody owns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_MARK: Final = re.compile(r"# Written by Lighterage for (\S+) \(([0-9a-f]{8})\)\. [^\n]*\n")


@dataclass(frozen=True, slots=True)
class Mark:
    """The first line of a file that somebody owns, and which process has written it."""

    owner: str
    writer: str

    @classmethod
    def of(cls, text: str) -> Mark | None:
        """The mark that `text` begins with."""
        found = _MARK.match(text)
        return cls(found[1], found[2]) if found else None

    def on(self, text: str) -> str:
        """`text` with this mark instead of any other."""
        line = f"# Written by Lighterage for {self.owner} ({self.writer}). Changes are lost.\n"
        return line + _MARK.sub("", text, count=1)


def without_mark(text: str) -> str:
    """`text` without its mark."""
    return _MARK.sub("", text, count=1)
