"""Blobs whose first byte is late, or whose storage fails for a moment: one transfer goes on."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.proxy import Answer, Proxy, settings, until
from tests.kit.scripted_upstream import Fault, ScriptedUpstream, redirect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LAYER: Final = images.noise("layer", 300_000)
SMALL: Final = images.noise("small", 3000)
CONTENTS: Final = {"large": LAYER, "small": SMALL}
# The answer timeout, and when the first byte comes: seconds.
ANSWER_TIMEOUT: Final = 0.3
LATE: Final = 1.0


def _path(content: bytes, name: str = "library/cargo") -> str:
    return f"/v2/{name}/blobs/{Digest.of(content)}"


def _settings(upstream: ScriptedUpstream, data: Path, **sections: Any) -> Any:
    chosen = {
        "url": upstream.url,
        "default": True,
        "answer_timeout": ANSWER_TIMEOUT,
        "idle_timeout": 0.4,
    }
    return settings({"docker.io": chosen}, data, **sections)


@pytest.fixture
async def late(upstream: ScriptedUpstream, data_dir: Path) -> AsyncIterator[Proxy]:
    for content in CONTENTS.values():
        upstream.add_blob("library/cargo", content)
    async with Proxy(_settings(upstream, data_dir)) as proxy:
        yield proxy


async def _retry(proxy: Proxy, path: str) -> tuple[list[int], Answer]:
    """Ask as clients do, again and again, until there is an answer; the errors before it."""
    errors: list[int] = []
    async with asyncio.timeout(30):
        while (answer := await proxy.get(path)).status != 200:
            errors.append(answer.status)
    return errors, answer


@pytest.mark.parametrize("size", CONTENTS)
async def test_a_first_byte_after_the_timeout_is_one_transfer_and_a_retry_finds_it(
    late: Proxy, upstream: ScriptedUpstream, size: str
) -> None:
    content = CONTENTS[size]
    upstream.fault("GET", "*/blobs/*", Fault(delay=LATE), times=1)
    errors, answer = await _retry(late, _path(content))
    assert set(errors) == {502}
    assert answer.body == content
    assert upstream.count("GET", "*/blobs/*") == 1
    assert "hit" in (await late.get(_path(content))).cache


async def test_the_error_says_that_the_answer_is_still_awaited(
    late: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*/blobs/*", Fault(delay=LATE), times=1)
    answer = await late.get(_path(LAYER))
    assert answer.status == 502
    assert answer.message == (
        "docker.io did not answer completely within 0.3 s; it is still awaited, so try again"
    )


async def test_it_is_stored_although_every_client_has_gone(
    late: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*/blobs/*", Fault(delay=LATE), times=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(ANSWER_TIMEOUT / 3):
            await late.get(_path(LAYER))
    stored = late.settings.data / "blobs"
    await until(lambda: Digest.of(LAYER).hex in _files(stored))
    assert (await late.get(_path(LAYER))).body == LAYER
    assert upstream.count("GET", "*/blobs/*") == 1


async def test_ten_clients_of_a_late_blob_are_one_transfer(
    late: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*/blobs/*", Fault(delay=LATE), times=1)
    ends = await asyncio.gather(*(_retry(late, _path(LAYER)) for _ in range(10)))
    assert {answer.body for _, answer in ends} == {LAYER}
    assert upstream.count("GET", "*/blobs/*") == 1


async def test_storage_that_is_late_counts_as_the_registry(
    late: Proxy, upstream: ScriptedUpstream
) -> None:
    async with ScriptedUpstream() as storage:
        upstream.fault("GET", "*/blobs/*", redirect(storage.serve("/signed", LAYER)))
        storage.fault("GET", "*", Fault(delay=LATE), times=1)
        _, answer = await _retry(late, _path(LAYER))
        assert answer.body == LAYER
        assert storage.count("GET") == 1


async def test_a_late_blob_stops_no_other_question(late: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.fault("GET", f"*/blobs/{Digest.of(LAYER)}", Fault(delay=5 * LATE))
    waiting = asyncio.create_task(late.get(_path(LAYER)))
    await upstream.asked("GET", "*/blobs/*")
    for number in range(20):
        content = images.noise(str(number), 100)
        upstream.add_blob(f"library/other{number}", content)
        answer = await late.get(_path(content, f"library/other{number}"))
        assert (answer.status, answer.body) == (200, content)
    assert (await late.get(_path(SMALL))).body == SMALL
    assert (await waiting).status == 502


async def test_silence_after_the_first_byte_is_bounded_as_ever(
    late: Proxy, upstream: ScriptedUpstream
) -> None:
    upstream.fault("GET", "*/blobs/*", Fault(cut=1000, stall=True), times=1)
    answer = await late.get(_path(LAYER))
    assert (answer.status, answer.body) == (200, LAYER)
    assert upstream.count("GET", "*/blobs/*") == 2


async def test_an_upstream_that_never_answers_is_given_up(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    upstream.add_blob("library/cargo", LAYER)
    chosen = {"url": upstream.url, "default": True, "answer_timeout": 0.05}
    async with Proxy(settings({"docker.io": chosen}, data_dir)) as proxy:
        upstream.fault("GET", "*/blobs/*", Fault(delay=60), times=1)
        assert (await proxy.get(_path(LAYER))).status == 502
        _, answer = await _retry(proxy, _path(LAYER))
        assert answer.body == LAYER
        assert upstream.count("GET", "*/blobs/*") == 2


async def test_who_gives_up_what_nobody_reads_keeps_the_client_waiting(
    upstream: ScriptedUpstream, data_dir: Path
) -> None:
    """An error would end the transfer: the client would never get the blob."""
    upstream.add_blob("library/cargo", LAYER)
    chosen = _settings(upstream, data_dir, blobs={"finish_abandoned": False})
    async with Proxy(chosen) as proxy:
        upstream.fault("GET", "*/blobs/*", Fault(delay=LATE), times=1)
        answer = await proxy.get(_path(LAYER))
        assert (answer.status, answer.body) == (200, LAYER)
        assert upstream.count("GET", "*/blobs/*") == 1


# Hiccups


HICCUPS: Final[dict[str, Fault]] = {
    **{str(status): Fault(status=status) for status in (500, 502, 503, 504)},
    "a connection that breaks": Fault(raw=b""),
    "a head that ends early": Fault(raw=b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a body that ends early at once": Fault(cut=0),
    "a body that ends early": Fault(cut=1000),
    "a body that ends early in chunks": Fault(cut=1000, chunked=True),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("hiccup", HICCUPS)
@pytest.mark.parametrize("size", CONTENTS)
@pytest.mark.parametrize("redirected", [True, False], ids=["storage", "registry"])
async def test_a_hiccup_is_not_noticed(
    upstream: ScriptedUpstream,
    data_dir: Path,
    *,
    hiccup: str,
    size: str,
    times: int,
    redirected: bool,
) -> None:
    content = CONTENTS[size]
    upstream.add_blob("library/cargo", content)
    async with ScriptedUpstream() as storage, Proxy(settings(upstream, data_dir)) as proxy:
        failing = storage if redirected else upstream
        if redirected:
            upstream.fault("*", "*/blobs/*", redirect(storage.serve("/signed", content)))
        failing.fault("GET", "*", HICCUPS[hiccup], times=times)
        answer = await proxy.get(_path(content))
        assert (answer.status, answer.body, answer.whole) == (200, content, True)
        assert "hit" in (await proxy.get(_path(content))).cache


@pytest.mark.parametrize("status", [401, 403, 408])
async def test_storage_that_denies_a_signature_is_asked_with_another(
    proxy: Proxy, upstream: ScriptedUpstream, status: int
) -> None:
    async with ScriptedUpstream() as storage:
        storage.serve("/new", LAYER)
        upstream.fault("GET", "*/blobs/*", redirect(f"{storage.url}/new"))
        upstream.fault("GET", "*/blobs/*", redirect(f"{storage.url}/old"), times=1)
        storage.fault("GET", "/old", Fault(status=status))
        answer = await proxy.get(_path(LAYER))
        assert (answer.status, answer.body) == (200, LAYER)


@pytest.mark.parametrize("headers", [{"Retry-After": "5"}, {}])
@pytest.mark.parametrize("status", [501, 503])
async def test_what_does_not_pass_at_once_is_the_answer(
    proxy: Proxy, upstream: ScriptedUpstream, status: int, headers: dict[str, str]
) -> None:
    upstream.add_blob("library/cargo", LAYER)
    upstream.fault("GET", "*/blobs/*", Fault(status=status, headers=headers))
    assert (await proxy.get(_path(LAYER))).status == 502
    passes = status == 503 and not headers
    assert (upstream.count("GET", "*/blobs/*") > 1) is passes


def _files(directory: Path) -> str:
    return " ".join(name for _, _, names in os.walk(directory) for name in names)
