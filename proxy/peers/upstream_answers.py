"""What an upstream would have answered, out of another replica's answer. PURE.

ValueError, KeyError, TypeError or a RegistryError for what cannot be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.oci.headers.link import Page, is_query
from proxy.oci.manifest import read_manifest
from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.ports import Fetched, Head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.oci.reference import Tag
    from proxy.peers.answers import Value


def read_head(value: Value, reference: Digest | Tag) -> Head:
    """What HEAD would say."""
    about = value.about
    digest = Digest(about["digest"])
    if isinstance(reference, Digest) and digest != reference:
        raise ValueError("it names another digest")
    return Head(
        digest, str(about["type"]), int(about["size"]), age=_age(about), stale=_stale(about)
    )


def read_fetched(value: Value, reference: Digest | Tag) -> Fetched:
    """A manifest, verified."""
    head = read_head(value, reference)
    if head.digest is None:
        raise ValueError("it does not say what its bytes are")
    if head.content_type == MediaType.V2S1_SIGNED:
        # The digest is that of what is signed: ManifestInvalid for another one.
        read_manifest(value.raw, head.content_type, expected=head.digest)
    elif not head.digest.matches(value.raw):
        raise ValueError("its bytes are not what it names")
    return Fetched(value.raw, head.content_type, head.digest, age=head.age, stale=head.stale)


def read_page(value: Value) -> Page:
    """A page of a listing."""
    about = value.about
    following, filtered = about["following"], about["filtered"]
    if not isinstance(following, str | None) or not isinstance(filtered, bool):
        raise TypeError("it does not say which page is next")
    if following is not None and not is_query(following):
        raise ValueError("it names a next page that cannot be asked for")
    return Page(value.raw, following, filtered, age=_age(about))


def _age(about: Mapping[str, Any]) -> float:
    age = float(about["age"])
    if not age >= 0:
        raise ValueError("it is of the future")
    return age


def _stale(about: Mapping[str, Any]) -> str | None:
    stale = about.get("stale")
    return None if stale is None else str(stale)
