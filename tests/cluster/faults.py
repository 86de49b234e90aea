"""Faults that are known: their tests are expected to fail, and fail the run when they pass."""

from __future__ import annotations

import pytest


def known_fault(number: str, what: str) -> pytest.MarkDecorator:
    """Expect an assertion of the test to fail. `number` is the fault's in the list of the chart's.

    Once the fault is mended the test passes, which fails the run until the mark is removed.
    """
    reason = f"known fault {number}: {what}"
    return pytest.mark.xfail(reason=reason, raises=AssertionError, strict=True)
