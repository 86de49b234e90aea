"""Which upstream a request means, and which mirrors stand in for it while it is down.

Only configured upstreams can be chosen: nothing that a client sends is ever dialled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.errors import NameUnknown, RangeInvalid, RegistryError, UpstreamFailure
from proxy.oci.reference import Repository, mirrors_of, parse_name
from proxy.telemetry import trace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

T = TypeVar("T")

# Where content came from, as `Cache-Status` and the log say it.
VIA_MIRROR: Final = "mirror"


@dataclass(frozen=True, slots=True)
class Routes:
    """The upstreams by every name that clients may use for them.

    `hubs` are those where a name of one part is one of Docker's own images, `library/NAME`.
    `by_ns`, `by_host` and `by_path` are the parts of a request that may choose the upstream.
    """

    names: Mapping[str, str]
    default: str
    hubs: frozenset[str] = frozenset()
    by_ns: bool = True
    by_host: bool = True
    by_path: bool = True

    def repository(self, addressed: str, *, ns: str | None, host: str) -> Repository:
        """The repository that a client means by `addressed`, the part of the path.

        In this order: containerd's `?ns=` (distribution spec, "Registry Proxying"), the Host
        header if it is an upstream's, the first part of the path if it is, else the default one.
        NameInvalid for a malformed name, NameUnknown for an `ns` that is not configured, or that
        may not choose and contradicts what does.
        """
        parse_name(addressed)
        if ns is None:
            return self._without_ns(addressed, host)
        if ns not in self.names:
            raise NameUnknown(self._unknown(ns))
        if self.by_ns:
            return self._in(self.names[ns], addressed, addressed)
        repository = self._without_ns(addressed, host)
        if repository.registry != self.names[ns]:
            raise NameUnknown(
                f"ns does not choose the upstream here (routing.ns), and {ns[:80]!r} is another one"
            )
        return repository

    def as_written(self, image: str) -> Repository:
        """The repository that an operator writes, `UPSTREAM/NAME` or as in a path.

        In a path no name has a port, but reports show the upstream's name, which may have one.
        """
        first, slash, rest = image.partition("/")
        if slash and ":" in first and first in self.names:
            parse_name(rest)
            return self._in(self.names[first], rest, rest)
        return self.repository(image, ns=None, host="")

    def hint(self, repository: Repository) -> str:
        """Return a hint for errors about `repository`, if its first part looks like a registry.

        It is only a hint, because a registry's own names may look the same.
        """
        first, slash, _ = repository.addressed.partition("/")
        named = self.names.get(first) == repository.registry and self.by_path
        if not slash or named or not ("." in first or ":" in first or first == "localhost"):
            return ""
        return f"; {self._unknown(first)}" if first not in self.names else ""

    def _unknown(self, registry: str) -> str:
        upstreams = ", ".join(dict.fromkeys(self.names.values()))
        return f"{registry[:80]!r} is no upstream of this proxy, which has: {upstreams}"

    def by_host_or_default(self, host: str) -> str:
        """The upstream of a request that names no repository."""
        return self._by_host(host) or self.default

    def _without_ns(self, addressed: str, host: str) -> Repository:
        if (registry := self._by_host(host)) is not None:
            return self._in(registry, addressed, addressed)
        first, _, rest = addressed.partition("/")
        if self.by_path and rest and first in self.names:
            return self._in(self.names[first], rest, addressed)
        return self._in(self.default, addressed, addressed)

    def _by_host(self, host: str) -> str | None:
        if not self.by_host:
            return None
        host = host.lower()
        return self.names.get(host) or self.names.get(host.rpartition(":")[0])

    def _in(self, registry: str, name: str, addressed: str) -> Repository:
        if registry in self.hubs and "/" not in name:
            name = f"library/{name}"
        return Repository(registry, name, addressed)


class Standby:
    """Asks about a repository of a registry, and if that is down, of its mirrors.

    The registry is asked first, always, and what is stored of it is better than what a mirror says
    now: a tag that a mirror names may be older than the copy here. Only a failure that says that
    the registry is down is a reason to ask the mirrors, never a refusal.
    """

    def __init__(self, upstreams: Collection[str] = ()) -> None:
        """`upstreams` are all that can be asked; mirrors are called `mirrors_of` their registry."""
        self._upstreams = frozenset(upstreams)

    def has(self, repository: Repository) -> bool:
        """Whether the repository's registry has mirrors that stand in for it."""
        return mirrors_of(repository.registry) in self._upstreams

    async def ask(self, repository: Repository, ask: Callable[[Repository], Awaitable[T]]) -> T:
        """What `ask` returns for the repository, or for the same one at the mirrors.

        The registry's own failure, if the mirrors cannot answer either: they decide nothing.
        """
        try:
            return await ask(repository)
        except UpstreamFailure as failure:
            if not (failure.is_outage and self.has(repository)):
                raise
            outage = failure
        request = trace.current()
        request.via = VIA_MIRROR
        try:
            return await ask(repository.at_mirrors)
        except RangeInvalid:
            raise
        except RegistryError:
            request.via = ""
            raise outage from None
