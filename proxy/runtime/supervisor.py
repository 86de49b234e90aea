"""The supervisor of several processes that serve at one address.

It starts the workers, restarts a worker that ends, makes all of them drain, and has the admin
listener. It takes no traffic. If it is killed, the workers see the end of their channel, and end.
"""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from proxy import __version__
from proxy.config import Address
from proxy.runtime.control_channel import Assignment
from proxy.runtime.orphans import reap_orphans
from proxy.runtime.private_files import keep_files_private
from proxy.runtime.serve import admin_access
from proxy.runtime.shared_memory import private_directory, private_memory
from proxy.runtime.shutdown import Shutdown, ignore_signals
from proxy.runtime.worker_pool import WorkerPool, WorkerProcess
from proxy.runtime.worker_questions import AnsweredByWorkers, ask_about
from proxy.telemetry.log import start_log
from proxy.telemetry.merge import MergedMetrics
from proxy.web.admin.app import admin_app, listening
from proxy.web.admin.status import Status
from proxy.wiring.stored import StoredHere

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from typing import Any

    from proxy.config import ServeArguments, Settings
    from proxy.oci.reference import Digest, Repository, Tag
    from proxy.runtime.control_channel import Message

_log = structlog.get_logger()

# Seconds for which workers are waited for beyond their grace.
_LENIENCE: Final = 2.0
_LOOK_EVERY: Final = 0.05


def run(settings: Settings, *, arguments: ServeArguments, announce: Callable[[], None]) -> None:
    """Run `settings.workers` processes until SIGTERM or SIGINT; OSError if they cannot start."""
    keep_files_private(settings)
    with private_directory(settings.data) as directory:
        log = start_log(lock=directory / "log", as_text=arguments.log_as_text)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_supervise(settings, arguments, directory, announce))
        finally:
            ignore_signals()
            log.close()


async def _supervise(
    settings: Settings, arguments: ServeArguments, directory: Path, announce: Callable[[], None]
) -> None:
    shutdown = Shutdown()
    shutdown.listen(signal.SIGTERM, signal.SIGINT)
    address = await _reserve(settings.listen)
    settings = settings.model_copy(update={"listen": address})
    with private_memory() as tokens:
        workers = [
            WorkerProcess(Assignment(number, settings, directory, tokens, arguments), shutdown)
            for number in range(1, settings.workers + 1)
        ]

        def running() -> list[int]:
            return [worker.pid for worker in workers if worker.pid]

        reap_orphans(running)
        merged = MergedMetrics(directory, workers=running)
        pool = WorkerPool(workers, merged, announce)
        purge = partial(_purge, settings)
        admin = admin_app(
            Status(
                pool.readiness,
                version=__version__,
                workers=settings.workers,
                reports=pool.reports,
                stored=StoredHere(settings),
                metrics=merged.generate,
            ),
            purge=purge,
            questions=AnsweredByWorkers(
                lambda: [worker.ask for worker in pool.answering()],
                partial(_answer_from_stores, settings),
            ),
            kept=partial(_open_kept, settings),
            access=admin_access(settings),
        )
        async with listening(admin, settings.admin.listen):
            try:
                async with asyncio.TaskGroup() as group:
                    kept = [group.create_task(pool.keep(worker)) for worker in workers]
                    group.create_task(pool.note_reports(shutdown))
                    await shutdown.draining.wait()
                    await _drain(pool, kept, shutdown, settings)
            except ExceptionGroup as failures:
                # The first failure has cancelled the other tasks.
                raise failures.exceptions[0] from None


async def _answer_from_stores(settings: Settings, question: Message) -> dict[str, Any]:
    """The answer to a question while no worker serves; a supervisor has nothing open."""
    # A large import, which a supervisor needs for questions only.
    from proxy.wiring.questions import open_questions  # noqa: PLC0415

    async with open_questions(settings) as questions:
        return await ask_about(questions, question)


def _open_kept(settings: Settings) -> AbstractAsyncContextManager[Any]:
    """Keep images for the workers, which find them on disk."""
    # A large import, which a supervisor needs for kept images only.
    from proxy.wiring.kept import open_kept  # noqa: PLC0415

    return open_kept(settings)


async def _purge(
    settings: Settings, addressed: str, reference: Digest | Tag | None, *, content: bool = False
) -> Repository:
    """Purge for the workers, which see the new generation in the cache."""
    # A large import, which a supervisor needs for a purge only.
    from proxy.wiring.purges import open_purges  # noqa: PLC0415

    async with open_purges(settings) as purges:
        return await purges.purge(addressed, reference, content=content)


async def _drain(
    pool: WorkerPool, running: list[asyncio.Task[None]], shutdown: Shutdown, settings: Settings
) -> None:
    """Make every worker drain; end the workers that take too long."""
    pool.readiness.draining = True
    _log.info("supervisor.draining", workers=len(running))
    for worker in pool.workers:
        worker.drain()
    loop = asyncio.get_running_loop()
    end = loop.time() + settings.shutdown.delay + settings.shutdown.grace + _LENIENCE
    while not all(task.done() for task in running):
        if await shutdown.wait_stop(_LOOK_EVERY) or loop.time() > end:
            for worker in pool.workers:
                worker.hang_up()
            return


async def _reserve(address: Address) -> Address:
    """Replace port 0 by a free one; OSError if another process listens at `address` already.

    With SO_REUSEPORT the system would let us share it with another proxy of the same user.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, *address, start_serving=False)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return Address(address.host, port)
