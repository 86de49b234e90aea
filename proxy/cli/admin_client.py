"""Requests to the admin listener of a running proxy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from proxy.cli.human import human

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TIMEOUT = 10.0


class RemoteError(Exception):
    """There is no answer, or an error; the message says why."""


def ask(
    admin: str,
    path: str,
    content: Mapping[str, object] | None = None,
    *,
    token: str | None = None,
) -> dict[str, Any]:
    """Send a GET, or a POST of `content`, to the admin listener at `admin`; the JSON answer.

    `admin` is HOST:PORT or a URL. RemoteError if there is no usable answer.
    """
    url = admin if "://" in admin else f"http://{admin}"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise RemoteError(f"{admin} is not the address of an admin listener")
    data = None if content is None else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = Request(  # noqa: S310 -- checked above
        url.rstrip("/") + path, data=data, headers=headers
    )
    # HTTP_PROXY in the environment is for the internet.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            answer = json.load(response)
    except HTTPError as error:
        with error:
            raise RemoteError(_refusal(error)) from None
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise RemoteError(f"no proxy answers at {url}: {reason}") from None
    except ValueError:
        raise RemoteError(f"the server at {url} is not Lighterage") from None
    if not isinstance(answer, dict):
        raise RemoteError(f"the server at {url} is not Lighterage")
    return answer


def _refusal(error: HTTPError) -> str:
    try:
        return str(json.load(error)["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the proxy answered {error.code}"


def describe(status: Mapping[str, Any]) -> Iterator[str]:
    """Format a status as lines of text."""
    yield f"the proxy is {status['status']}"
    for warning in status["warnings"].values():
        yield f"  warning: {warning}"
    yield f"blobs take {human(status['stored_bytes'])}"
    yield f"answers: {_counts(status['requests'])}"
    if status["stale"]:
        yield f"  stale: {_counts(status['stale'])}"
    for name, upstream in status["upstreams"].items():
        state = "fails, its circuit is open" if upstream["breaker"] == "open" else "works"
        yield f"{name} {state}: {_counts(upstream['requests'])}"
        if budget := upstream["budget"]:
            yield f"  pulls left: {budget['remaining']} of {budget['limit']}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none yet"
