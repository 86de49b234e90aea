"""One process that serves: its listener, its chores, and its shutdown."""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
import uvloop
from aiohttp import web

from proxy import __version__
from proxy.kit import watched_files
from proxy.runtime import rlimits
from proxy.runtime.certificate import Certificate
from proxy.runtime.chores import Chore, ChoreName, Chores
from proxy.runtime.dependency_watch import DependencyWatch
from proxy.runtime.orphans import reap_orphans
from proxy.runtime.private_files import keep_files_private
from proxy.runtime.reload import SettingsReload
from proxy.runtime.shutdown import Shutdown, ignore_signals
from proxy.runtime.upkeep import Upkeep
from proxy.telemetry import metrics
from proxy.telemetry.log import start_log
from proxy.telemetry.request_metrics import REQUEST_METRICS
from proxy.web.admin.app import admin_app, listening
from proxy.web.admin.guard import AdminAccess
from proxy.web.admin.status import Status
from proxy.web.server import RegistryServer
from proxy.wiring.services import open_services
from proxy.wiring.stored import StoredHere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.config import ServeArguments, Settings
    from proxy.report.process import ProcessReport
    from proxy.web.admin.readiness import Readiness
    from proxy.wiring.services import Services

_log = structlog.get_logger()

_DERIVED_EVERY: Final = 6 * 3600.0
_SWEEP_EVERY: Final = 60.0
# The interval at which figures of the status page are noted, which has them by minute.
_SAMPLE_EVERY: Final = 5.0
# The index evicts what was used less recently than this.
_KEPT_EVERY: Final = 60.0
# The interval at which the generation is read, in seconds.
_GENERATION_EVERY: Final = 1.0
# The interval at which other replicas are looked for, in seconds.
_DISCOVER_EVERY: Final = 5.0
# The interval at which the scrub looks for blobs to verify, in seconds.
_SCRUB_EVERY: Final = 3600.0
# Connections that wait to be accepted: all nodes of a cluster start a DaemonSet at the same moment.
_BACKLOG: Final = 1024
# The interval at which connections are checked while draining, in seconds.
_LOOK_EVERY: Final = 0.05
# How long answers that are cut may take to end, in seconds.
_CUT_WITHIN: Final = 0.2


