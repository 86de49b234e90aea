"""What answers questions of operators about images: a part of the composition root."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from proxy.kit.singleflight import SingleFlight
from proxy.manifests.preview import Preview
from proxy.manifests.question import Sources
from proxy.manifests.questions import Questions
from proxy.wiring.access_rules import describe_access
from proxy.wiring.catalog import open_stores
from proxy.wiring.dry_run import reach_in_dry_run
from proxy.wiring.policies import head_first_of, lifetimes_of, policy_of, routes_of, signing_key_of
from proxy.wiring.upstreams import open_upstreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxy.config import Settings
    from proxy.manifests.lifetimes import Lifetimes
    from proxy.oci.reference import Digest, Repository
    from proxy.ports import BlobStore
    from proxy.wiring.catalog import OpenCatalog
    from proxy.wiring.peers import OpenReplicas
    from proxy.wiring.upstreams import Upstreams


def questions_of(
    settings: Settings,
    opened: OpenCatalog,
    store: BlobStore,
    upstreams: Upstreams,
    lifetimes: Lifetimes,
    *,
    others: OpenReplicas | None = None,
    check_layers: Callable[[Repository, Digest], None] = lambda _repository, _image: None,
) -> Questions:
    """Questions about what is open already. `check_layers` is as in `Sources`."""
    sources = Sources(
        layers=opened.layers,
        derived=opened.derived,
        store=store,
        reach=partial(reach_in_dry_run, upstreams, opened.catalog, others),
        head_first=head_first_of(settings),
        check_layers=check_layers,
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
        yield questions_of(settings, opened, store, upstreams, lifetimes_of(settings.tags))
