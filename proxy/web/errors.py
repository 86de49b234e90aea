"""The HTTP status and error body of each domain error."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from proxy.errors import (
    ApiRetired,
    BlobUnknown,
    ClientThrottled,
    ConversionPending,
    Denied,
    DigestInvalid,
    ListingRefused,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    Overloaded,
    PaginationInvalid,
    RangeInvalid,
    RegistryError,
    RequestHeadTooLong,
    RequestInvalid,
    StorageFailure,
    TagDeleted,
    TagInvalid,
    Unauthorized,
    Unsupported,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamSaturated,
    UpstreamThrottled,
)

STATUS: Final[dict[type[RegistryError], HTTPStatus]] = {
    RegistryError: HTTPStatus.INTERNAL_SERVER_ERROR,
    RequestInvalid: HTTPStatus.BAD_REQUEST,
    RequestHeadTooLong: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    NameInvalid: HTTPStatus.BAD_REQUEST,
    TagInvalid: HTTPStatus.BAD_REQUEST,
    DigestInvalid: HTTPStatus.BAD_REQUEST,
    PaginationInvalid: HTTPStatus.BAD_REQUEST,
    NameUnknown: HTTPStatus.NOT_FOUND,
    ManifestUnknown: HTTPStatus.NOT_FOUND,
    BlobUnknown: HTTPStatus.NOT_FOUND,
    RangeInvalid: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Denied: HTTPStatus.FORBIDDEN,
    Unsupported: HTTPStatus.METHOD_NOT_ALLOWED,
    ApiRetired: HTTPStatus.GONE,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    ConversionPending: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFailure: HTTPStatus.SERVICE_UNAVAILABLE,
    ManifestInvalid: HTTPStatus.BAD_GATEWAY,
    UpstreamFailure: HTTPStatus.BAD_GATEWAY,
    UpstreamSaturated: HTTPStatus.SERVICE_UNAVAILABLE,
    # The upstream's challenge is not for our clients, and most registries answer 401 or 403 for a
    # repository that does not exist.
    UpstreamDenied: HTTPStatus.NOT_FOUND,
    TagDeleted: HTTPStatus.NOT_FOUND,
    UpstreamThrottled: HTTPStatus.TOO_MANY_REQUESTS,
    ClientThrottled: HTTPStatus.TOO_MANY_REQUESTS,
}


def status_of(error: RegistryError) -> HTTPStatus:
    """The status of an error: the upstream's own, or that of its nearest class in the table."""
    if isinstance(error, ListingRefused):
        return HTTPStatus(error.status)
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def body_of(error: RegistryError, hint: str = "") -> bytes:
    """Encode an error as the spec's JSON body (distribution spec, "Error Codes").

    `hint` goes after its message.
    """
    entry: dict[str, object] = {"code": error.code, "message": error.message + hint}
    if error.detail is not None:
        entry["detail"] = error.detail
    return json.dumps({"errors": [entry]}).encode()
