"""All that a manifest names, fetched as a client does it, and verified."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tests.kit.images import digest
from tests.kit.raw_http import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Iterator


def closure(repository: str, manifest: Answer) -> dict[str, bytes]:
    """What `manifest` names, and what that names in turn, by digest.

    `repository` is a URL such as `http://HOST:PORT/v2/NAME`. AssertionError if anything is
    missing, or is not what the descriptor says.
    """
    document = json.loads(manifest.body)
    found = {}
    for entry in document.get("fsLayers", ()):
        found[entry["blobSum"]] = _verified(f"{repository}/blobs", entry["blobSum"]).body
    for part in _parts(document):
        body = _verified(f"{repository}/blobs", part["digest"]).body
        assert len(body) == part["size"]
        found[part["digest"]] = body
    for entry in document.get("manifests", ()):
        child = _verified(f"{repository}/manifests", entry["digest"], accept=entry["mediaType"])
        assert len(child.body) == entry["size"]
        assert child.headers["Content-Type"] == entry["mediaType"]
        found |= {entry["digest"]: child.body, **closure(repository, child)}
    assert found, "it names nothing"
    return found


def _parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "config" in document:
        yield document["config"]
    yield from document.get("layers", ())


def _verified(folder: str, named: str, *, accept: str = "") -> Answer:
    answer = ask(f"{folder}/{named}", headers=[("Accept", accept)] if accept else [])
    if answer.status == HTTPStatus.TEMPORARY_REDIRECT:
        answer = ask(answer.headers["Location"])
    assert (answer.status, digest(answer.body)) == (200, named), f"{folder}/{named}"
    return answer
