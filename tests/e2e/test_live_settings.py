"""The settings file changes under a running proxy, as Kubernetes and as an editor change it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.e2e import inside
from tests.e2e.mount import Mount
from tests.kit import images, load
from tests.kit.access import htpasswd
from tests.kit.processes import Proxy
from tests.kit.proxy import push
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

CARGO: Final = "library/cargo"
PATH: Final = f"/v2/{CARGO}/manifests/1"
CLIENTS: Final = 8
# Seconds: what ends a test that hangs, and how often it looks.
HANGS: Final = 60.0
POLL: Final = 0.05


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        push(upstream, CARGO, "1", images.docker("before"))
        yield upstream


class Running:
    """A proxy whose settings are a mounted file."""

    def __init__(self, directory: Path, upstream: ScriptedUpstream, workers: int) -> None:
        self.processes = workers
        self._fixed = {
            "workers": workers,
            "upstreams": {"docker.io": {"url": upstream.url, "default": True}},
        }
        self.mount = Mount(directory / "etc", self.settings(ttl="1h"))
        self.proxy = Proxy(directory / "proxy")
        self.proxy.command.append(f"--config={self.mount.path}")

    def settings(self, *, ttl: str, **more: object) -> str:
        """A file with this lifetime of tags."""
        return json.dumps({**self._fixed, "tags": {"ttl": ttl}, **more})

    async def pulled(self) -> str:
        """The digest that the tag names, by the proxy's word."""
        answer = await load.get(self.proxy.port, PATH, "*/*")
        assert answer.status == 200, answer.body
        return str(answer.headers["docker-content-digest"])

    async def warning(self) -> str | None:
        """What /readyz says of the settings; it must say that the proxy is ready."""
        answer = await load.get(self.proxy.admin_port, "/readyz")
        assert answer.status == 200
        found: str | None = json.loads(answer.body)["warnings"].get("settings")
        return found

    async def refused(self) -> float:
        """The metric."""
        return inside.total(await inside.metrics(self.proxy), "lighterage_settings_refused")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines so far."""
        return inside.log(self.proxy, f"settings.{event}")

    async def all_log(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """The lines, as soon as every process has written so many of them."""

        async def written() -> bool:
            return len(self.logged(event)) >= times * self.processes

        await until(written)
        return self.logged(event)


@pytest.fixture
def workers() -> int:
    """One process, where a test says nothing else."""
    return 1


@pytest.fixture
def running(tmp_path: Path, upstream: ScriptedUpstream, workers: int) -> Iterator[Running]:
    running = Running(tmp_path, upstream, workers)
    with running.proxy:
        yield running


EITHER: Final = pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])


async def until(condition: Callable[[], Any], within: float = HANGS) -> None:
    """Return when it holds, which it must within so many seconds."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(POLL)


@asynccontextmanager
async def clients(running: Running) -> AsyncIterator[list[int]]:
    """Clients that pull all the time; the list gets the status of each answer."""
    statuses: list[int] = []
    end = asyncio.Event()

    async def pull() -> None:
        async with load.Connection(running.proxy.port) as connection:
            while not end.is_set():
                statuses.append((await connection.get(PATH, "*/*")).status)
                await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(pull())
        yield statuses
        end.set()


@EITHER
async def test_changed_rules_hold_within_seconds_in_every_process(
    running: Running, tmp_path: Path
) -> None:
    users = htpasswd(tmp_path / "htpasswd", {"ann": "anchor"})
    await running.pulled()

    async def statuses() -> set[int]:
        """Over many connections: every process gets some of them."""
        answers = [await load.get(running.proxy.port, PATH, "*/*") for _ in range(16)]
        return {answer.status for answer in answers}

    assert await statuses() == {200}
    access = {"mode": "basic", "htpasswd_file": str(users)}
    running.mount.write(running.settings(ttl="1h", access=access))
    await running.all_log("adopted")
    assert await statuses() == {401}
    assert await running.warning() is None
    running.mount.write(running.settings(ttl="1h"))
    await running.all_log("adopted", times=2)
    assert await statuses() == {200}


