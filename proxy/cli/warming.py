"""Pulls images through the proxy, as their clients would, so that it has them afterwards.

Nothing is remembered between two runs: what the proxy has stored is the state, and is not fetched
again.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from proxy.cli.listener_client import ListenerClient, PullError
from proxy.errors import ManifestInvalid, RegistryError
from proxy.oci.manifest import Image, Index, Schema1, read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest, parse_image, parse_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.cli.listener_client import ListenerAddress
    from proxy.oci.manifest import Descriptor, Manifest
    from proxy.oci.platform import Platform

# An index of indexes is followed so far.
_MAX_DEPTH: Final = 4
# By digest there is one representation, whatever is accepted.
_BY_DIGEST: Final = (", ".join(MediaType), "*/*")


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image as it is addressed at the listener."""

    text: str
    repository: str
    reference: str

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """The image in `text`; RegistryError if that is no image's name."""
        repository, reference = parse_image(text)
        return cls(text, parse_name(repository), reference or "latest")


@dataclass(slots=True)
class Warmed:
    """What became of one image. Sizes are in bytes; what is `here` was stored before."""

    image: ImageName
    digest: str = ""
    fetched: int = 0
    here: int = 0
    manifests: list[str] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    kept: bool = False
    error: str | None = None
    is_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to pull, as which client: `accept` is its header. No platforms are all platforms."""

    images: Sequence[ImageName]
    accept: Sequence[str]
    platforms: Sequence[Platform]
    keep: Callable[[Warmed], None] | None = None


class Warming:
    """Pulls the images of a plan, several at once."""

    def __init__(self, address: ListenerAddress, plan: Plan, *, at_once: int) -> None:
        self._address = address
        self._plan = plan
        self._at_once = at_once
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        # Bytes: as far as manifests have told, and of these what is there now.
        self.expected = 0
        self.done = 0

    @property
    def images(self) -> Sequence[ImageName]:
        """What is pulled."""
        return self._plan.images

    def run(self) -> Iterator[Warmed]:
        """Pull all of them; each is yielded when it is done."""
        return (warmed for warmed in self.ticks(None) if warmed is not None)

    def ticks(self, every: float | None) -> Iterator[Warmed | None]:
        """The same, and None after so many seconds in which none was done."""
        pool = ThreadPoolExecutor(self._at_once, "warm")
        pending = {pool.submit(self._warm, image) for image in self._plan.images}
        try:
            while pending:
                finished, pending = wait(pending, every, FIRST_COMPLETED)
                yield from (each.result() for each in finished)
                if not finished:
                    yield None
        finally:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _warm(self, image: ImageName) -> Warmed:
        warmed, client = Warmed(image), ListenerClient(self._address)
        try:
            self._pull(client, warmed, image.reference, self._plan.accept, depth=0)
            if self._plan.keep is not None:
                self._plan.keep(warmed)
                warmed.kept = True
        except PullError as error:
            warmed.error, warmed.is_unknown = str(error), error.is_unknown
        except RegistryError as error:
            warmed.error = error.message
        finally:
            client.close()
        return warmed

    def _pull(
        self,
        client: ListenerClient,
        warmed: Warmed,
        reference: str,
        accept: Sequence[str],
        *,
        depth: int,
    ) -> None:
        """One manifest, and everything that it names."""
        repository = warmed.image.repository
        raw, media_type, named = client.manifest(repository, reference, accept)
        expected = Digest(reference) if ":" in reference else None
        manifest = _read(raw, media_type, expected)
        digest = named or manifest.digest
        warmed.digest = warmed.digest or digest
        warmed.manifests.append(digest)
        if isinstance(manifest, Index):
            if depth >= _MAX_DEPTH:
                raise PullError(f"{digest} is an index too deep in others")
            for child in self._chosen(manifest, digest):
                self._pull(client, warmed, child.digest, _BY_DIGEST, depth=depth + 1)
            return
        self._pull_blobs(client, warmed, _blobs_of(manifest))

    def _chosen(self, index: Index, digest: str) -> Sequence[Descriptor]:
        platforms = self._plan.platforms
        if not platforms:
            return index.manifests
        chosen = list(index.nested)
        for wanted in platforms:
            distances = [
                (distance, number)
                for number, entry in enumerate(index.images)
                if entry.platform is not None
                and (distance := entry.platform.distance(wanted)) is not None
            ]
            if distances:
                chosen.append(index.images[min(distances)[1]])
            elif not index.nested:
                there = ", ".join(str(entry.platform) for entry in index.images if entry.platform)
                raise PullError(
                    f"{digest} has no image for {wanted}; it has {there or 'none'}",
                    is_unknown=True,
                )
        return list({entry.digest: entry for entry in chosen}.values())

    def _pull_blobs(
        self, client: ListenerClient, warmed: Warmed, blobs: dict[Digest, int | None]
    ) -> None:
        with self._lock:
            self.expected += sum(size or 0 for size in blobs.values())
        for digest, stated in blobs.items():
            if self._stopped.is_set():
                raise PullError("it was interrupted")
            warmed.blobs.append(digest)
            size, was_here = client.store_blob(warmed.image.repository, digest, self._tell)
            if was_here:
                warmed.here += stated or size
                self._tell(stated or size)
            else:
                warmed.fetched += size

    def _tell(self, size: int) -> None:
        with self._lock:
            self.done += size


def _read(raw: bytes, media_type: str, expected: Digest | None) -> Manifest:
    try:
        return read_manifest(raw, media_type, expected=expected)
    except ManifestInvalid as error:
        raise PullError(error.message) from None


def _blobs_of(manifest: Manifest) -> dict[Digest, int | None]:
    """The blobs that a registry has, and their sizes as far as they are stated."""
    match manifest:
        case Image(config=config, layers=layers):
            parts = (config, *(layer for layer in layers if not layer.urls))
            return {part.digest: part.size for part in parts}
        case Schema1():
            return dict.fromkeys(manifest.references)
        case _:
            return {}
