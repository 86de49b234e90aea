"""What a client would get, and why: the listener's own code, on a catalog that takes no writes.

Nothing is stored, and no upstream is asked. So what it says is what the listener then does.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, assert_never

from proxy.errors import ConversionRefused, RegistryError, UpstreamFailure, WouldAsk
from proxy.manifests.freshness import (
    Fresh,
    MustFetch,
    Reason,
    RevalidateWithin,
    ServeStale,
    ServeStaleAndRevalidate,
    reason_of,
)
from proxy.manifests.question import Question
from proxy.oci import conversion
from proxy.oci.clients import CLIENTS, accept_of
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.telemetry import trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from proxy.manifests.freshness import Decision
    from proxy.manifests.question import Sources
    from proxy.manifests.serve import Representation
    from proxy.oci.headers.accept import Accept
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Repository, Tag


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client would get."""

    media_type: str
    digest: Digest
    rule: str
    converted_from: Digest | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An error, with its code in the spec and its sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """What it is depends on what the upstream answers."""


Result: TypeAlias = Answered | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a request would be answered now.

    `state` is that of the cached copy, in words. `calls` are the upstream requests that the answer
    would cost, in order; where the first ones decide what comes next, only those are known.
    """

    repository: Repository
    reference: Digest | Tag
    state: str
    calls: tuple[str, ...]
    result: Result


@dataclass(frozen=True, slots=True)
class Made:
    """One representation of an image: as it is stored, or as it can be made of that.

    `digest` is None if it cannot be made, and `reason` says why. `exists`: it was made before.
    `serves` are the clients that get it by tag.
    """

    media_type: str
    digest: Digest | None = None
    exists: bool = False
    serves: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is stored of an image, and every representation of it.

    `repository` is the one at the mirrors, if only they have named it while the registry was down.
    """

    repository: Repository
    reference: Digest | Tag
    manifest: Manifest
    representations: tuple[Made, ...]


