"""Frames arrive as they were sent, however the network cuts them; anything else is no frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.peers.frames import Frame, FrameInvalid, FrameReader, Kind
from proxy.peers.signing import SEAL_LENGTH, Signer

SIGNER = Signer(b"a secret of the fleet")
SHORT = st.binary(max_size=60)
SEALED = st.builds(Frame, st.sampled_from([kind for kind in Kind if kind is not Kind.DATA]), SHORT)
DATA = st.builds(Frame, st.just(Kind.DATA), st.binary(min_size=1, max_size=60))


def sent(frames: list[Frame]) -> bytes:
    seal = SIGNER.seal("nonce")
    return b"".join(frame.encode(seal) for frame in frames)


def read(data: bytes, *, piece: int = 1, nonce: str = "nonce") -> list[Frame]:
    reader = FrameReader(SIGNER.seal(nonce))
    found: list[Frame] = []
    for start in range(0, len(data), piece):
        for frame in reader.feed(data[start : start + piece]):
            if found and frame.kind is Kind.DATA and found[-1].kind is Kind.DATA:
                found[-1] = Frame(Kind.DATA, found[-1].payload + frame.payload)
            else:
                found.append(frame)
    return found


def joined(frames: list[Frame]) -> list[Frame]:
    """Neighbours with bytes of a blob are one."""
    found: list[Frame] = []
    for frame in frames:
        if found and frame.kind is Kind.DATA and found[-1].kind is Kind.DATA:
            found[-1] = Frame(Kind.DATA, found[-1].payload + frame.payload)
        else:
            found.append(frame)
    return found


@given(st.lists(SEALED | DATA, max_size=8), st.integers(1, 200))
def test_frames_arrive_as_they_were_sent(frames: list[Frame], piece: int) -> None:
    assert read(sent(frames), piece=piece) == joined(frames)


def test_bytes_of_a_blob_do_not_wait_for_the_end_of_their_frame() -> None:
    whole = sent([Frame(Kind.DATA, b"x" * 1000)])
    assert read(whole[:505], piece=505) == [Frame(Kind.DATA, b"x" * 500)]


@given(SEALED, st.data())
def test_a_changed_byte_is_seen(frame: Frame, data: st.DataObject) -> None:
    whole = bytearray(sent([frame]))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        found = read(bytes(whole))
    except FrameInvalid:
        return
    # It may look like a longer frame, or like bytes of a blob, which their digest will tell.
    assert all(each.kind is Kind.DATA for each in found)


def test_a_frame_of_another_answer_is_refused() -> None:
    with pytest.raises(FrameInvalid):
        read(sent([Frame(Kind.VALUE, b"{}")]), nonce="another")


def test_a_frame_cannot_be_left_out_or_moved() -> None:
    first, second = Frame(Kind.HEARTBEAT), Frame(Kind.VALUE, b"{}")
    whole = sent([first, second])
    length = 5 + SEAL_LENGTH
    with pytest.raises(FrameInvalid):
        read(whole[length:])
    with pytest.raises(FrameInvalid):
        read(whole[length:] + whole[:length])


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.DATA])
def test_a_frame_that_would_fill_memory_is_refused_at_once(kind: Kind) -> None:
    with pytest.raises(FrameInvalid):
        read(bytes([kind]) + (2**31).to_bytes(4, "big"))


@pytest.mark.parametrize(("start", "total"), [(0, 0), (7, 2**40), (1, None)])
def test_an_extent_is_read_as_it_was_written(start: int, total: int | None) -> None:
    (frame,) = read(sent([Frame.of_extent(start, total)]))
    assert frame.extent == (start, total)


def test_no_other_frame_is_an_extent() -> None:
    for frame in (Frame(Kind.EXTENT, b"short"), Frame(Kind.VALUE, bytes(16))):
        with pytest.raises(FrameInvalid):
            _ = frame.extent
