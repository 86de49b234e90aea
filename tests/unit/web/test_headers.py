"""The common response headers, and `Cache-Status` (RFC 9211)."""

from __future__ import annotations

import re
from typing import Final

import pytest

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from proxy.telemetry.trace import Outcome, Trace
from proxy.web.headers import HIT, cache_status, content_headers

DIGEST: Final = Digest.of(b"content")
# RFC 9211, 2, and RFC 8941: a list of one token, with parameters.
_PARAMETER: Final = r'; [a-z]+(=([a-z][a-z0-9_-]*|"[^"\\]*"))?'


def test_content_is_named() -> None:
    headers = content_headers(DIGEST, MediaType.V2S2, None)
    assert headers["Content-Type"] == MediaType.V2S2
    assert headers["Docker-Content-Digest"] == DIGEST
    assert headers["ETag"] == f'"{DIGEST}"'
    assert headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "OCI-Namespace" not in headers


@pytest.mark.parametrize(
    "media_type",
    [
        *("text/html", "text/plain", "image/svg+xml", "TEXT/HTML", "multipart/related", "model/x"),
        *("application/xhtml+xml", "application/javascript", "application/x-ecmascript"),
        *("application/xml", "application/rss+xml", "application/pdf", "application/hta"),
        *("application/vnd.wap.xhtml+xml", "application/vnd.mozilla.xul+xml", "html"),
    ],
)
def test_a_browser_runs_nothing(media_type: str) -> None:
    headers = content_headers(DIGEST, media_type, None)
    assert headers.getall("Content-Type") == ["application/octet-stream"]
    assert headers["Content-Security-Policy"] == "sandbox"


@pytest.mark.parametrize(
    "media_type",
    [
        *MediaType,
        *("application/octet-stream", "application/json", "application/vnd.oci.descriptor.v1+json"),
        *("application/vnd.oci.artifact.manifest.v1+json", "application/vnd.example.chartable"),
    ],
)
def test_types_of_manifests_are_passed_on(media_type: str) -> None:
    headers = content_headers(DIGEST, media_type, None)
    assert headers["Content-Type"] == media_type
    assert "Content-Security-Policy" not in headers


def test_a_namespace_is_echoed() -> None:
    assert content_headers(DIGEST, MediaType.V2S2, "quay.io")["OCI-Namespace"] == "quay.io"


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        (Trace(outcome=Outcome.HIT), HIT),
        (Trace(outcome=Outcome.MISS), "Lighterage; fwd=miss"),
        (Trace(outcome=Outcome.MISS, stored=True), "Lighterage; fwd=miss; stored"),
        (Trace(outcome=Outcome.MISS, detail="collapsed"), "Lighterage; fwd=miss; collapsed"),
        (
            Trace(outcome=Outcome.MISS, detail="unverified-range"),
            "Lighterage; fwd=miss; detail=unverified-range",
        ),
        (Trace(outcome=Outcome.REVALIDATED), "Lighterage; fwd=stale; detail=revalidated"),
        (
            Trace(outcome=Outcome.STALE, detail="unavailable"),
            'Lighterage; hit; detail="stale unavailable"',
        ),
        (Trace(), "Lighterage; fwd=bypass"),
    ],
)
def test_where_an_answer_came_from(happened: Trace, expected: str) -> None:
    assert cache_status(happened) == expected
    assert re.fullmatch(rf"Lighterage({_PARAMETER})+", expected)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_header(outcome: Outcome) -> None:
    assert re.fullmatch(rf"Lighterage({_PARAMETER})+", cache_status(Trace(outcome=outcome)))
