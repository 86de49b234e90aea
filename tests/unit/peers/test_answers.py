"""Errors go from replica to replica as the classes that all of them know."""

from __future__ import annotations

import pytest

from proxy.errors import (
    BlobUnknown,
    ClientThrottled,
    ManifestUnconfirmed,
    ManifestUnknown,
    NameInvalid,
    RegistryError,
    UpstreamFailure,
    UpstreamSaturated,
)
from proxy.peers.answers import frame_of_error, read_error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BlobUnknown("x"), BlobUnknown),
        (UpstreamSaturated("x", retry_after=5.0), UpstreamSaturated),
        (ManifestUnconfirmed("x"), ManifestUnknown),
        (ClientThrottled("x", retry_after=1.0, concerns_caller=lambda: True), UpstreamFailure),
        (NameInvalid("x"), UpstreamFailure),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_read_as_the_nearest_class(
    error: RegistryError, kind: type[RegistryError]
) -> None:
    found = read_error(frame_of_error(error))
    assert isinstance(found, RegistryError)
    assert (type(found), found.message) == (kind, "x")
    assert found.retry_after == error.retry_after