@EITHER
async def test_a_changed_lifetime_holds_within_seconds_and_costs_no_request(
    running: Running, upstream: ScriptedUpstream
) -> None:
    before = await running.pulled()
    after = push(upstream, CARGO, "1", images.docker("after"))

    async def moved() -> bool:
        return await running.pulled() == after

    async with clients(running) as statuses:
        # Longer than it takes to look: the tag is believed for an hour.
        await asyncio.sleep(2.5)
        assert await running.pulled() == before
        running.mount.write(running.settings(ttl="0s"))
        await until(moved)
    assert len(statuses) > 100
    assert set(statuses) == {200}
    for line in await running.all_log("adopted"):
        assert line["sections"] == ["tags"]
    assert await running.warning() is None


@EITHER
async def test_a_file_that_is_broken_changes_nothing_and_is_told_of(
    running: Running, upstream: ScriptedUpstream
) -> None:
    before = await running.pulled()
    push(upstream, CARGO, "1", images.docker("after"))
    broken = (
        ("tags: {ttl: 0s", "lighterage.yaml:1:7: a bracket is not closed"),
        ("tags: {ttl: 0000-00-00}", "lighterage.yaml:1:13: this value is not what its form"),
        ("", "is empty"),
        (running.settings(ttl="0s", tgas={}), "tgas: there is no such setting"),
        (running.settings(ttl="soon"), "tags.ttl: a duration is"),
    )
    for times, (text, reason) in enumerate(broken, start=1):
        running.mount.write(text)
        lines = await running.all_log("refused", times)
        assert reason in lines[-1]["reason"]

        async def told(reason: str = reason) -> bool:
            return reason in (await running.warning() or "")

        await until(told)
        assert await running.refused() == 1
        assert await running.pulled() == before
    assert not running.logged("adopted")

    running.mount.write(running.settings(ttl="0s"))

    async def well() -> bool:
        return await running.warning() is None and await running.refused() == 0

    await until(well)
    assert await running.pulled() != before


async def test_what_needs_a_restart_is_said_and_the_rest_is_taken_over(
    running: Running, upstream: ScriptedUpstream
) -> None:
    before = await running.pulled()
    push(upstream, CARGO, "1", images.docker("after"))
    running.mount.write(running.settings(ttl="0s", conversion={"accept_missing": "stored"}))

    for line in await running.all_log("restart_needed"):
        assert line["sections"] == ["conversion"]
    assert "need a restart: conversion" in (await running.warning() or "")
    assert await running.pulled() != before
    assert (await load.get(running.proxy.port, PATH)).headers["content-type"].endswith("prettyjws")
    assert await running.refused() == 0


async def test_an_upstream_is_taken_offline_and_back(
    running: Running, upstream: ScriptedUpstream
) -> None:
    other = {"upstreams": {"docker.io": {"url": upstream.url, "default": True, "offline": True}}}
    running.mount.write(running.settings(ttl="0s", **other))

    async def offline() -> bool:
        return (await load.get(running.proxy.port, PATH, "*/*")).status == 502

    async def online() -> bool:
        return (await load.get(running.proxy.port, PATH, "*/*")).status == 200

    await until(offline)
    asked = upstream.count()
    assert await offline()
    assert upstream.count() == asked
    running.mount.write(running.settings(ttl="0s"))
    await until(online)
    assert not running.logged("restart_needed")


async def test_an_editor_may_write_the_file_in_place(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    running = Running(tmp_path, upstream, 1)
    file = tmp_path / "lighterage.yaml"
    file.write_text(running.settings(ttl="1h"))
    running.proxy.command[-1] = f"--config={file}"
    with running.proxy:
        before = await running.pulled()
        push(upstream, CARGO, "1", images.docker("after"))
        text = running.settings(ttl="0s")
        with file.open("w") as written:
            written.write(text[:20])
            written.flush()
            await asyncio.sleep(2.5)
            written.write(text[20:])

        async def moved() -> bool:
            return await running.pulled() != before

        await until(moved)
        await running.all_log("refused")
        assert await running.warning() is None


@pytest.mark.parametrize("workers", [2])
async def test_a_worker_that_is_started_again_has_the_settings_of_now(
    running: Running, upstream: ScriptedUpstream
) -> None:
    await running.pulled()
    running.mount.write(running.settings(ttl="0s"))

    await running.all_log("adopted")
    for worker in inside.workers(running.proxy):
        os.kill(worker, signal.SIGKILL)

    await running.all_log("adopted", 2)
    after = push(upstream, CARGO, "1", images.docker("after"))
    assert await running.pulled() == after
