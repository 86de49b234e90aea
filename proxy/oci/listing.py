"""Pages of tags and of referrers, in the distribution spec's form; PURE.

A page that is not in that form is a failure and never an empty or shorter list: a proxy's own page
or an error with status 200 must not replace what is cached.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from proxy.errors import UpstreamInvalid
from proxy.oci.mediatype import MediaType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.reference import Digest

EMPTY_INDEX: Final = json.dumps(
    {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": []}, separators=(",", ":")
).encode()

# distribution spec, "Referrers Tag Schema".
_ALGORITHM_LENGTH: Final = 32
_ENCODED_LENGTH: Final = 64


def check_tags(raw: bytes) -> None:
    """Raise UpstreamInvalid unless `raw` is a page of tags."""
    _tags(raw)


def name_tags(raw: bytes, name: str) -> bytes:
    """The page of tags `raw` under the repository's `name`, with all other members as they were."""
    document = dict(_tags(raw))
    # Old registries say null for none.
    document |= {"name": name, "tags": document["tags"] or []}
    return json.dumps(document).encode()


def check_referrers(raw: bytes) -> None:
    """Raise UpstreamInvalid unless `raw` is an index."""
    _referrers(raw)


def filter_referrers(raw: bytes, artifact_type: str) -> bytes:
    """The index `raw` with only the referrers of that type."""
    document = dict(_referrers(raw))
    manifests = document["manifests"]
    document["manifests"] = [
        item
        for item in (manifests if isinstance(manifests, list) else [])
        if isinstance(item, dict) and item.get("artifactType") == artifact_type
    ]
    return json.dumps(document).encode()


def referrers_tag(digest: Digest) -> str:
    """The tag that has the referrers of `digest` at a registry without the API.

    sha512 is cut to 64 digits (distribution spec, "Referrers Tag Schema").
    """
    return f"{digest.algorithm[:_ALGORITHM_LENGTH]}-{digest.hex[:_ENCODED_LENGTH]}"


def _tags(raw: bytes) -> Mapping[str, object]:
    document = _read(raw)
    tags = document.get("tags", False)
    if tags is not None and not (
        isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
    ):
        raise UpstreamInvalid("the upstream's list of tags is not in the registry's form")
    return document


def _referrers(raw: bytes) -> Mapping[str, object]:
    document = _read(raw)
    manifests = document.get("manifests", False)
    if manifests is not None and not isinstance(manifests, list):
        raise UpstreamInvalid("the upstream's list of referrers is not an index")
    return document


def _read(raw: bytes) -> Mapping[str, object]:
    document = read_document(raw)
    if document.get("errors"):
        raise UpstreamInvalid("the upstream sent errors in place of a listing")
    return document


def read_document(raw: bytes) -> Mapping[str, object]:
    """A listing's JSON object; UpstreamInvalid if it is none."""
    try:
        document = json.loads(raw, parse_constant=_not_json)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UpstreamInvalid("the upstream's listing is not JSON")
    return document


def _not_json(literal: str) -> object:
    """Reject NaN and Infinity, which Python's parser accepts as numbers."""
    raise ValueError(literal)
