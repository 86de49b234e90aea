"""Digests that the registry has named, as other replicas know: one may have the manifest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.errors import RegistryError
from proxy.peers.answers import NotStored, Value
from proxy.peers.client import PeerFailed
from proxy.peers.questions import Effort, Question, Subject
from proxy.ports.catalog import Claim

if TYPE_CHECKING:
    from proxy.oci.reference import Digest
    from proxy.peers.replicas import Replicas
    from proxy.ports.catalog import Grant

# So many replicas are asked at once.
_ASKED: Final = 8


async def ask_for_naming(
    replicas: Replicas, registry: str, name: str, digest: Digest
) -> Claim | None:
    """What a manifest names the digest as in the repository, where another replica has that."""
    question = Question(Subject.NAMING, registry, name, digest, effort=Effort.STORED)

    async def ask(address: str) -> Claim | None:
        try:
            return await replicas.ask(address, question, decode_naming)
        except (PeerFailed, NotStored, RegistryError):
            return None

    found = await asyncio.gather(*map(ask, replicas.others(question.key, _ASKED)))
    return next((claim for claim in found if claim is not None), None)


def encode_naming(access: Grant | Claim | None) -> Value:
    """The answer to such a question; NotStored if nothing names the digest."""
    if access is None:
        raise NotStored
    return Value(
        {
            "type": access.media_type,
            "size": access.size if isinstance(access, Claim) else None,
        }
    )


def decode_naming(value: Value) -> Claim:
    """The claim in an answer; ValueError or KeyError if there is none."""
    media_type, size = value.about["type"], value.about["size"]
    if not isinstance(media_type, str | None) or not (
        size is None or (type(size) is int and size >= 0)
    ):
        raise ValueError("it does not say what is named")
    return Claim(media_type, size)
