"""Bytes in memory as the source of an answer."""

from __future__ import annotations


class ConstantSource:
    """Content that no upstream needs to have: the empty layer, and configs made here."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def is_near(self, _offset: int) -> bool:
        """All of it is."""
        return True

    async def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`."""
        return self._content[offset : offset + length]

    def close(self) -> None:
        """Nothing is open."""
