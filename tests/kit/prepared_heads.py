"""Which heads were answered without parsing, noted as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.web.prepared_heads import PreparedHeads

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from proxy.web.connection import Connection
    from proxy.web.prepared_heads import HeadKey, PreparedHead


def watch(patch: pytest.MonkeyPatch, note: Callable[[bytes, bool], None]) -> None:
    """Tell `note` each head for which a response was prepared, and whether it could be sent."""
    answer = PreparedHeads.answer

    def watched(
        self: PreparedHeads, key: HeadKey, head: PreparedHead, connection: Connection
    ) -> bytes | None:
        response = answer(self, key, head, connection)
        note(key[1], response is not None)
        return response

    patch.setattr(PreparedHeads, "answer", watched)
