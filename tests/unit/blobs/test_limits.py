"""How much goes on at once: what is taken is given back, however it ends."""

from __future__ import annotations

from contextlib import suppress

import pytest

from proxy.blobs.limits import RETRY_AFTER, NotStored, Reason, TransferLimits
from proxy.errors import Overloaded
from tests.kit.manual_clock import ManualClock


def limits(
    *,
    downloads: int = 2,
    spool: int = 100,
    passed_through: int = 1,
    clock: ManualClock | None = None,
) -> TransferLimits:
    return TransferLimits(
        downloads=downloads,
        spool=spool,
        passed_through=passed_through,
        clock=clock or ManualClock(),
    )


def refusal(transfer_limits: TransferLimits, *, size: int = 0) -> Reason | None:
    """Why a download of `size` bytes would not be kept."""
    try:
        with transfer_limits.download() as room:
            room.grow(size)
    except NotStored as error:
        return error.reason
    return None


def test_one_download_too_many_is_not_kept() -> None:
    transfer_limits = limits(downloads=2)
    with transfer_limits.download(), transfer_limits.download():
        assert refusal(transfer_limits) is Reason.DOWNLOADS
    assert refusal(transfer_limits) is None


def test_a_failed_download_makes_room_again() -> None:
    transfer_limits = limits(downloads=1, spool=100)
    with suppress(ZeroDivisionError), transfer_limits.download() as room:
        room.grow(100)
        raise ZeroDivisionError
    assert refusal(transfer_limits, size=100) is None


def test_downloads_share_the_spool() -> None:
    transfer_limits = limits(downloads=3, spool=100)
    with transfer_limits.download() as room:
        room.grow(60)
        assert refusal(transfer_limits, size=40) is None
        assert refusal(transfer_limits, size=41) is Reason.SPOOL
        room.grow(60)  # said again by the upstream's next answer: it is taken once
        room.grow(30)
        assert refusal(transfer_limits, size=40) is None
        room.grow(90)
        assert refusal(transfer_limits, size=11) is Reason.SPOOL
        with pytest.raises(NotStored):
            room.grow(101)
        assert refusal(transfer_limits, size=10) is None
    assert refusal(transfer_limits, size=100) is None


def test_a_blob_larger_than_the_spool_is_never_kept() -> None:
    assert refusal(limits(spool=100), size=101) is Reason.SPOOL


def test_a_full_disk_is_left_alone_for_a_while() -> None:
    clock = ManualClock()
    transfer_limits = limits(clock=clock)
    assert transfer_limits.report_disk_failure().reason is Reason.DISK
    assert refusal(transfer_limits) is Reason.DISK
    clock.advance(4.9)
    assert refusal(transfer_limits) is Reason.DISK
    clock.advance(0.2)
    assert refusal(transfer_limits) is None
    transfer_limits.report_disk_failure()
    assert refusal(transfer_limits) is Reason.DISK


def test_what_is_passed_through_is_bounded_too() -> None:
    transfer_limits = limits(passed_through=1)
    with transfer_limits.pass_through(Reason.SPOOL):
        with pytest.raises(Overloaded) as refused, transfer_limits.pass_through(Reason.DISK):
            pytest.fail("there was room for one only")
        assert refused.value.retry_after == RETRY_AFTER
    with transfer_limits.pass_through(Reason.DOWNLOADS):
        pass
