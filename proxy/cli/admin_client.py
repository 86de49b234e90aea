"""A proxy that runs, asked over its admin listener by the command line."""

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
    """There is no answer, or it is no; the message says why."""


def ask(admin: str, path: str, content: Mapping[str, object] | None = None) -> dict[str, Any]:
    """What the admin listener at `admin`, HOST:PORT or a URL, answers to a GET, or to a POST."""
    url = admin if "://" in admin else f"http://{admin}"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise RemoteError(f"{admin} is no address of an admin listener")
    data = None if content is None else json.dumps(content).encode()
    request = Request(  # noqa: S310 -- checked above
        url.rstrip("/") + path, data=data, headers={"Content-Type": "application/json"}
    )
    # An operator's HTTP proxy is for the world outside.
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
        raise RemoteError(f"what answers at {url} is no proxy of this kind") from None
    if not isinstance(answer, dict):
        raise RemoteError(f"what answers at {url} is no proxy of this kind")
    return answer


def _refusal(error: HTTPError) -> str:
    try:
        return str(json.load(error)["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the proxy answered {error.code}"


def described(status: Mapping[str, Any]) -> Iterator[str]:
    """A status for a person, line by line."""
    yield f"the proxy is {status['status']}"
    for warning in status["warnings"].values():
        yield f"  warning: {warning}"
    yield f"blobs take {human(status['stored_bytes'])}"
    yield f"answers: {_counts(status['requests'])}"
    if status["stale"]:
        yield f"  answered as it was known before: {_counts(status['stale'])}"
    for name, upstream in status["upstreams"].items():
        state = "is left alone, for it fails" if upstream["breaker"] == "open" else "is asked"
        yield f"{name} {state}: {_counts(upstream['requests'])}"
        if budget := upstream["budget"]:
            yield f"  pulls left: {budget['remaining']} of {budget['limit']}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none yet"
