"""What every page has around its content, and the headers that it is sent with."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.web.admin.pages.markup import Child, Markup, tag

if TYPE_CHECKING:
    from collections.abc import Mapping

# Nothing comes from elsewhere, nothing inline runs, and no other page frames this one. A stricter
# Referrer-Policy would make browsers send `Origin: null` with our own forms.
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# All pages are beside each other, so that links work below any prefix.
_PAGES: Final = (
    (".", "Status"),
    ("images", "Images"),
    ("inspect", "Inspect"),
    ("explain", "Explain"),
    ("purge", "Purge"),
)


def page(title: str, *content: Child, live: bool = False) -> str:
    """A whole document; `live`: a script keeps its sections up to date."""
    links = [
        tag("a", words, href=path, aria_current="page" if words == title else None)
        for path, words in _PAGES
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · Lighterage"),
        tag("link", rel="icon", href="icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="style.css"),
        tag("script", src="live.js", defer=True) if live else None,
    )
    body = tag(
        "body",
        tag("a", "Skip to content", class_="skip", href="#content"),
        tag(
            "header",
            tag("span", "Lighterage", class_="brand"),
            tag("nav", links, aria_label="Pages"),
        ),
        tag("main", content, id="content"),
    )
    return f"<!doctype html>{tag('html', head, body, lang='en')}"


def answer(text: str, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """A page with its headers."""
    return web.Response(status=status, text=text, content_type="text/html", headers=HEADERS)


def wants_page(request: web.Request) -> bool:
    """Whether a browser asks: programs get JSON."""
    return "text/html" in request.headers.get("Accept", "")


def problem(message: str) -> Markup:
    """What went wrong, for a person."""
    return tag("p", message, class_="problem", role="alert")
