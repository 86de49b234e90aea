"""Which upstream a request means. A closed world: nothing that a client sends is ever dialled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.errors import NameUnknown
from proxy.oci.reference import Repository, parse_name

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Routes:
    """The upstreams by every name that clients may use for them.

    `hubs` are those where a name of one part is one of Docker's own images, `library/NAME`.
    """

    names: Mapping[str, str]
    default: str
    hubs: frozenset[str] = frozenset()

    def repository(self, addressed: str, *, ns: str | None, host: str) -> Repository:
        """The repository that a client means by `addressed`, the part of the path.

        In this order: containerd's `?ns=` (distribution spec, "Registry Proxying"), the Host
        header if it is an upstream's, the first part of the path if it is, else the default one.
        NameInvalid for a malformed name, NameUnknown for an `ns` that is not configured.
        """
        parse_name(addressed)
        if ns is not None:
            if ns not in self.names:
                raise NameUnknown(f"this proxy does not stand in front of {ns[:80]!r}")
            return self._in(self.names[ns], addressed, addressed)
        if (registry := self._by_host(host)) is not None:
            return self._in(registry, addressed, addressed)
        first, _, rest = addressed.partition("/")
        if rest and first in self.names:
            return self._in(self.names[first], rest, addressed)
        return self._in(self.default, addressed, addressed)

    def _by_host(self, host: str) -> str | None:
        host = host.lower()
        return self.names.get(host) or self.names.get(host.rpartition(":")[0])

    def _in(self, registry: str, name: str, addressed: str) -> Repository:
        if registry in self.hubs and "/" not in name:
            name = f"library/{name}"
        return Repository(registry, name, addressed)
