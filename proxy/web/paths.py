"""Request paths, parsed into targets with validated names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qsl, unquote

from proxy.errors import (
    NameInvalid,
    NameUnknown,
    PaginationInvalid,
    RegistryError,
    RequestInvalid,
    Unsupported,
)
from proxy.oci.headers.link import canonical
from proxy.oci.reference import Digest, Repository, Tag, parse_reference

if TYPE_CHECKING:
    from proxy.catalog.routing import Routes

# distribution spec, "API". A name may have a part called `blobs`: the last one counts.
_KINDS: Final = ("manifests", "blobs", "tags", "referrers")
_MAX_PARAMETERS: Final = 16
_MAX_DIGITS: Final = 9
# A host and at most one port. With a trailing dot, userinfo or a second port, a proxy with access
# rules in front could mean another host.
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]*[A-Za-z0-9_-])?(:[0-9]{0,5})?")
# The one escape that a registry's name needs in a query.
_COLON: Final = re.compile("%3a", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ping:
    """`/v2/`, the API version check."""

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


@dataclass(frozen=True, slots=True)
class TagsTarget:
    """A page of a repository's tags. `query` is the part of the query that is sent upstream."""

    repository: Repository
    query: str
    path: str
    ns: str | None
    route = "tags"


@dataclass(frozen=True, slots=True)
class ReferrersTarget:
    """A page of a manifest's referrers."""

    repository: Repository
    digest: Digest
    artifact_type: str | None
    query: str
    path: str
    ns: str | None
    route = "referrers"


@dataclass(frozen=True, slots=True)
class TokenTarget:
    """The token endpoint."""

    route = "token"


@dataclass(frozen=True, slots=True)
class RetiredTarget:
    """A path of the v1 API, which old dockers ask about `repository` after a refusal."""

    repository: Repository | None
    route = "other"


RepositoryTarget: TypeAlias = ManifestTarget | BlobTarget | TagsTarget | ReferrersTarget
Target: TypeAlias = (
    Ping | ManifestTarget | BlobTarget | TagsTarget | ReferrersTarget | RetiredTarget
)


def parse_target(path: str, host: str, routes: Routes) -> Target:
    """Parse a request line's `path`, query included.

    RequestInvalid for a `host` or `ns` that could be read in two ways; NameInvalid, TagInvalid or
    DigestInvalid for a malformed path; NameUnknown for an unknown repository or endpoint;
    Unsupported for operations that a pull-through proxy does not have.
    """
    path, _, query = path.partition("?")
    path, host = _origin_form(path, host)
    if path in {"/v2", "/v2/"}:
        return Ping()
    if path.startswith("/v1/"):
        return RetiredTarget(_v1_repository(path, host, routes))
    if not path.startswith("/v2/"):
        raise NameUnknown("this is a container registry: its API is below /v2/")
    if path.rstrip("/") == "/v2/_catalog":
        raise Unsupported("a pull-through proxy has no catalogue of its own")
    name, kind, rest = _split(path.removeprefix("/v2/"))
    ns = _ns(query)
    parameters = _parameters(query)
    parameters.pop("ns", None)
    if kind == "blobs" and rest.partition("/")[0] == "uploads":
        raise Unsupported("a pull-through proxy takes no pushes")
    # The name is not unquoted: valid names need no escapes, and `%2f` or `..` must not become part
    # of a path.
    repository = routes.repository(name, ns=ns, host=host)
    match kind:
        case "manifests":
            return ManifestTarget(repository, parse_reference(unquote(rest)), ns)
        case "blobs":
            return BlobTarget(repository, Digest(unquote(rest)), ns)
        case "tags" if rest == "list":
            return TagsTarget(repository, _paging(query, parameters), path, ns)
        case "referrers":
            digest, artifact_type = Digest(unquote(rest)), parameters.get("artifactType")
            return ReferrersTarget(repository, digest, artifact_type, canonical(query), path, ns)
        case _:
            raise NameUnknown("a repository has manifests, blobs, tags/list and referrers")


def _origin_form(target: str, host: str) -> tuple[str, str]:
    """Path and host of a target; every server must also accept its absolute form.

    (RFC 9112, 3.2.2.) The host is only compared with those of the settings. RequestInvalid if it is
    not HOST or HOST:PORT.
    """
    _, absolute, rest = target.partition("://")
    if absolute and not target.startswith("/"):
        host, slash, rest = rest.partition("/")
        target = slash + rest
    if not _HOST.fullmatch(host):
        raise RequestInvalid("the Host is not HOST or HOST:PORT")
    return target, host


def _split(path: str) -> tuple[str, str, str]:
    at, kind = max((path.rfind(f"/{kind}/"), kind) for kind in _KINDS)
    if at < 0:
        raise NameInvalid("the path names no manifest and no blob of a repository")
    return path[:at], kind, path[at + len(kind) + 2 :]


def _parameters(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=_MAX_PARAMETERS))
    except ValueError:
        raise NameInvalid("the query has too many parameters") from None


def _ns(query: str) -> str | None:
    """The upstream that containerd names (distribution spec, "Registry Proxying").

    RequestInvalid if it is there twice, or has any escape but that of a colon: what stands in front
    of this proxy could read another name.
    """
    if "ns" not in unquote(query):
        return None
    found: list[str] = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if unquote(name.replace("+", " ")).strip() == "ns":
            found.append("%" if name != "ns" else _COLON.sub(":", value))
    if len(found) > 1:
        raise RequestInvalid("the query has ns twice")
    if any("%" in value or "+" in value for value in found):
        raise RequestInvalid("ns is the name of a registry, with no escape but %3A")
    return next(iter(found), "") or None


def _paging(query: str, parameters: dict[str, str]) -> str:
    """The query to send; PaginationInvalid for an `n` that is no number."""
    n = parameters.get("n")
    if n is not None and not (n.isascii() and n.isdigit() and len(n) <= _MAX_DIGITS):
        raise PaginationInvalid("n is the number of tags that a page should have")
    return canonical(query)


def _v1_repository(path: str, host: str, routes: Routes) -> Repository | None:
    """The repository of `/v1/repositories/NAME/images`; None for any other path of the v1 API."""
    name = path.removeprefix("/v1/repositories/").removesuffix("/images")
    if path != f"/v1/repositories/{name}/images":
        return None
    try:
        return routes.repository(name, ns=None, host=host)
    except RegistryError:
        return None
