"""Which answers to HEAD of a blob decide, and which need a GET."""

from __future__ import annotations

import pytest

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
from proxy.oci.reference import Digest
from proxy.upstream.blob_length import is_plausible, may_get_differ

CONTENT = b"cargo"


@pytest.mark.parametrize("status", [400, 401, 403, 405, 406, 415, 418, 451, 500, 501, 304, 206])
@pytest.mark.parametrize("at", [FailedAt.REGISTRY, FailedAt.REDIRECT])
@pytest.mark.parametrize("kind", [UpstreamInvalid, UpstreamUnavailable, UpstreamDenied])
def test_a_refused_head_is_settled_by_get(
    kind: type[UpstreamFailure], at: FailedAt, status: int
) -> None:
    assert may_get_differ(kind("no", context=FailureContext(at=at, status=status)))


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamThrottled("429", context=FailureContext(status=429)),
        *(
            UpstreamUnavailable(str(status), context=FailureContext(status=status))
            for status in (408, 425, 502, 503, 504)
        ),
        UpstreamUnavailable("500", retry_after=5.0, context=FailureContext(status=500)),
        UpstreamUnavailable("refused", context=FailureContext(phase=Phase.CONNECT)),
        UpstreamUnavailable("late", context=FailureContext(phase=Phase.WAIT)),
        UpstreamInvalid("a private address", context=FailureContext(phase=Phase.CONNECT)),
        UpstreamInvalid("no address", context=FailureContext(phase=Phase.PREPARE)),
        UpstreamDenied("401", context=FailureContext(at=FailedAt.TOKEN_SERVER, status=401)),
    ],
    ids=lambda failure: failure.message,
)
def test_what_is_the_same_for_get_is_the_answer(failure: UpstreamFailure) -> None:
    assert not may_get_differ(failure)


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamUnavailable("hung up", context=FailureContext(phase=Phase.WAIT, broke_off=True)),
        UpstreamInvalid("no HTTP", context=FailureContext(phase=Phase.WAIT)),
        UpstreamInvalid("redirects to no URL"),
    ],
    ids=lambda failure: failure.message,
)
def test_a_server_that_does_not_know_head_may_know_get(failure: UpstreamFailure) -> None:
    assert may_get_differ(failure)


@pytest.mark.parametrize(
    ("length", "content", "expected", "plausible"),
    [
        (5, CONTENT, None, True),
        (5, CONTENT, 5, True),
        (5, CONTENT, 6, False),
        (None, CONTENT, None, False),
        (None, CONTENT, 5, False),
        (0, CONTENT, None, False),
        (0, b"", None, True),
        (0, b"", 0, True),
    ],
)
def test_a_length_that_may_be_right(
    length: int | None, content: bytes, expected: int | None, *, plausible: bool
) -> None:
    assert is_plausible(length, Digest.of(content), expected) is plausible
