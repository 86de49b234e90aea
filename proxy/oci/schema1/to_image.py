"""An image from schema 1: a config of our own, and a v2s2 manifest of the same layers.

The structure is that of `skopeo copy --format v2s2` (containers/image manifest/docker_schema1.go,
`ToSchema2Config`). Equal inputs give equal bytes: members are copied as text, and keys are sorted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci.derivation import Derived, DerivedBlob, serialize
from proxy.oci.layer import LayerFacts
from proxy.oci.manifest import MANIFEST_LIMIT
from proxy.oci.mediatype import DOCKER_CONFIG, GZIP_LAYER, TAR_LAYER, MediaType
from proxy.oci.reference import Digest
from proxy.oci.schema1 import gojson
from proxy.oci.schema1.build import EMPTY_LAYER, EMPTY_LAYER_BYTES
from proxy.oci.schema1.config_types import check_types
from proxy.oci.schema1.steps import read_chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.oci.manifest import Schema1
    from proxy.oci.schema1.steps import Chain, Step

_EMPTY_ARCHIVE: Final = bytes(1024)
# Old images have it as a layer of its own, and many upstreams do not have its bytes.
EMPTY_LAYER_FACTS: Final = LayerFacts(
    digest=EMPTY_LAYER,
    size=len(EMPTY_LAYER_BYTES),
    diff_id=Digest.of(_EMPTY_ARCHIVE),
    unpacked=len(_EMPTY_ARCHIVE),
    is_gzip=True,
)
# What only schema 1 has in the place of a config.
_SCHEMA1_ONLY: Final = ("Size", "id", "layer_id", "parent", "parent_id", "throwaway")


def layers_to_measure(manifest: Schema1, known: Sequence[LayerFacts]) -> tuple[Digest, ...]:
    """The layers whose facts `to_image` needs, base first, apart from those that are `known`.

    ConversionRefused if the manifest cannot be converted whatever its layers are.
    """
    chain = _read(manifest)
    found = {EMPTY_LAYER, *(facts.digest for facts in known)}
    layers = dict.fromkeys(chain.layers)
    return tuple(layer for layer in layers if layer not in found)


def to_image(manifest: Schema1, known: Sequence[LayerFacts]) -> Derived:
    """Convert to v2s2, with a config blob that no registry has; ConversionRefused if that fails.

    `known` has the facts of each layer.
    """
    chain = _read(manifest)
    by_digest = {facts.digest: facts for facts in (*known, EMPTY_LAYER_FACTS)}
    try:
        layers = [by_digest[layer] for layer in chain.layers]
    except KeyError as missing:
        raise ConversionRefused(
            f"the size of its layer {missing.args[0]} is not known", RefusalReason.LAYERS
        ) from None
    config = _config(chain, layers)
    if len(config) > MANIFEST_LIMIT:
        raise ConversionRefused(
            f"its config would be over {MANIFEST_LIMIT} bytes", RefusalReason.SIZE
        )
    blob = DerivedBlob(DOCKER_CONFIG, Digest.of(config), config)
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.V2S2,
        "config": {"mediaType": DOCKER_CONFIG, "size": len(config), "digest": blob.digest},
        "layers": [
            {
                "mediaType": GZIP_LAYER if layer.is_gzip else TAR_LAYER,
                "size": layer.size,
                "digest": layer.digest,
            }
            for layer in layers
        ],
    }
    return Derived(serialize(document, MediaType.V2S2), blobs=(blob,))


def _read(manifest: Schema1) -> Chain:
    """The steps, of which the newest one can be a config."""
    chain = read_chain(manifest)
    check_types(chain.steps[-1].members)
    return chain


def _config(chain: Chain, layers: Sequence[LayerFacts]) -> bytes:
    newest = chain.steps[-1]
    members = dict(newest.members)
    for key in _SCHEMA1_ONLY:
        members.pop(key, None)
    # The OCI's specification requires both.
    for key, value in (("os", "linux"), ("architecture", chain.architecture or "amd64")):
        if not _is_text(members.get(key)):
            members[key] = gojson.quote(value)
    diff_ids = ",".join(gojson.quote(layer.diff_id) for layer in layers)
    members["rootfs"] = f'{{"type":"layers","diff_ids":[{diff_ids}]}}'
    members["history"] = f"[{','.join(map(_history, chain.steps))}]"
    text = gojson.document({key: members[key] for key in sorted(members)})
    try:
        return gojson.compact(text).encode()
    except UnicodeEncodeError:
        raise ConversionRefused("its config is not Unicode", RefusalReason.CONFIG) from None


def _is_text(value: str | None) -> bool:
    """Whether a member's value is a string that says something."""
    return value is not None and value.startswith('"') and value != '""'


def _history(step: Step) -> str:
    members = {"created": gojson.quote(step.created)}
    for key, value in (
        ("author", step.author),
        ("created_by", step.created_by),
        ("comment", step.comment),
    ):
        if value:
            members[key] = gojson.quote(value)
    if step.throwaway:
        members["empty_layer"] = "true"
    return gojson.document(members)
