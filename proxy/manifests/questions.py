"""Questions of operators about an image, as they write its name; the answers as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from proxy.errors import ManifestUnknown, RequestInvalid
from proxy.manifests.preview import Answered, Refused
from proxy.oci.clients import CLIENTS
from proxy.oci.headers.accept import Accept
from proxy.oci.manifest import Image, Index, Schema1
from proxy.oci.mediatype import form_of
from proxy.oci.reference import Digest, Tag, parse_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.catalog.routing import Routes
    from proxy.manifests.preview import Explanation, Inspection, Made, Preview
    from proxy.oci.manifest import Manifest
    from proxy.oci.reference import Repository

# The rule for UPSTREAM/NAME and a tag ("" for a digest), and what it means for a user.
DescribeAccess: TypeAlias = "Callable[[str, str, str | None], dict[str, Any]]"

_LATEST: Final = Tag("latest")


class Questions:
    """Answers them, without asking any upstream or storing anything."""

    def __init__(self, routes: Routes, preview: Preview, access: DescribeAccess) -> None:
        """`access` says which rule is for a repository, and whether a user may pull there."""
        self._routes = routes
        self._preview = preview
        self._access = access

    async def explain(
        self,
        image: str,
        *,
        client: str | None = None,
        accept: Sequence[str] | None = None,
        user: str | None = None,
    ) -> dict[str, Any]:
        """How a request would be answered now: of a known `client`, or with lines of `accept`.

        With neither, as containerd would ask. `user` is one of the htpasswd file. RegistryError for
        a name or a client that is none.
        """
        repository, reference = self._parse(image)
        name = client or "containerd"
        if accept is None and name not in CLIENTS:
            raise RequestInvalid(f"there is no client {name[:80]!r}; known: {', '.join(CLIENTS)}")
        lines = tuple(CLIENTS[name] if accept is None else accept)
        if any(not line.isprintable() for line in lines):
            raise RequestInvalid("an Accept header has no line breaks or control characters")
        found = await self._preview.explain(repository, reference, Accept.parse(lines))
        asker = name if accept is None else None
        tag = "" if isinstance(reference, Digest) else reference
        access = self._access(str(repository), tag, user)
        asked = {"client": asker, "accept": list(lines), "user": user}
        note = self._routes.hint(repository).removeprefix("; ") or None
        return {**_explanation(found), **asked, "access": access, "note": note}

    async def inspect(self, image: str) -> dict[str, Any]:
        """What is stored, and every representation; ManifestUnknown if nothing is."""
        repository, reference = self._parse(image)
        found = await self._preview.inspect(repository, reference)
        if found is None:
            mark = "@" if isinstance(reference, Digest) else ":"
            hint = self._routes.hint(repository)
            raise ManifestUnknown(f"{repository}{mark}{reference} is not cached{hint}")
        return _inspection(found)

    def _parse(self, image: str) -> tuple[Repository, Digest | Tag]:
        addressed, reference = parse_image(image)
        repository = self._routes.as_written(addressed)
        return repository, _LATEST if reference is None else reference


def _explanation(found: Explanation) -> dict[str, Any]:
    result: dict[str, Any]
    match found.result:
        case Answered(media_type, digest, rule, source):
            result = {
                "type": media_type,
                "form": form_of(media_type),
                "digest": digest,
                "rule": rule,
                "converted_from": source,
            }
        case Refused(code, message):
            result = {"code": code, "message": message}
        case _:
            result = {}
    return {
        "upstream": found.repository.registry,
        "repository": found.repository.name,
        "reference": found.reference,
        "state": found.state,
        "calls": list(found.calls),
        "representation": result or None,
    }


def _inspection(found: Inspection) -> dict[str, Any]:
    return {
        "upstream": found.repository.official.registry,
        "repository": found.repository.name,
        "reference": found.reference,
        "from_mirrors": found.repository.is_at_mirrors,
        "stored": _describe_stored(found.manifest),
        "representations": [_describe_representation(each) for each in found.representations],
    }


def _describe_stored(manifest: Manifest) -> dict[str, Any]:
    """Return what the manifest states about its content, which need not be true."""
    about: dict[str, Any] = {
        "type": manifest.media_type,
        "form": form_of(manifest.media_type),
        "digest": manifest.digest,
        "size": len(manifest.raw),
    }
    match manifest:
        case Image():
            about["layers"] = [
                {"digest": layer.digest, "type": layer.media_type, "size": layer.size}
                for layer in manifest.layers
            ]
        case Index():
            about["manifests"] = [
                {
                    "digest": entry.digest,
                    "type": entry.media_type,
                    "platform": None if entry.platform is None else str(entry.platform),
                }
                for entry in manifest.manifests
            ]
        case Schema1():
            about["layers"] = [{"digest": layer} for layer in manifest.references]
        case _:
            pass
    return about


def _describe_representation(made: Made) -> dict[str, Any]:
    return {
        "type": made.media_type or None,
        "form": form_of(made.media_type) or None,
        "digest": made.digest,
        "exists": made.exists,
        "serves": list(made.serves),
        "reason": made.reason or None,
    }
