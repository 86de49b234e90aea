"""The domain's errors, in the distribution spec's words.

RegistryError
├── RequestInvalid, NameInvalid, TagInvalid,
│   DigestInvalid, PaginationInvalid             the request is malformed
│   └── RequestHeadTooLong                       its head is
├── NameUnknown, ManifestUnknown, BlobUnknown    no such content, or not for this client
│   └── ManifestUnconfirmed                      or perhaps: ask by GET
├── RangeInvalid                                 no byte of the blob lies in the range
├── ListingRefused                               the upstream refuses the page, with a reason
├── Unauthorized, Denied                         the client must log in, or may not pull this
├── Unsupported                                  a pull-through proxy does not do this
├── ApiRetired                                   the v1 API; why docker was refused before
├── Overloaded                                   a limit of this proxy is reached; try again
├── ConversionPending                            what was asked for is being made; try again
├── StorageFailure                               what must be durable cannot be written
├── ManifestInvalid                              bytes that are not one unambiguous manifest
└── UpstreamFailure                              serve a cached copy instead, however old
    ├── UpstreamUnavailable                      network, DNS, TLS, timeout, 5xx, token server
    │   ├── UpstreamOffline                      the settings forbid requests
    │   ├── UpstreamSaturated                    all connections that we may open are in use
    │   └── BlobUnproved                         only its bytes can show whether it is to be had
    ├── UpstreamDenied                           401 or 403
    │   └── LoginRefused                         our login is wrong
    ├── UpstreamThrottled                        429
    │   └── BudgetReserved                       the rest of the rate limit is kept
    ├── ClientThrottled                          this client has caused too many requests
    ├── UpstreamInvalid                          unusable: wrong digest, incomplete, no JSON
    └── TagDeleted                               the upstream has the tag no more, and we keep it

`StoreError`, of which `BlobDamaged` is one, and `ConversionRefused` stand apart: stores and
conversions raise them, and neither is an answer by itself.

Codes: distribution spec, "Error Codes"; UNAVAILABLE and UNKNOWN are distribution's own
(registry/api/errcode/register.go). The HTTP status of each class is in `web/errors.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RegistryError(Exception):
    """A request that ends in an error answer: a code of the spec, and one sentence."""

    code: str = "UNKNOWN"

    def __init__(
        self, message: str, *, detail: object = None, retry_after: float | None = None
    ) -> None:
        """`retry_after` is in seconds; None if the time to retry is unknown."""
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after = retry_after


class RequestInvalid(RegistryError):
    """The bytes are not an HTTP request."""


class RequestHeadTooLong(RequestInvalid):
    """The head of the request is longer than a limit (RFC 6585, 5)."""


class NameInvalid(RegistryError):
    """The repository name does not match the spec's grammar."""

    code = "NAME_INVALID"


class TagInvalid(RegistryError):
    """The reference is neither a tag nor a digest."""

    code = "TAG_INVALID"


class DigestInvalid(RegistryError):
    """The digest is malformed, or of an algorithm that the spec does not register."""

    code = "DIGEST_INVALID"


class PaginationInvalid(RegistryError):
    """The page size is not a number."""

    code = "PAGINATION_NUMBER_INVALID"


class NameUnknown(RegistryError):
    """The repository does not exist upstream, or we may not read it."""

    code = "NAME_UNKNOWN"


class ManifestUnknown(RegistryError):
    """There is no such manifest, or none in a representation that the client can read."""

    code = "MANIFEST_UNKNOWN"


class ManifestUnconfirmed(ManifestUnknown):
    """A HEAD was answered 404, and nothing in the answer shows that the registry has said so."""


class BlobUnknown(RegistryError):
    """The repository has no such blob."""

    code = "BLOB_UNKNOWN"


class RangeInvalid(RegistryError):
    """No byte of the blob is in the requested range."""

    code = "UNKNOWN"

    def __init__(self, message: str, *, size: int) -> None:
        """`size` is the blob's, in bytes, for the `Content-Range` of a 416."""
        super().__init__(message, detail={"size": size})
        self.size = size


class ListingRefused(RegistryError):
    """The upstream refuses a page of a listing, such as one that is too large, and says why.

    The client can ask for another page. `status` and `code` are the upstream's.
    """

    status: int = 400

    def __init__(self, message: str, *, status: int, code: str) -> None:
        """`status` is 4xx."""
        super().__init__(message)
        self.status = status
        self.code = code


class Unsupported(RegistryError):
    """A pull-through proxy does not support the operation."""

    code = "UNSUPPORTED"


class Unauthorized(RegistryError):
    """The client must log in, or must do so again. The answer has a challenge."""

    code = "UNAUTHORIZED"
    # Who was refused, for the audit log.
    principal: str = ""

    def __init__(self, message: str, *, invalid_token: bool = False) -> None:
        """`invalid_token`: a token was sent, and a new one may serve (RFC 6750, 3.1)."""
        super().__init__(message)
        self.invalid_token = invalid_token


class Denied(RegistryError):
    """The client may not pull this, whether or not it exists."""

    code = "DENIED"
    # Who was refused, for the audit log.
    principal: str = ""


class ApiRetired(RegistryError):
    """The v1 API. docker 1.6 to 1.13 show the message after a refusal by the v2 API."""

    code = "UNSUPPORTED"


class Overloaded(RegistryError):
    """A limit in the settings is reached."""

    code = "TOOMANYREQUESTS"


class ConversionPending(RegistryError):
    """A conversion takes longer than a request waits, and goes on in the background."""

    code = "UNAVAILABLE"


