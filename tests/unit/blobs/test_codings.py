"""What the digests of an upstream's blobs have shown of its Content-Encoding."""

from __future__ import annotations

from typing import Final

from proxy.blobs.codings import Codings
from proxy.oci.reference import Digest

ONE: Final = Digest.of(b"1")
TWO: Final = Digest.of(b"2")


def test_a_label_is_a_mere_label_until_a_digest_shows_otherwise() -> None:
    codings = Codings()
    assert not codings.is_encoded("quay.io", ONE)
    assert not codings.is_known("quay.io", ONE)
    codings.learn("quay.io", ONE, encoded=True)
    assert codings.is_encoded("quay.io", TWO)
    assert codings.is_known("quay.io", TWO)
    assert not codings.is_encoded("docker.io", ONE)


def test_a_blob_that_is_unlike_the_others_changes_nothing_for_them() -> None:
    codings = Codings()
    codings.learn("quay.io", ONE, encoded=False)
    codings.learn("quay.io", TWO, encoded=True)
    assert codings.is_encoded("quay.io", TWO)
    # So that clients get nothing of it before it is verified.
    assert not codings.is_known("quay.io", TWO)
    assert not codings.is_encoded("quay.io", ONE)
    assert codings.is_known("quay.io", ONE)
