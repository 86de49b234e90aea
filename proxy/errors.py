"""The domain's errors, in the distribution spec's words.

RegistryError
├── RequestInvalid, NameInvalid, TagInvalid,
│   DigestInvalid, PaginationInvalid             the client's request is malformed
├── NameUnknown, ManifestUnknown, BlobUnknown    there is no such content, or not for this client
├── RangeInvalid                                 no byte of the blob lies in the range
├── Unsupported                                  a pull-through proxy does not do this
├── Overloaded                                   a limit of this proxy is reached; try again
├── StorageFailure                               what must be durable cannot be written
├── ManifestInvalid                              bytes that are not one unambiguous manifest
└── UpstreamFailure                              a cached copy, however old, is the better answer
    ├── UpstreamUnavailable                      network, DNS, TLS, time out, 5xx, token server
    │   └── UpstreamOffline                      the settings forbid to ask
    ├── UpstreamDenied                           401 or 403
    ├── UpstreamThrottled                        429
    │   └── BudgetReserved                       it would be 429 soon, and is not worth a pull
    └── UpstreamInvalid                          an unusable answer: wrong digest, cut off, no JSON

`ConversionRefused` stands apart: it is how a conversion says no, and is never an answer by itself.

Codes: distribution spec, "Error Codes"; UNAVAILABLE and UNKNOWN are distribution's own
(registry/api/errcode/register.go). The HTTP status of each class is in `web/errors.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class RegistryError(Exception):
    """A request that ends in an error answer: a code of the spec and one sentence for a person."""

    code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self, message: str, *, detail: object = None, retry_after: float | None = None
    ) -> None:
        """`retry_after` is in seconds; None where the client cannot know when to come back."""
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after = retry_after


class RequestInvalid(RegistryError):
    """What came is not an HTTP request, or one with a head that is too long."""


class NameInvalid(RegistryError):
    """The repository name is not one that the spec's grammar allows."""

    code = "NAME_INVALID"


class TagInvalid(RegistryError):
    """The reference is neither a tag nor a digest."""

    code = "TAG_INVALID"


class DigestInvalid(RegistryError):
    """The digest is malformed, or of an algorithm that the spec does not register."""

    code = "DIGEST_INVALID"


class PaginationInvalid(RegistryError):
    """The page size is no number."""

    code = "PAGINATION_NUMBER_INVALID"


class NameUnknown(RegistryError):
    """The repository does not exist upstream, or its content is not for us."""

    code = "NAME_UNKNOWN"


class ManifestUnknown(RegistryError):
    """There is no such manifest, or none in a representation that the client can read."""

    code = "MANIFEST_UNKNOWN"


class BlobUnknown(RegistryError):
    """The repository has no such blob."""

    code = "BLOB_UNKNOWN"


class RangeInvalid(RegistryError):
    """No byte of the blob lies in the range that was asked for."""

    code = "UNKNOWN"

    def __init__(self, message: str, *, size: int) -> None:
        """`size` is the blob's, in bytes, for the `Content-Range` of a 416."""
        super().__init__(message, detail={"size": size})
        self.size = size


class Unsupported(RegistryError):
    """The operation is one that a pull-through proxy does not offer."""

    code = "UNSUPPORTED"


class Overloaded(RegistryError):
    """A limit that the operator has set is reached."""

    code = "TOOMANYREQUESTS"


class StorageFailure(RegistryError):
    """Something that must be durable before it is handed out cannot be written."""

    code = "UNAVAILABLE"


class ManifestInvalid(RegistryError):
    """The bytes are not one unambiguous manifest of a known kind."""

    code = "MANIFEST_INVALID"


class UpstreamFailure(RegistryError):
    """The upstream did not answer usefully; it says nothing about whether the content exists."""

    code = "UNAVAILABLE"

    def __init__(
        self,
        message: str,
        *,
        detail: object = None,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        """`status` is what the upstream answered when it was asked for the content itself.

        None where there was no such answer: network, TLS, time out, token server.
        """
        super().__init__(message, detail=detail, retry_after=retry_after)
        self.status = status
        # Of somewhere that the registry sends us to: it works itself.
        self.elsewhere = False
        # In the middle of a connection that was made: the next one may well be better.
        self.broke_off = False


class UpstreamUnavailable(UpstreamFailure):
    """The upstream or its token server cannot be reached, or failed."""


class UpstreamOffline(UpstreamUnavailable):
    """The settings say not to ask this upstream for anything."""


class UpstreamDenied(UpstreamFailure):
    """The upstream answered 401 or 403, which for most registries also means 'no such name'."""

    code = "NAME_UNKNOWN"


class UpstreamThrottled(UpstreamFailure):
    """The upstream answered 429."""

    code = "TOOMANYREQUESTS"


class BudgetReserved(UpstreamThrottled):
    """What the upstream still grants is kept for content that is not here at all."""


class UpstreamInvalid(UpstreamFailure):
    """The upstream's answer cannot be used, and nothing of it was kept."""


class RefusalReason(StrEnum):
    """What kind of reason a conversion has to refuse: the label of a metric."""

    ARTIFACT = "artifact"
    CONFIG = "config"
    LAYERS = "layers"
    FOREIGN_LAYERS = "foreign_layers"
    PLATFORM = "platform"
    CHILDREN = "children"
    ABSENT = "absent"
    SIZE = "size"
    FORMAT = "format"


class ConversionRefused(Exception):
    """Why a conversion does not apply to this content, as half a sentence for a person."""

    def __init__(self, reason: str, obstacle: RefusalReason = RefusalReason.FORMAT) -> None:
        """`obstacle` is the kind of reason; most are that the content is not as it should be."""
        super().__init__(reason)
        self.obstacle = obstacle