class StorageFailure(RegistryError):
    """Content that must be durable before it is served cannot be written."""

    code = "UNAVAILABLE"


class ManifestInvalid(RegistryError):
    """The bytes are not one unambiguous manifest of a known kind."""

    code = "MANIFEST_INVALID"


class FailedAt(StrEnum):
    """Which server failed."""

    REGISTRY = "registry"
    # One that the registry redirects to, such as a storage service: the registry itself works.
    REDIRECT = "redirect"
    TOKEN_SERVER = "token_server"  # noqa: S105 -- a label


class Phase(StrEnum):
    """How far an exchange with an upstream came before it failed."""

    # Nothing was sent: the credentials cannot be read, say.
    PREPARE = "prepare"
    # Resolving the name, connecting, TLS.
    CONNECT = "connect"
    # Waiting for the head of the answer, on a connection that was made.
    WAIT = "wait"
    # The head is here: what it says is the failure, or what follows it.
    ANSWER = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureContext:
    """Where and when an upstream failed.

    `status` is what was answered, if anything was. `broke_off`: the connection was made, and was
    closed early, so that the next one may well be better. `exhausted`: the answer said that nothing
    is left of our rate limit.
    """

    at: FailedAt = FailedAt.REGISTRY
    phase: Phase = Phase.ANSWER
    status: int | None = None
    broke_off: bool = False
    exhausted: bool = False


class UpstreamFailure(RegistryError):
    """The upstream gave no usable answer: whether the content exists is unknown."""

    code = "UNAVAILABLE"

    def __init__(
        self,
        message: str,
        *,
        detail: object = None,
        retry_after: float | None = None,
        context: FailureContext = FailureContext(),
    ) -> None:
        """`context` says where and when; the default is an answer that cannot be used."""
        super().__init__(message, detail=detail, retry_after=retry_after)
        self.context = context

    @property
    def status(self) -> int | None:
        """What the upstream answered when it was asked for the content itself.

        None where there was no such answer: network, TLS, timeout, token server.
        """
        return None if self.context.at is FailedAt.TOKEN_SERVER else self.context.status

    @property
    def is_outage(self) -> bool:
        """Whether the registry is down, as far as this question shows: it has not answered it."""
        return False


class UpstreamUnavailable(UpstreamFailure):
    """The upstream or its token server is unreachable, or failed."""

    @property
    def is_outage(self) -> bool:
        """Whether it was asked at all: our own settings may be what failed."""
        return self.context.phase is not Phase.PREPARE


class UpstreamOffline(UpstreamUnavailable):
    """The settings forbid requests to this upstream."""

    is_outage = False


class UpstreamSaturated(UpstreamUnavailable):
    """All connections that we may open to the upstream are in use: a limit of this proxy."""

    code = "TOOMANYREQUESTS"
    is_outage = False


class BlobUnproved(UpstreamUnavailable):
    """The registry has named the blob, and does not give it now; a mirror may deliver its bytes."""


class UpstreamDenied(UpstreamFailure):
    """The upstream answered 401 or 403, which most registries also send for an unknown name."""

    code = "NAME_UNKNOWN"


class LoginRefused(UpstreamDenied):
    """Our login itself is not accepted, whatever it would be for."""


class UpstreamThrottled(UpstreamFailure):
    """The upstream answered 429."""

    code = "TOOMANYREQUESTS"


class BudgetReserved(UpstreamThrottled):
    """The rest of the upstream's rate limit is reserved for content that is not cached."""


class ClientThrottled(UpstreamFailure):
    """This client has caused as many upstream requests as it may: a limit of this proxy.

    It says nothing of the upstream, and does not concern other clients that want the same: those
    that waited for the same work try again.
    """

    code = "TOOMANYREQUESTS"

    def __init__(
        self, message: str, *, retry_after: float, concerns_caller: Callable[[], bool]
    ) -> None:
        """`concerns_caller` is whether the current request is of the client in question."""
        super().__init__(
            message, retry_after=retry_after, context=FailureContext(phase=Phase.PREPARE)
        )
        self.concerns_caller = concerns_caller


class UpstreamInvalid(UpstreamFailure):
    """The upstream's answer is unusable, and nothing of it was stored."""


class TagDeleted(UpstreamFailure):
    """The upstream has no such tag any more, and the settings say to keep the cached image."""

    code = "MANIFEST_UNKNOWN"


class StoreError(Exception):
    """A store cannot do what its port promises: its disk or bucket failed.

    No answer by itself: it may be that the content is passed through, or fetched again.
    """


class BlobDamaged(StoreError):
    """What was read of a stored blob is wrong, so that nothing right can follow it."""


class RefusalReason(StrEnum):
    """Why a conversion is refused: the label of a metric."""

    ARTIFACT = "artifact"
    CONFIG = "config"
    LAYERS = "layers"
    FOREIGN_LAYERS = "foreign_layers"
    PLATFORM = "platform"
    CHILDREN = "children"
    ABSENT = "absent"
    SIZE = "size"
    FORMAT = "format"
    HISTORY = "history"


class WorkerSilent(Exception):
    """A worker has not answered a question of its supervisor, or has ended."""


class WouldAsk(Exception):
    """In a preview: the upstream would be asked now; the message says for what."""


class ConversionRefused(Exception):
    """A conversion does not apply to this content; the message says why, as half a sentence."""

    def __init__(self, message: str, reason: RefusalReason = RefusalReason.FORMAT) -> None:
        """`reason` is the kind of refusal; by default the content has an unexpected format."""
        super().__init__(message)
        self.reason = reason