def run(settings: Settings, *, arguments: ServeArguments, announce: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; OSError or ValueError if it cannot start."""
    keep_files_private(settings)
    log = start_log(as_text=arguments.log_as_text)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve_alone(settings, arguments, announce))
    finally:
        ignore_signals()
        log.close()


async def _serve_alone(
    settings: Settings, arguments: ServeArguments, announce: Callable[[], None]
) -> None:
    shutdown = Shutdown()
    shutdown.listen(signal.SIGTERM, signal.SIGINT)
    reap_orphans()
    async with open_services(settings) as services:
        check_descriptors(settings, services.readiness)
        admin = admin_app(
            status_of(settings, services),
            purge=services.purges.purge,
            questions=services.questions,
            kept=lambda: nullcontext(services.kept),
            access=admin_access(settings),
        )
        async with listening(admin, settings.admin.listen):
            await serve(settings, services, shutdown, arguments=arguments, started=announce)


def status_of(settings: Settings, services: Services) -> Status:
    """What the status page shows, where this process alone serves."""

    async def reports() -> list[ProcessReport]:
        return [services.reporter.report()]

    return Status(
        services.readiness,
        version=__version__,
        workers=1,
        reports=reports,
        stored=StoredHere(settings),
    )


def admin_access(settings: Settings) -> AdminAccess:
    """Who may use the admin listener."""
    hosts = frozenset(host.lower() for host in settings.admin.hosts)
    return AdminAccess(hosts, settings.admin.token_file)


def check_descriptors(settings: Settings, readiness: Readiness) -> None:
    """Raise the limit of file descriptors, and warn if it is too low for the settings."""
    shortage = rlimits.shortage(settings.limits.share(settings.workers), rlimits.raise_limit())
    if shortage is not None:
        readiness.warnings["file_descriptors"] = shortage
        _log.warning("file_descriptors.limited", message=shortage)


async def serve(
    settings: Settings,
    services: Services,
    shutdown: Shutdown,
    *,
    arguments: ServeArguments,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Take connections until `shutdown` begins, and then finish the running requests.

    `started` is called when the listener accepts connections.
    """
    _state_facts(settings)
    server = RegistryServer(services.registry, services.limits)
    runner = web.ServerRunner(server, shutdown_timeout=_CUT_WITHIN)
    await runner.setup()
    async with AsyncExitStack() as stack:
        stack.callback(REQUEST_METRICS.write)
        stack.push_async_callback(runner.cleanup)
        if services.peers is not None:
            # Before clients come: what they ask for may be another replica's.
            await stack.enter_async_context(
                services.peers.listening(reuse_port=settings.workers > 1)
            )
        certificate = Certificate(settings.tls, services.readiness)
        site = web.TCPSite(
            runner,
            *settings.listen,
            backlog=_BACKLOG,
            ssl_context=certificate.context,
            reuse_port=settings.workers > 1,
        )
        await site.start()
        reload = SettingsReload(
            arguments, settings, adopt=services.adopt, readiness=services.readiness
        )
        chores = Chores(services.flights, services.readiness.warnings)
        chores.start(_chores(settings, services, reload, certificate))
        services.readiness.serving = True
        # Objects from the start live as long as the process: exclude them from garbage collection.
        gc.collect()
        gc.freeze()
        started()
        await shutdown.draining.wait()
        # From here on every answer says `Connection: close`.
        services.readiness.draining = server.draining = True
        if services.peers is not None:
            services.peers.drain(services.flights)
        _log.info("proxy.draining", connections=server.open, transfers=len(services.transfers))
        # Without a delay, stop the listener at once: a client that is told to close its connection
        # would open a new one.
        if settings.shutdown.delay:
            await shutdown.wait_stop(settings.shutdown.delay)
        await site.stop()
        await _finish(server, services, shutdown, settings.shutdown.grace)


def _state_facts(settings: Settings) -> None:
    """What metrics say of the settings, for comparison with the amounts."""
    metrics.BUILD_INFO.labels(__version__).set(1)
    if settings.blobs.store == "disk":
        metrics.STORED_LIMIT.set(settings.blobs.max_size)
    metrics.TRANSFERS_LIMIT.set(settings.limits.share(settings.workers).downloads)


async def _finish(
    server: RegistryServer, services: Services, shutdown: Shutdown, grace: float
) -> None:
    """Wait until all answers and transfers are finished, for `grace` seconds, or until stopped."""
    loop = asyncio.get_running_loop()
    end = loop.time() + grace
    server.finish()
    while (
        server.open or len(services.transfers) or (services.peers and services.peers.busy)
    ) and loop.time() < end:
        if await shutdown.wait_stop(_LOOK_EVERY):
            break
        server.finish()
    services.registry.ending = True
    # An unfinished transfer stays in its spool, and the next request for the blob resumes it.
    _log.info("proxy.stopped", cut_off=server.busy, unfinished=len(services.transfers))


def _chores(
    settings: Settings, services: Services, reload: SettingsReload, certificate: Certificate
) -> Iterator[Chore]:
    """The background tasks of one serving process."""
    yield Chore(ChoreName.JANITOR, Upkeep(services.janitor).tidy, every=_SWEEP_EVERY)
    yield Chore(ChoreName.INDEX, services.catalog_upkeep.restore)
    yield Chore(ChoreName.DERIVED, services.catalog_upkeep.delete_unused, every=_DERIVED_EVERY)
    yield Chore(ChoreName.STATUS, services.reporter.sample, every=_SAMPLE_EVERY)
    yield Chore(ChoreName.KEPT, services.kept.refresh, every=_KEPT_EVERY)
    yield Chore(ChoreName.LOOP_LAG, metrics.measure_loop_lag)
    yield Chore(ChoreName.GENERATION, services.generation.look, every=_GENERATION_EVERY)
    yield Chore(ChoreName.SETTINGS, reload.look, every=watched_files.LOOK_EVERY)
    yield Chore(ChoreName.ACCESS, services.access.look, every=watched_files.LOOK_EVERY)
    yield Chore(ChoreName.CERTIFICATE, certificate.look, every=watched_files.LOOK_EVERY)
    for name, dependency in services.dependencies.items():
        watch = DependencyWatch(name, dependency, services.readiness.warnings)
        yield Chore(ChoreName(name), watch.look)
    if services.peers is not None:
        probe = partial(services.peers.probe, services.readiness)
        discover = partial(services.peers.discover, services.readiness.warnings)
        yield Chore(ChoreName.PEER_DISCOVERY, discover, every=_DISCOVER_EVERY)
        yield Chore(ChoreName.PEER_PROBES, probe)
    if every := settings.blobs.scrub_every:
        verify = partial(
            services.scrub.verify_due,
            every=every,
            rate=settings.blobs.scrub_rate,
            lock=settings.data / "scrub.lock",
        )
        yield Chore(ChoreName.SCRUB, verify, every=min(every, _SCRUB_EVERY))
