"""Whether an error answer is the registry's own, and what it says.

An ingress or a login proxy in front of a registry answers for it, during a redeploy for example.
Only the registry can say that something does not exist (distribution spec, "Error Codes").
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    FailedAt,
    ListingRefused,
    UpstreamFailure,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from proxy.upstream.session import read_content

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.upstream.session import Answer

_MAX_BODY: Final = 64 * 1024
# More of a code or a message is not passed on, in characters.
_MAX_CODE: Final = 64
_MAX_MESSAGE: Final = 500
# What says that a request is wrong is 4xx, apart from these: they are about the login, the moment
# or the load, or, for 404, about the content.
_OTHER_REASONS: Final = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.PAYMENT_REQUIRED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_CLIENT_ERROR: Final = range(400, 500)


def is_refused_request(status: int) -> bool:
    """Whether the status says that this request is wrong, for every client and at any time."""
    return status in _CLIENT_ERROR and status not in _OTHER_REASONS


async def require_registry(answer: Answer) -> None:
    """Raise UpstreamUnavailable if the registry itself does not send this 404.

    It says so by errors in the spec's form, or by its header. A storage service that the registry
    redirects to has no such form.
    """
    if answer.at is FailedAt.REDIRECT or has_version(answer):
        return
    if await _first_error(answer) is None:
        raise UpstreamUnavailable(
            f"{answer.endpoint} answered {answer.response.status}, but not as a registry does",
            context=answer.context,
        )


async def read_refusal(answer: Answer) -> ListingRefused | UpstreamFailure:
    """The registry's own reason for a 4xx; UpstreamInvalid if it gives none in the spec's form."""
    status = answer.response.status
    first = await _first_error(answer)
    if first is None:
        return UpstreamInvalid(f"{answer.endpoint} answered {status}", context=answer.context)
    code = _printable(first.get("code"), _MAX_CODE) or "UNKNOWN"
    message = _printable(first.get("message"), _MAX_MESSAGE) or f"no reason but {status}"
    return ListingRefused(f"{answer.endpoint} says: {message}", status=status, code=code)


def has_version(answer: Answer) -> bool:
    """Whether the answer has the header of a registry."""
    return "Docker-Distribution-Api-Version" in answer.response.headers


async def _first_error(answer: Answer) -> Mapping[str, object] | None:
    try:
        document = json.loads(await read_content(answer, _MAX_BODY))
    except (ValueError, RecursionError, UpstreamFailure):
        return None
    errors = document.get("errors") if isinstance(document, dict) else None
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return None
    return errors[0]


def _printable(value: object, limit: int) -> str:
    """The text on one line, without what could be taken for something else in a log."""
    if not isinstance(value, str):
        return ""
    return "".join(
        character if character.isprintable() else " " for character in value[:limit]
    ).strip()
