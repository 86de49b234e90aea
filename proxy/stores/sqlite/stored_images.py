"""The images that are stored: what each tag names, in which form, and how large it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from proxy.errors import ManifestInvalid
from proxy.oci.manifest import Image, Index, read_manifest
from proxy.oci.mediatype import form_of
from proxy.stores.sqlite.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Digest
    from proxy.stores.sqlite.inventory import StoredTag


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A tag and what it names. `size` is that of all its blobs, None if it is not known."""

    repository: str
    tag: str
    digest: Digest
    form: str
    size: int | None
    used_at: float

    def document(self) -> dict[str, Any]:
        """The image as JSON has it."""
        return asdict(self)


def stored_images(index: Path, pattern: str | None) -> Iterator[StoredImage]:
    """Every image whose name matches; StoreError if the index cannot be read.

    `pattern` is a part of `REPOSITORY:TAG`, or a shell pattern for all of it.
    """
    with Inventory(index) as inventory:
        for found in inventory.tags():
            if pattern is None or _matches(f"{found.repository}:{found.tag}", pattern):
                yield _image(found, inventory)


def image_sizes(index: Path, names: Iterable[str]) -> dict[str, int | None]:
    """The size of each of these images, `REPOSITORY:TAG`, that is stored.

    StoreError if the index cannot be read.
    """
    sizes: dict[str, int | None] = {}
    with Inventory(index) as inventory:
        for name in names:
            repository, _, tag = name.rpartition(":")
            found = inventory.tag(repository, tag)
            if found is not None:
                sizes[name] = _image(found, inventory).size
    return sizes


def _matches(name: str, pattern: str) -> bool:
    is_shell_pattern = any(mark in pattern for mark in "*?[")
    return fnmatchcase(name, pattern) if is_shell_pattern else pattern in name


def _image(found: StoredTag, inventory: Inventory) -> StoredImage:
    manifest = None if found.raw is None else _read(found.raw, found.media_type or "")
    form = form_of(manifest.media_type if manifest else found.media_type or "") or "unknown"
    size = None if manifest is None else _size(manifest, inventory)
    return StoredImage(found.repository, found.tag, found.digest, form, size, found.used_at)


def _read(raw: bytes, media_type: str) -> Manifest | None:
    try:
        return read_manifest(raw, media_type)
    except ManifestInvalid:
        return None


def _size(manifest: Manifest, inventory: Inventory) -> int | None:
    """The bytes of an image's blobs; for an index, those of its images that were pulled."""
    if isinstance(manifest, Image):
        return sum(part.size or 0 for part in (manifest.config, *manifest.layers))
    if not isinstance(manifest, Index):
        return None
    stored = [inventory.manifest(entry.digest) for entry in manifest.images]
    images = [_read(raw, "") for raw in stored if raw is not None]
    return sum(_size(image, inventory) or 0 for image in images if isinstance(image, Image))
