"""A body arrives whole in as many answers as that takes, or fails within its budget."""

from __future__ import annotations

import asyncio
import gzip
import random
from typing import TYPE_CHECKING, Final

import pytest

from proxy.blobs.resumable import ContentChanged, NotEncoded, ResumableBody
from proxy.errors import (
    BlobUnknown,
    FailedAt,
    FailureContext,
    Phase,
    RangeInvalid,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from tests.kit.manual_clock import ManualClock
from tests.kit.memory_upstream import MemoryUpstream, Script

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT: Final = random.Random(1).randbytes(300_000)  # noqa: S311 -- bytes that nothing guesses
DOWN: Final = UpstreamUnavailable("the registry answered 503")
BROKEN: Final = UpstreamUnavailable(
    "the registry broke the connection", context=FailureContext(phase=Phase.WAIT, broke_off=True)
)
# More than a budget can need, in seconds.
LONG: Final = 60.0


class World:
    def __init__(self) -> None:
        self.upstream = MemoryUpstream()
        self.digest = self.upstream.add(CONTENT)
        self.clock = ManualClock()

    def body(self, *, last: int | None = None, total: int | None = None) -> ResumableBody:
        return ResumableBody(
            self.digest, "cargo", self.upstream, last=last, total=total, clock=self.clock
        )

    def script(self, *scripts: Script) -> None:
        self.upstream.scripts.extend(scripts)

    async def receive(
        self, body: ResumableBody, start: int = 0, *, offset: int | None = None
    ) -> bytes:
        """All bytes of the body, while time passes as it has to."""

        async def receive() -> bytes:
            async with body:
                await body.begin(start)
                await body.find_length()
                return b"".join([chunk async for chunk in body.chunks(offset)])

        task = asyncio.create_task(receive())
        await self.clock.run(LONG)
        assert task.done()
        return await task

    @property
    def starts(self) -> list[int]:
        return [asked.start for asked in self.upstream.asked if asked.kind == "blob"]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    assert world.upstream.streaming == 0


@pytest.mark.parametrize(
    ("start", "last", "expected"),
    [
        (0, None, CONTENT),
        (1000, None, CONTENT[1000:]),
        (1000, 1999, CONTENT[1000:2000]),
        (-500, None, CONTENT[-500:]),
        (299_999, None, CONTENT[-1:]),
    ],
)
async def test_any_range_arrives(
    world: World, start: int, last: int | None, expected: bytes
) -> None:
    body = world.body(last=last)
    assert await world.receive(body, start) == expected
    assert body.total == len(CONTENT)
    assert body.start == start % len(CONTENT)


@pytest.mark.parametrize("failure", [None, DOWN])
async def test_an_interrupted_body_is_resumed_at_its_next_byte(
    world: World, failure: UpstreamUnavailable | None
) -> None:
    world.script(Script(cut=100_000, failure=failure), Script(cut=70_000, failure=failure))
    assert await world.receive(world.body(), 10) == CONTENT[10:]
    assert world.starts == [10, 100_010, 170_010]


async def test_a_resumption_that_fails_is_tried_again(world: World) -> None:
    world.script(Script(cut=100_000, failure=DOWN), Script(error=DOWN), Script(error=DOWN))
    assert await world.receive(world.body()) == CONTENT
    assert world.starts == [0, 100_000, 100_000, 100_000]


async def test_the_interruption_of_a_range_asks_for_its_rest(world: World) -> None:
    world.script(Script(cut=300, failure=DOWN))
    assert await world.receive(world.body(last=1999), 1000) == CONTENT[1000:2000]
    assert [(asked.start, asked.end) for asked in world.upstream.asked] == [
        (1000, 1999),
        (1300, 1999),
    ]


async def test_the_same_representation_is_asked_for(world: World) -> None:
    world.script(Script(cut=100_000, failure=DOWN, validator='"v1"'), Script(validator='"v1"'))
    assert await world.receive(world.body()) == CONTENT
    assert [asked.validator for asked in world.upstream.asked] == [None, '"v1"']


async def test_an_upstream_without_ranges_starts_again_and_nothing_comes_twice(
    world: World,
) -> None:
    world.script(Script(cut=123_456, failure=DOWN), Script(knows_ranges=False))
    assert await world.receive(world.body()) == CONTENT


async def test_the_bytes_before_the_offset_are_skipped(world: World) -> None:
    world.script(Script(knows_ranges=False))
    body = world.body()
    assert await world.receive(body, 50_001, offset=50_001) == CONTENT[50_001:]
    assert body.start == 0


async def test_fruitless_attempts_are_limited(world: World) -> None:
    world.script(*[Script(cut=1000, failure=DOWN)] * 20)
    with pytest.raises(UpstreamUnavailable, match="503"):
        await world.receive(world.body())
    assert world.starts == [0, 1000, 2000, 3000]
    assert len(world.clock.slept) == 3
    assert all(0.25 < pause <= 0.5 for pause in world.clock.slept)


async def test_progress_restores_the_budget(world: World) -> None:
    step = [Script(cut=1000, failure=DOWN)] * 3 + [Script(cut=66_000, failure=DOWN)]
    world.script(*step * 3)
    assert await world.receive(world.body()) == CONTENT


async def test_an_invalid_answer_is_not_tried_again(world: World) -> None:
    world.script(Script(cut=1000, failure=UpstreamInvalid("too much was sent")))
    with pytest.raises(UpstreamInvalid, match="too much"):
        await world.receive(world.body())
    assert len(world.starts) == 1


@pytest.mark.parametrize("error", [DOWN, UpstreamDenied("403"), BlobUnknown("no such blob")])
async def test_a_first_answer_that_fails_is_the_answer(
    world: World, error: UpstreamUnavailable | UpstreamDenied | BlobUnknown
) -> None:
    world.script(Script(error=error))
    with pytest.raises(type(error)):
        await world.receive(world.body())
    assert len(world.starts) == 1


async def test_a_first_answer_that_fails_is_tried_again_where_a_client_waits_for_the_rest(
    world: World,
) -> None:
    world.script(Script(error=DOWN))
    body = world.body(total=len(CONTENT))
    assert await world.receive(body, 1000) == CONTENT[1000:]


SIGNATURE: Final = UpstreamUnavailable(
    "the storage answered 403", context=FailureContext(at=FailedAt.REDIRECT, status=403)
)
UNREACHABLE: Final = UpstreamUnavailable(
    "the storage cannot be reached",
    context=FailureContext(at=FailedAt.REDIRECT, phase=Phase.CONNECT),
)
SERVER_ERROR: Final = UpstreamUnavailable("503", context=FailureContext(status=503))


@pytest.mark.parametrize("error", [BROKEN, SIGNATURE, UNREACHABLE, SERVER_ERROR])
async def test_a_hiccup_before_the_first_answer_is_as_one_after_it(
    world: World, error: UpstreamUnavailable
) -> None:
    world.script(*[Script(error=error)] * 3)
    assert await world.receive(world.body()) == CONTENT
    # One question counts once, however many requests it takes.
    assert [asked.is_retry for asked in world.upstream.asked] == [False, True, True, True]
    world.script(*[Script(error=error)] * 4)
    with pytest.raises(UpstreamUnavailable, match=error.message):
        await world.receive(world.body())


@pytest.mark.parametrize(
    "error",
    [
        UpstreamUnavailable("501", context=FailureContext(status=501)),
        UpstreamUnavailable("503", retry_after=5.0, context=FailureContext(status=503)),
        UpstreamUnavailable("500", context=FailureContext(at=FailedAt.TOKEN_SERVER, status=500)),
        UpstreamUnavailable("late", context=FailureContext(phase=Phase.WAIT)),
        UpstreamUnavailable("late", context=FailureContext(at=FailedAt.REDIRECT, phase=Phase.WAIT)),
        UpstreamUnavailable("refused", context=FailureContext(phase=Phase.CONNECT)),
    ],
)
async def test_what_does_not_pass_at_once_is_the_answer(
    world: World, error: UpstreamUnavailable
) -> None:
    world.script(Script(error=error))
    with pytest.raises(UpstreamUnavailable, match=error.message):
        await world.receive(world.body())
    assert len(world.starts) == 1


async def test_a_late_answer_is_reported_and_awaited(world: World) -> None:
    late = UpstreamUnavailable("late")
    told: list[UpstreamFailure] = []
    world.script(Script(late=late))
    body = ResumableBody(world.digest, "cargo", world.upstream, late=told.append, clock=world.clock)
    assert await world.receive(body) == CONTENT
    assert told == [late]


@pytest.mark.parametrize("cut", [None, 100])
async def test_what_is_encoded_is_decoded(world: World, cut: int | None) -> None:
    """Offsets of such a body are not the blob's: it is never asked for by Range."""
    encoded = gzip.compress(CONTENT)
    world.script(
        Script(content=encoded, coding="gzip", cut=cut), Script(content=encoded, coding="gzip")
    )
    body = ResumableBody(world.digest, "cargo", world.upstream, decode=True, clock=world.clock)
    assert await world.receive(body) == CONTENT
    assert (body.total, body.coding) == (None, "gzip")
    assert set(world.starts) == {0}
    assert world.upstream.count("blob_head") == 0
    world.upstream.scripts.clear()


async def test_what_is_not_encoded_is_not_decoded(world: World) -> None:
    world.script(Script(coding="gzip"))
    body = ResumableBody(world.digest, "cargo", world.upstream, decode=True, clock=world.clock)
    with pytest.raises(NotEncoded):
        await world.receive(body)


async def test_a_range_behind_the_end_is_an_error(world: World) -> None:
    with pytest.raises(RangeInvalid) as raised:
        await world.receive(world.body(), len(CONTENT))
    assert raised.value.size == len(CONTENT)


async def test_another_length_than_before_is_an_error(world: World) -> None:
    world.script(Script(cut=1000, failure=DOWN), Script(content=CONTENT + b"x"))
    with pytest.raises(ContentChanged, match="size"):
        await world.receive(world.body())
    with pytest.raises(ContentChanged, match="size"):
        await world.receive(world.body(total=len(CONTENT) + 1))


async def test_content_that_became_shorter_is_an_error(world: World) -> None:
    world.script(Script(cut=100_000, failure=DOWN), Script(content=CONTENT[:50_000]))
    with pytest.raises(ContentChanged):
        await world.receive(world.body())


async def test_a_length_that_only_head_states_is_found(world: World) -> None:
    world.script(Script(states_length=False))
    body = world.body()
    assert await world.receive(body) == CONTENT
    assert body.total == len(CONTENT)
    assert world.upstream.count("blob_head") == 1


@pytest.mark.parametrize("head", [Script(states_length=False), Script(error=DOWN)])
async def test_a_length_that_nobody_states_ends_with_the_body(world: World, head: Script) -> None:
    world.script(Script(states_length=False), head)
    body = world.body()
    assert await world.receive(body) == CONTENT
    assert body.total is None


async def test_a_body_of_unknown_length_may_fail_behind_its_last_byte(world: World) -> None:
    unknown = Script(states_length=False)
    ends = Script(states_length=False, cut=len(CONTENT), failure=DOWN)
    world.script(ends, unknown, unknown)
    assert await world.receive(world.body()) == CONTENT


async def test_a_body_that_was_not_begun_is_empty(world: World) -> None:
    async with world.body(total=5) as body:
        assert [chunk async for chunk in body.chunks()] == []
        assert await body.find_length() == 5
    assert world.upstream.asked == []
