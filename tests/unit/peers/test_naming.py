"""What a replica says that a manifest names is read as it was written, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.oci.mediatype import MediaType
from proxy.peers.answers import NotStored, Value
from proxy.peers.naming import decode_naming, encode_naming
from proxy.ports.catalog import Claim, Grant, Proof


@pytest.mark.parametrize(
    ("access", "claim"),
    [
        (Claim(None, 7), Claim(None, 7)),
        (Claim(MediaType.V2S2, None), Claim(MediaType.V2S2, None)),
        (Grant(Proof.DELIVERED), Claim(None, None)),
        (Grant(Proof.HEAD, MediaType.OCI_INDEX), Claim(MediaType.OCI_INDEX, None)),
    ],
)
def test_a_grant_is_passed_on_as_a_claim(access: Grant | Claim, claim: Claim) -> None:
    assert decode_naming(Value.read(encode_naming(access).frame())) == claim


def test_nothing_is_said_of_what_nothing_names() -> None:
    with pytest.raises(NotStored):
        encode_naming(None)


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"type": None},
        {"type": 5, "size": 1},
        {"type": None, "size": -1},
        {"type": None, "size": True},
        {"type": None, "size": "1"},
        {"type": ["a"], "size": None},
    ],
)
def test_what_cannot_be_a_claim_is_none(about: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        decode_naming(Value(about))
