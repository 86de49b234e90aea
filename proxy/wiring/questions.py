"""What answers questions of operators about images: a part of the composition root."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from proxy.kit.singleflight import SingleFlight
from proxy.manifests.preview import Preview
from proxy.manifests.question import Sources
from proxy.manifests.questions import Questions
from proxy.upstream.nobody import NobodyUpstream
from proxy.wiring.access_rules import describe_access
from proxy.wiring.catalog import open_stores
from proxy.wiring.policies import head_first_of, lifetimes_of, policy_of, routes_of, signing_key_of
from proxy.wiring.upstreams import open_upstreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from proxy.config import Settings
    from proxy.manifests.lifetimes import Lifetimes
    from proxy.ports import BlobStore, MonitoredUpstream
    from proxy.wiring.catalog import OpenCatalog


def questions_of(
    settings: Settings,
    opened: OpenCatalog,
    store: BlobStore,
    upstreams: Mapping[str, MonitoredUpstream],
    lifetimes: Lifetimes,
) -> Questions:
    """Questions about what is open already."""
    head_first = head_first_of(settings)
    sources = Sources(
        layers=opened.layers,
        derived=opened.derived,
        store=store,
        upstreams={
            name: NobodyUpstream(real, has_others=name in head_first)
            for name, real in upstreams.items()
        },
        head_first=head_first,
        lifetimes=lifetimes,
        policy=policy_of(settings.conversion),
        key=signing_key_of(settings, creates=False),
        platforms=settings.conversion.platforms,
        max_children=settings.conversion.max_children,
        max_depth=settings.conversion.max_depth,
        max_input=settings.conversion.max_input,
        max_unpacked=settings.conversion.max_unpacked,
    )
    access = partial(describe_access, opened.rules)
    return Questions(routes_of(settings), Preview(sources), access)


@asynccontextmanager
async def open_questions(settings: Settings) -> AsyncIterator[Questions]:
    """Open what a process needs that answers questions, but does not serve."""
    async with AsyncExitStack() as stack:
        store, opened = await stack.enter_async_context(open_stores(settings))
        flights = SingleFlight()
        upstreams = open_upstreams(settings, opened.catalog, opened.shared, flights)
        stack.push_async_callback(upstreams.close)
        stack.push_async_callback(flights.close)
        asked = {**upstreams.registries, **upstreams.standing_in}
        yield questions_of(settings, opened, store, asked, lifetimes_of(settings.tags))