class Preview:
    """Answers questions about requests that nobody has sent."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def explain(
        self, repository: Repository, reference: Digest | Tag, accept: Accept
    ) -> Explanation:
        """How a request with this `accept` would be answered now."""
        async with self._question() as question:
            if isinstance(reference, Digest):
                asked = question.manifests.by_digest(repository, reference, accept)
                result, calls = await _try(asked)
                is_cached = isinstance(result, Answered)
                state = "cached; a digest never changes" if is_cached else "not cached"
                return Explanation(repository, reference, state, calls, result)
            lookup, decision = await question.tags.consider(repository, reference)
            if lookup.manifest is None:
                return await self._explain_uncached(question, repository, reference, accept)
            state, is_asked = _describe(decision)
            calls = ()
            if is_asked:
                head = question.upstream_manifests.head(repository, reference)
                failure, calls = await _try_to_ask(head)
                if failure is not None and decision == MustFetch():
                    asked = question.manifests.by_tag(repository, reference, accept)
                    result, calls = await _try(asked)
                    return Explanation(repository, reference, state, calls, result)
                if failure is not None:
                    state = f"stale, and served so: {reason_of(failure)}"
            result, more = await _try(
                question.manifests.represent(repository, reference, lookup.manifest, accept)
            )
            return Explanation(repository, reference, state, (*calls, *more), result)

    async def _explain_uncached(
        self, question: Question, repository: Repository, tag: Tag, accept: Accept
    ) -> Explanation:
        """What a request for a tag would do of which the registry's manifest is not stored."""
        result, calls = await _try(question.manifests.by_tag(repository, tag, accept))
        state = "not cached"
        if isinstance(result, Answered):
            state = f"not cached, but what a mirror of {repository.registry} had while that is down"
        elif calls and calls[0].startswith("HEAD"):
            name = repository.name
            then = f"GET of manifest {name}, by the digest that HEAD names, unless that is stored"
            calls = (*calls, f"{then}{question.following(repository.registry)}")
        return Explanation(repository, tag, state, calls, result)

    async def inspect(self, repository: Repository, reference: Digest | Tag) -> Inspection | None:
        """What is stored under `reference`, and every representation; None if nothing is."""
        async with self._question() as question:
            manifest = await question.find_stored(repository, reference)
            if manifest is None and question.standby.has(repository):
                repository = repository.at_mirrors
                manifest = await question.find_stored(repository, reference)
            if manifest is None:
                return None
            made = [Made(manifest.media_type, manifest.digest, exists=True)]
            if not isinstance(reference, Digest):
                made = await self._representations(question, repository, reference, manifest)
            return Inspection(repository, reference, manifest, tuple(made))

    @asynccontextmanager
    async def _question(self) -> AsyncIterator[Question]:
        trace.begin()
        question = Question(self._sources)
        try:
            yield question
        finally:
            await question.close()

    async def _representations(
        self, question: Question, repository: Repository, tag: Tag, manifest: Manifest
    ) -> list[Made]:
        """The stored form, every conversion of it, and what else some client gets."""
        found = {manifest.digest: Made(manifest.media_type, manifest.digest, exists=True)}
        refused: list[Made] = []
        for target in MediaType:
            path = conversion.path(manifest.media_type, target)
            if path is None or target in {manifest.media_type, MediaType.V2S1}:
                continue
            try:
                made = await question.conversions.convert(repository, tag, manifest, path)
            except WouldAsk as missing:
                refused.append(Made(target, reason=f"it needs a {missing}"))
            except (ConversionRefused, RegistryError) as refusal:
                refused.append(Made(target, reason=str(refusal)))
            else:
                exists = await self._exists(repository, made.digest)
                found[made.digest] = Made(made.media_type, made.digest, exists=exists)
        for client in CLIENTS:
            result, calls = await _try(
                question.manifests.represent(repository, tag, manifest, accept_of(client))
            )
            match result:
                case Answered(media_type, digest):
                    exists = await self._exists(repository, digest)
                    known = found.get(digest) or Made(media_type, digest, exists=exists)
                    found[digest] = replace(known, serves=(*known.serves, client))
                case Refused(_, message):
                    refused.append(Made("", serves=(client,), reason=message))
                case Unknown():
                    refused.append(Made("", serves=(client,), reason=f"it needs a {calls[0]}"))
        return [*found.values(), *refused]

    async def _exists(self, repository: Repository, digest: Digest) -> bool:
        """Whether the manifest is stored; a new question, as one remembers what it made."""
        async with self._question() as question:
            return await question.find_stored(repository, digest) is not None


def _describe(decision: Decision) -> tuple[str, bool]:
    """The state of a cached copy in words, and whether the upstream would be asked."""
    match decision:
        case Fresh():
            return "fresh", False
        case ServeStale(reason):
            return f"stale, and served so: {reason}", False
        case ServeStaleAndRevalidate(Reason.REVALIDATING | Reason.SLOW as reason):
            return f"stale, and served while the upstream is asked: {reason}", True
        case ServeStaleAndRevalidate(reason):
            # Its circuit is open, or it is offline.
            return f"stale, and served so: {reason}", False
        case RevalidateWithin(seconds):
            return f"stale, and served if the upstream does not answer in {seconds:g} s", True
        case MustFetch():
            return "too old to be served", True
        case _:
            assert_never(decision)


async def _try_to_ask(
    asked: Coroutine[Any, Any, object],
) -> tuple[UpstreamFailure | None, tuple[str, ...]]:
    """Why nothing would be asked now, and else the request."""
    try:
        await asked
    except WouldAsk as missing:
        return None, (str(missing),)
    except UpstreamFailure as failure:
        return failure, ()
    except RegistryError:
        pass
    return None, ()


async def _try(asked: Coroutine[Any, Any, Representation]) -> tuple[Result, tuple[str, ...]]:
    """The result of a request, and the first upstream request that it would cost."""
    try:
        found = await asked
    except WouldAsk as missing:
        return Unknown(), (str(missing),)
    except RegistryError as error:
        return Refused(error.code, error.message), ()
    manifest = found.manifest
    return Answered(manifest.media_type, manifest.digest, found.rule, found.converted_from), ()
