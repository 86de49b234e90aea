"""Manifests with something put in the place of something, as hypothesis thinks of it."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from proxy.oci.mediatype import DOCKER_TO_OCI, OCI_TO_DOCKER, MediaType
from tests.kit.manifest_kinds import KINDS, document

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]

_NAMES: Final = (
    *("schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers", "history"),
    *("signatures", "artifactType", "subject", "digest", "size", "urls", "platform"),
    *("annotations", "os", "architecture", "variant", "Layers", "MEDIATYPE", "Digest"),
)
_TEXTS: Final = (
    *MediaType,
    *OCI_TO_DOCKER,
    *DOCKER_TO_OCI,
    *("application/vnd.oci.image.layer.v1.tar+zstd", "sha256:" + "0" * 64, "linux", "amd64", ""),
)

values: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(_TEXTS)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_NAMES) | st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The body of some kind of manifest with up to three places in it changed."""
    changed = deepcopy(document(KINDS[draw(st.sampled_from(sorted(KINDS)))]))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from(list(_paths(changed))))
        parent: Any = changed
        for step in path:
            parent = parent[step]
        if draw(st.booleans()):
            parent[last] = draw(values)
        elif isinstance(parent, dict):
            parent[draw(st.sampled_from(_NAMES))] = parent.pop(last)
        else:
            parent.append(parent[last])
    return json.dumps(changed, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


def _paths(value: object, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _paths(inner, (*path, number))
