"""One process that serves: its listener, its chores, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import TYPE_CHECKING, Final

import structlog
import uvloop
from aiohttp import web

from proxy.runtime import rlimits
from proxy.runtime.certificate import Certificate
from proxy.runtime.reload import SettingsReload
from proxy.runtime.shutdown import Shutdown, ignore_signals
from proxy.telemetry import metrics
from proxy.telemetry.log import start_log
from proxy.web.admin.app import admin_app, listening
from proxy.web.server import RegistryServer
from proxy.wiring.services import open_services

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import Given, Settings
    from proxy.stores.disk.janitor import Janitor
    from proxy.stores.disk.scrub import Scrub
    from proxy.web.admin.app import Readiness
    from proxy.wiring.services import Services

_log = structlog.get_logger()

_SWEEP_EVERY: Final = 60.0
# What was removed by hand is noticed after so long, in seconds, at the latest.
_COUNT_EVERY: Final = 6 * 3600.0
# Connections that wait to be accepted: a cluster that starts a DaemonSet comes all at once.
_BACKLOG: Final = 1024
# While draining: how often the connections are looked through, in seconds.
_LOOK_EVERY: Final = 0.05
# How long an answer may take to notice that it is cut, in seconds.
_CUT_WITHIN: Final = 0.2


def run(settings: Settings, *, given: Given, announce: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; OSError or ValueError if it cannot start."""
    log = start_log()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_alone(settings, given, announce))
    finally:
        ignore_signals()
        log.close()


async def _alone(settings: Settings, given: Given, announce: Callable[[], None]) -> None:
    shutdown = Shutdown()
    shutdown.listen(signal.SIGTERM, signal.SIGINT)
    async with open_services(settings) as services:
        check_descriptors(settings, services.readiness)
        admin = admin_app(services.readiness, purge=services.purges.purge)
        async with listening(admin, settings.admin.listen):
            await serve(settings, services, shutdown, given=given, started=announce)


def check_descriptors(settings: Settings, readiness: Readiness) -> None:
    """Have as many as the system allows, and warn if they are too few for the limits."""
    shortage = rlimits.shortage(settings.limits.share(settings.workers), rlimits.raise_limit())
    if shortage is not None:
        readiness.warnings["nofile"] = shortage
        _log.warning("nofile.too_low", message=shortage)


async def serve(
    settings: Settings,
    services: Services,
    shutdown: Shutdown,
    *,
    given: Given,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Take connections until `ending` comes, and then finish what has begun."""
    limits = settings.limits.share(settings.workers)
    server = RegistryServer(services.registry, connections=limits.connections)
    runner = web.ServerRunner(server, shutdown_timeout=_CUT_WITHIN)
    await runner.setup()
    try:
        certificate = Certificate(settings.tls, services.readiness)
        site = web.TCPSite(
            runner,
            *settings.listen,
            backlog=_BACKLOG,
            ssl_context=certificate.context,
            reuse_port=settings.workers > 1,
        )
        await site.start()
        live = SettingsReload(given, settings, adopt=services.adopt, readiness=services.readiness)
        chores = (
            _keep_tidy(services.janitor),
            _keep_verifying(services.scrub, settings),
            metrics.watch_loop(),
            services.generation.watch(),
            live.watch(),
            certificate.watch(),
        )
        for chore in chores:
            services.flights.start(chore)
        services.readiness.serving = True
        # What start-up has made lives as long as the process: no collection need look at it.
        gc.collect()
        gc.freeze()
        started()
        await shutdown.draining.wait()
        # From here on every answer says `Connection: close`.
        services.readiness.draining = server.draining = True
        _log.info("proxy.draining", connections=server.open, transfers=len(services.transfers))
        # Without a delay there must be no moment between: whoever is told to close the connection
        # would be let in by the next one.
        if settings.shutdown.delay:
            await shutdown.wait_stop(settings.shutdown.delay)
        await site.stop()
        await _finish(server, services, shutdown, settings.shutdown.grace)
    finally:
        await runner.cleanup()


async def _finish(
    server: RegistryServer, services: Services, shutdown: Shutdown, grace: float
) -> None:
    """Return when every answer has been sent and every blob is here, after `grace`, or at once."""
    loop = asyncio.get_running_loop()
    end = loop.time() + grace
    server.finish()
    while (server.open or len(services.transfers)) and loop.time() < end:
        if await shutdown.wait_stop(_LOOK_EVERY):
            break
        server.finish()
    services.registry.ending = True
    # What was received of a blob stays in its spool: whoever asks for it next goes on from there.
    _log.info("proxy.stopped", cut_off=server.busy, unfinished=len(services.transfers))


async def _keep_tidy(janitor: Janitor) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        try:
            if loop.time() >= due:
                due = loop.time() + _COUNT_EVERY
                await janitor.take_stock()
            await janitor.sweep()
        except OSError as error:
            _log.error("janitor.failed", error=str(error))
        await asyncio.sleep(_SWEEP_EVERY)


async def _keep_verifying(scrub: Scrub, settings: Settings) -> None:
    if settings.blobs.scrub_every:
        await scrub.keep_verifying(
            every=settings.blobs.scrub_every,
            rate=settings.blobs.scrub_rate,
            lock=settings.data / "scrub.lock",
        )
