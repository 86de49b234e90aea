"""What can fail between us and an upstream, as the domain's errors.

No message quotes an exception, a URL or a body: any of them may hold a token or a signature.
"""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import aiohttp

from proxy.errors import (
    FailedAt,
    FailureContext,
    Phase,
    UpstreamDenied,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from proxy.oci.headers.ratelimit import RateLimit
from proxy.upstream.ssrf import AddressRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A longer wait is a mistake of the upstream's, or would be forgotten anyway.
MAX_RETRY_AFTER: Final = 86_400.0
_DENIED: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
# Besides 5xx: it has given up waiting for us, or does not answer HEAD, say, but may answer GET.
_MAY_PASS: Final = {
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
}
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class _Row:
    """Exceptions of aiohttp and the system, and what they mean.

    `phase` None is the phase that the exchange was in. `sentence` is what the endpoint does.
    """

    exceptions: tuple[type[Exception], ...]
    sentence: str
    phase: Phase | None = None
    error: type[UpstreamFailure] = UpstreamUnavailable
    broke_off: bool = False


# The first row that fits. ValueError is what aiohttp and yarl raise for what they cannot send.
_ROWS: Final = (
    _Row(
        (aiohttp.ConnectionTimeoutError,),
        "cannot be reached: no connection in time",
        Phase.CONNECT,
    ),
    _Row((TimeoutError,), "fell silent"),
    _Row(
        (aiohttp.ClientConnectorCertificateError,),
        "cannot be reached: its certificate is not valid",
        Phase.CONNECT,
    ),
    _Row((aiohttp.ClientSSLError, ssl.SSLError), "cannot be reached: TLS failed", Phase.CONNECT),
    _Row(
        (aiohttp.ClientConnectorDNSError, socket.gaierror),
        "cannot be reached: its name does not resolve",
        Phase.CONNECT,
    ),
    _Row(
        (aiohttp.ClientProxyConnectionError,),
        "cannot be reached: the HTTP proxy cannot be reached",
        Phase.CONNECT,
    ),
    _Row(
        (aiohttp.ClientHttpProxyError,),
        "cannot be reached: the HTTP proxy refused the connection",
        Phase.CONNECT,
    ),
    _Row((aiohttp.ClientConnectorError,), "cannot be reached", Phase.CONNECT),
    _Row((aiohttp.ClientPayloadError,), "stopped before the end that it had announced"),
    _Row((aiohttp.ClientResponseError,), "sent an answer that is not HTTP", error=UpstreamInvalid),
    _Row(
        (aiohttp.NonHttpUrlClientError, ValueError),
        "has no address that can be dialled",
        Phase.PREPARE,
        UpstreamInvalid,
    ),
    _Row((Exception,), "broke the connection", broke_off=True),
)


@contextmanager
def failures(endpoint: str, context: FailureContext) -> Iterator[None]:
    """Turn what aiohttp and the system raise into UpstreamUnavailable or UpstreamInvalid.

    `endpoint` is the host for a person: the subject of the sentence. `context` is how far the
    exchange is, if the connection was made.
    """
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failure(endpoint, error, context) from None


def _failure(endpoint: str, error: Exception, context: FailureContext) -> UpstreamFailure:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, AddressRefusedError):
        return UpstreamInvalid(
            f"{endpoint} is on this host or on a private network, and the registry is not: "
            "nothing was sent; if that is right, list the host in the upstream's `realms`",
            context=replace(context, phase=Phase.CONNECT),
        )
    row = next(row for row in _ROWS if isinstance(error, row.exceptions))
    return row.error(
        f"{endpoint} {row.sentence}{_detail(error)}",
        context=replace(context, phase=row.phase or context.phase, broke_off=row.broke_off),
    )


def _detail(error: Exception) -> str:
    """Return what OpenSSL or the system says, in their own words."""
    match error:
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.SSLCertVerificationError(verify_message=reason)
        ):
            return f": {reason}"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int(number))) if number > 0:
            return f": {os.strerror(number)}"
    return ""


def refusal(
    endpoint: str, at: FailedAt, status: int, headers: Mapping[str, str], *, now: float
) -> UpstreamFailure:
    """Return the error for an answer without the content.

    UpstreamDenied, UpstreamThrottled, UpstreamUnavailable or UpstreamInvalid. `now` is in seconds
    since 1970.
    """
    sentence = f"{endpoint} answered {status}"
    rate = RateLimit.parse(headers) if status == HTTPStatus.TOO_MANY_REQUESTS else None
    exhausted = rate is not None and rate.remaining == 0
    context = FailureContext(at=at, status=status, exhausted=exhausted)
    wait = retry_after(headers.get("Retry-After"), datetime.fromtimestamp(now, UTC))
    if status in _DENIED and at is not FailedAt.REDIRECT:
        return UpstreamDenied(sentence, context=context)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return UpstreamThrottled(sentence, retry_after=wait, context=context)
    # A storage service that denies what the registry has redirected us to has a fault, which may
    # pass: the registry has admitted us.
    if status in _DENIED | _MAY_PASS or status >= _SERVER_ERROR:
        return UpstreamUnavailable(sentence, retry_after=wait, context=context)
    return UpstreamInvalid(sentence, context=context)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After`, or until its date; None if it cannot be read."""
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
