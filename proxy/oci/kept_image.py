"""An image that is kept, with the content that must not be evicted, as one durable value."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from proxy.oci.reference import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class KeptImage:
    """An image: `registry/name`, a tag or digest, and the content that is kept for it.

    `at` is in seconds since 1970, `size` in bytes on the disk.
    """

    repository: str
    reference: str
    manifests: tuple[Digest, ...]
    blobs: tuple[Digest, ...]
    at: float
    size: int = 0

    def is_same_name(self, other: KeptImage) -> bool:
        """Whether one takes the place of the other."""
        return (self.repository, self.reference) == (other.repository, other.reference)

    def encode(self) -> bytes:
        """The value, as JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """The image in `value`; ValueError or DigestInvalid if there is none."""
        try:
            found: dict[str, Any] = json.loads(value)
            return cls(
                repository=str(found["repository"]),
                reference=str(found["reference"]),
                manifests=_digests(found["manifests"]),
                blobs=_digests(found["blobs"]),
                at=float(found["at"]),
                size=int(found["size"]),
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("it is no kept image") from error


def _digests(values: Iterable[object]) -> tuple[Digest, ...]:
    return tuple(Digest(str(value)) for value in values)
