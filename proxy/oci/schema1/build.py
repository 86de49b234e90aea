"""Schema 1 from an image's config and layers, byte for byte as distribution 2.8 builds it.

The digest covers the name, the tag, the spelling of the config and the order of keys. Configs that
distribution would convert to an image without some of its layers are refused.
(distribution manifest/schema1/config_builder.go, v2.8.3.)
"""

from __future__ import annotations

from hashlib import sha256, sha384
from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci.manifest import MANIFEST_LIMIT, MAX_DESCRIPTORS, Schema1
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.oci.schema1 import gojson
from proxy.oci.schema1.imageconfig import HistoryEntry, read_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.oci.schema1.imageconfig import RootFS

# The gzip of 1024 NUL bytes that stands for a step without a layer. The bytes are fixed, because
# gzip libraries differ. Clients fetch it like any layer, from every repository.
EMPTY_LAYER_BYTES: Final = bytes.fromhex(
    "1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000"
)
EMPTY_LAYER: Final = Digest.of(EMPTY_LAYER_BYTES)
# A Windows base layer's id is its sha384, cut to the length of a sha256.
_ID_LENGTH: Final = 64


def from_image(config: bytes, layers: Sequence[Digest], *, name: str, tag: str) -> Schema1:
    """Build the manifest without signatures, whose bytes are the canonical payload.

    `layers` are the image's, base first; `name` and `tag` are as the client wrote them.
    A config without history, which the image spec allows, is converted with one step a layer, as
    Quay does. ConversionRefused for any other config that distribution refuses, that is not UTF-8,
    whose history does not account for every layer, or whose manifest would exceed 4 MiB.
    """
    try:
        text = config.decode()
        image = read_config(text)
    except ValueError as error:
        raise ConversionRefused(
            f"its config cannot be read as an image's ({error})", RefusalReason.CONFIG
        ) from None
    except RecursionError:
        raise ConversionRefused("its config is nested too deeply", RefusalReason.CONFIG) from None
    if image.rootfs is None:
        raise ConversionRefused("its config has no rootfs", RefusalReason.CONFIG)
    history = image.history or (HistoryEntry(),) * len(layers)
    blobs = _blobs(history, image.rootfs, layers)

    *lower, newest = zip(history, blobs, strict=True)
    parent = ""
    steps = []
    for entry, blob in lower:
        own = _id(blob, parent.encode())
        if not parent and image.rootfs.base_layer:
            parent = sha384(image.rootfs.base_layer.encode()).hexdigest()[:_ID_LENGTH]
        steps.append(_lower_step(entry, own, parent))
        parent = own
    entry, blob = newest
    # The newest id covers the raw bytes of the config, white space included.
    own = _id(blob, parent.encode() + b" " + config)
    steps.append(_newest_step(text, entry, own, parent))

    newest_first = tuple(blobs[::-1])
    raw = _manifest(name, tag, image.architecture, newest_first, steps[::-1])
    return Schema1(MediaType.V2S1, Digest.of(raw), raw, newest_first)


def _blobs(
    history: Sequence[HistoryEntry], rootfs: RootFS, layers: Sequence[Digest]
) -> list[Digest]:
    """The blob of each history entry, oldest first."""
    if len(history) > MAX_DESCRIPTORS:
        raise ConversionRefused(f"its history has over {MAX_DESCRIPTORS} steps", RefusalReason.SIZE)
    if not history:
        raise ConversionRefused("it has neither history nor layers", RefusalReason.CONFIG)
    if rootfs.diff_ids != len(layers):
        raise ConversionRefused(
            f"its config has {rootfs.diff_ids} diff ids, and it has {len(layers)} layers",
            RefusalReason.CONFIG,
        )
    steps = sum(not entry.empty_layer for entry in history)
    # With fewer steps than layers, distribution drops the last layers.
    if steps != len(layers):
        raise ConversionRefused(
            f"its history makes {steps} layers, and it has {len(layers)}", RefusalReason.CONFIG
        )
    remaining = iter(layers)
    return [EMPTY_LAYER if entry.empty_layer else next(remaining) for entry in history]


def _id(blob: Digest, rest: bytes) -> str:
    return sha256(f"{blob.hex} ".encode() + rest).hexdigest()


def _lower_step(entry: HistoryEntry, own: str, parent: str) -> str:
    """The v1Compatibility of a step below the newest, in the order of distribution's struct."""
    # Ids are hexadecimal, and a time has nothing to escape.
    text = f'{{"id":"{own}"'
    if parent:
        text += f',"parent":"{parent}"'
    if entry.comment:
        text += f',"comment":{gojson.quote(entry.comment)}'
    text += f',"created":"{entry.created}"'
    text += f',"container_config":{{"Cmd":[{gojson.quote(entry.created_by)}]}}'
    if entry.author:
        text += f',"author":{gojson.quote(entry.author)}'
    return text + (',"throwaway":true}' if entry.empty_layer else "}")


def _newest_step(config: str, entry: HistoryEntry, own: str, parent: str) -> str:
    """The newest v1Compatibility: the config with its values verbatim and its keys sorted."""
    members = dict(gojson.members(config))
    for key in ("rootfs", "history"):
        members.pop(key, None)
    members["id"] = gojson.quote(own)
    if parent:
        members["parent"] = gojson.quote(parent)
    if entry.empty_layer:
        members["throwaway"] = "true"
    return gojson.compact(gojson.document({key: members[key] for key in sorted(members)}))


def _manifest(
    name: str, tag: str, architecture: str, blobs: Sequence[Digest], steps: Sequence[str]
) -> bytes:
    """Format the manifest of `steps` and `blobs`, newest first, indented as Go and libtrust do."""
    # Quoting only lengthens them, so this check needs no quoting.
    if sum(map(len, steps)) > MANIFEST_LIMIT:
        raise ConversionRefused(_TOO_LONG, RefusalReason.SIZE)
    layers = [f'"blobSum": "{blob}"' for blob in blobs]
    history = [f'"v1Compatibility": {gojson.quote(step)}' for step in steps]
    manifest = (
        "{\n"
        '   "schemaVersion": 1,\n'
        f'   "name": {gojson.quote(name)},\n'
        f'   "tag": {gojson.quote(tag)},\n'
        f'   "architecture": {gojson.quote(architecture)},\n'
        f'   "fsLayers": {_array_of_objects(layers)},\n'
        f'   "history": {_array_of_objects(history)}\n'
        "}"
    ).encode()
    if len(manifest) > MANIFEST_LIMIT:
        raise ConversionRefused(_TOO_LONG, RefusalReason.SIZE)
    return manifest


_TOO_LONG: Final = f"its schema 1 manifest would be over {MANIFEST_LIMIT} bytes"


def _array_of_objects(members: Sequence[str]) -> str:
    """Format an array of objects with one member each."""
    objects = ",\n".join(f"      {{\n         {member}\n      }}" for member in members)
    return f"[\n{objects}\n   ]"
