"""What a request's path means: names are parsed here, and a bad one goes no further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qs, unquote

from proxy.errors import ManifestUnknown, NameInvalid, NameUnknown, Unsupported
from proxy.oci.reference import Digest, Repository, Tag, parse_reference

if TYPE_CHECKING:
    from proxy.service.routing import Routes

# distribution spec, "API". A name may have a part called `blobs`: the last one counts.
_KINDS: Final = ("manifests", "blobs", "tags", "referrers")


@dataclass(frozen=True, slots=True)
class Ping:
    """`/v2/`: is this a registry?"""

    route = "ping"


@dataclass(frozen=True, slots=True)
class ManifestTarget:
    """A manifest by tag or digest."""

    repository: Repository
    reference: Digest | Tag
    ns: str | None
    route = "manifest"


@dataclass(frozen=True, slots=True)
class BlobTarget:
    """A blob."""

    repository: Repository
    digest: Digest
    ns: str | None
    route = "blob"


Target: TypeAlias = Ping | ManifestTarget | BlobTarget


def parse_target(path: str, host: str, routes: Routes) -> Target:
    """The target of a request line's `path`, query and all.

    NameInvalid, TagInvalid or DigestInvalid for what is malformed, NameUnknown for what this
    registry has not, Unsupported for what a pull-through proxy does not do.
    """
    path, _, query = path.partition("?")
    if path in {"/v2", "/v2/"}:
        return Ping()
    if not path.startswith("/v2/"):
        raise NameUnknown(_elsewhere(path))
    if path.rstrip("/") == "/v2/_catalog":
        raise Unsupported("a pull-through proxy has no catalogue of its own")
    name, kind, rest = _split(path.removeprefix("/v2/"))
    ns = parse_qs(query).get("ns", [None])[-1] if query else None
    if kind == "blobs" and rest.partition("/")[0] == "uploads":
        raise Unsupported("a pull-through proxy takes no pushes")
    # The name is taken as it stands: no character of a valid one needs an escape, and `%2f` or
    # `..` must not become part of a path.
    repository = routes.repository(name, ns=ns, host=host)
    match kind:
        case "manifests":
            return ManifestTarget(repository, parse_reference(unquote(rest)), ns)
        case "blobs":
            return BlobTarget(repository, Digest(unquote(rest)), ns)
        case _:
            raise ManifestUnknown("this registry does not answer that yet")


def _split(path: str) -> tuple[str, str, str]:
    at, kind = max((path.rfind(f"/{kind}/"), kind) for kind in _KINDS)
    if at < 0:
        raise NameInvalid("the path names no manifest and no blob of a repository")
    return path[:at], kind, path[at + len(kind) + 2 :]


def _elsewhere(path: str) -> str:
    if path.startswith("/v1"):
        return (
            "this is a registry of the v2 API; the v1 API was retired, use a docker of 1.6 or later"
        )
    return "this is a container registry: its API is below /v2/"
