"""Requests to the admin listener of a running proxy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.config import Settings

_TIMEOUT = 10.0
# HTTP_PROXY in the environment is for the internet.
_OPENER = build_opener(ProxyHandler({}))


class RemoteError(Exception):
    """There is no answer, or an error; the message says why.

    `status` is the HTTP status, 0 if there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def ask(
    admin: str,
    path: str,
    content: Mapping[str, object] | None = None,
    *,
    method: str | None = None,
    token: str | None = None,
    refused_is_answer: bool = False,
) -> dict[str, Any]:
    """Send a GET, or a POST of `content`, to the admin listener at `admin`; the JSON answer.

    `method` is another one.

    `admin` is HOST:PORT or a URL. RemoteError if there is no usable answer; `refused_is_answer`: a
    body with an error's status is one.
    """
    url = _url(admin)
    data = None if content is None else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = Request(  # noqa: S310 -- checked above
        url + path, data=data, headers=headers, method=method
    )
    try:
        with _OPENER.open(request, timeout=_TIMEOUT) as response:
            answer = json.load(response)
    except HTTPError as error:
        with error:
            if error.headers.get("Docker-Distribution-Api-Version") is not None:
                raise RemoteError(
                    f"{url} is a registry listener; name the admin listener with --admin or "
                    "--config"
                ) from None
            if not refused_is_answer:
                raise RemoteError(_refusal(error), error.code) from None
            answer = _body(error)
    except (URLError, OSError) as error:
        raise _no_answer(url, error) from None
    except ValueError:
        raise RemoteError(f"the server at {url} is not Lighterage") from None
    if not isinstance(answer, dict):
        raise RemoteError(f"the server at {url} is not Lighterage")
    return answer


def check_alive(admin: str, within: float) -> None:
    """Ask the admin listener at `admin` for `/healthz`; RemoteError unless it answers 200.

    `within` is in seconds.
    """
    url = _url(admin)
    try:
        _OPENER.open(f"{url}/healthz", timeout=within).close()
    except HTTPError as error:
        with error:
            raise RemoteError(_refusal(error), error.code) from None
    except (URLError, OSError) as error:
        raise _no_answer(url, error) from None


def address_of(settings: Settings) -> str:
    """HOST:PORT at which this machine reaches the admin listener of `settings`."""
    from proxy.config import Address  # noqa: PLC0415 -- see the package's docstring

    host, port = settings.admin.listen
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not bound
    return str(Address(anywhere.get(host, host), port))


def _url(admin: str) -> str:
    url = admin if "://" in admin else f"http://{admin}"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise RemoteError(f"{admin} is not the address of an admin listener")
    return url.rstrip("/")


def _no_answer(url: str, error: OSError) -> RemoteError:
    reason = getattr(error, "reason", error)
    return RemoteError(
        f"no proxy answers at {url}: {getattr(reason, 'strerror', None) or reason}; start one "
        "with lighterage serve, or name its admin listener with --admin or --config "
        "(was it started with --admin-listen?)"
    )


def _body(error: HTTPError) -> object:
    try:
        return json.load(error)
    except ValueError:
        return None


def _refusal(error: HTTPError) -> str:
    try:
        return str(json.load(error)["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        return f"the proxy answered {error.code}"
