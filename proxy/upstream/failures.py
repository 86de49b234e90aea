"""What goes wrong on the way to an upstream, as the domain's errors.

No message quotes an exception, a URL or a body: any of them may hold a token or a signature.
"""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp

from proxy.errors import (
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.upstream.ssrf import AddressRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Who is told to stay away for longer would forget, or has been told nonsense.
MAX_RETRY_AFTER: Final = 86_400.0
_DENIED: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_SERVER_ERROR: Final = 500

_BROKEN: Final = "broke the connection"
# The first row that fits. ValueError: what aiohttp and yarl raise for what they cannot send.
_FAILURES: Final[tuple[tuple[tuple[type[Exception], ...], type[UpstreamFailure], str], ...]] = (
    (
        (aiohttp.ConnectionTimeoutError,),
        UpstreamUnavailable,
        "cannot be reached: no connection in time",
    ),
    ((TimeoutError,), UpstreamUnavailable, "fell silent"),
    (
        (aiohttp.ClientConnectorCertificateError,),
        UpstreamUnavailable,
        "cannot be reached: its certificate is not valid",
    ),
    ((aiohttp.ClientSSLError, ssl.SSLError), UpstreamUnavailable, "cannot be reached: TLS failed"),
    (
        (aiohttp.ClientConnectorDNSError, socket.gaierror),
        UpstreamUnavailable,
        "cannot be reached: its name does not resolve",
    ),
    (
        (aiohttp.ClientProxyConnectionError,),
        UpstreamUnavailable,
        "cannot be reached: the HTTP proxy cannot be",
    ),
    (
        (aiohttp.ClientHttpProxyError,),
        UpstreamUnavailable,
        "cannot be reached: the HTTP proxy refused the connection",
    ),
    ((aiohttp.ClientConnectorError,), UpstreamUnavailable, "cannot be reached"),
    (
        (aiohttp.ClientPayloadError,),
        UpstreamUnavailable,
        "stopped before the end that it had announced",
    ),
    ((aiohttp.ClientResponseError,), UpstreamInvalid, "gives no answer that is HTTP"),
    (
        (aiohttp.NonHttpUrlClientError, ValueError),
        UpstreamInvalid,
        "has no address that can be dialled",
    ),
    ((Exception,), UpstreamUnavailable, _BROKEN),
)


@contextmanager
def failures(endpoint: str) -> Iterator[None]:
    """Turn what aiohttp and the system raise into UpstreamUnavailable or UpstreamInvalid.

    `place` is the host for a person: the subject of the sentence.
    """
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failure(endpoint, error) from None


def _failure(endpoint: str, error: Exception) -> UpstreamFailure:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        return UpstreamInvalid(
            f"{endpoint} is on this host or on a private network, and the registry is not: "
            "nothing was sent; if that is right, list the host in the upstream's `realms`"
        )
    kind, predicate = next(
        (kind, predicate) for types, kind, predicate in _FAILURES if isinstance(error, types)
    )
    failure = kind(f"{endpoint} {predicate}{_detail(error)}")
    failure.broke_off = predicate == _BROKEN
    return failure


def _detail(error: Exception) -> str:
    """What OpenSSL or the system says, in words of their own."""
    match error:
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.SSLCertVerificationError(verify_message=reason)
        ):
            return f": {reason}"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int(number))) if number > 0:
            return f": {os.strerror(number)}"
    return ""


def refusal(endpoint: str, status: int, headers: Mapping[str, str]) -> UpstreamFailure:
    """The error for an answer without the content: denied, throttled, unavailable or invalid."""
    sentence = f"{endpoint} answered {status}"
    wait = retry_after(headers.get("Retry-After"), datetime.now(UTC))
    if status in _DENIED:
        return UpstreamDenied(sentence, status=status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return UpstreamThrottled(sentence, status=status, retry_after=wait)
    if status == HTTPStatus.METHOD_NOT_ALLOWED or status >= _SERVER_ERROR:
        return UpstreamUnavailable(sentence, status=status, retry_after=wait)
    return UpstreamInvalid(sentence, status=status)


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds of a `Retry-After`, or until its date; at most a day. None if it says nothing."""
    if value is None or not value.isascii():
        return None
    text = value.strip()
    if text.isdigit():
        # Longer than any day; int() refuses thousands of digits.
        seconds = float(text[:9])
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        # An HTTP date is in GMT, also where it forgets to say so.
        seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
