"""Small durable records, which must outlive every cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class RecordStore(Protocol):
    """Values under text keys. What cannot be stored is an OSError."""

    async def record(self, key: str) -> bytes | None:
        """Return the durable record under `key`, or None."""
        ...

    async def put_records(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Store every record, in their order; all are durable when this returns.

        Only links may overtake each other. A record that exists with the same value costs no write.
        """
        ...

    async def put_new_record(self, key: str, value: bytes) -> bytes:
        """Store the record durably unless there is one; return the value that is stored now."""
        ...

    async def delete_record(self, key: str) -> None:
        """Delete the record; nothing happens if it is unknown."""
        ...
