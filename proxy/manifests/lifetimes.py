"""The lifetime of each tag: by rules, of which the first that matches counts."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.manifests.freshness import Lifetime
    from proxy.oci.reference import Repository, Tag

# For decisions that were made before, and what one costs, in bytes.
_MEMORY: Final = 2**20
_COST: Final = 512


class Lifetimes:
    """Finds each tag's lifetime. Listings have the default one."""

    def __init__(
        self,
        default: Lifetime,
        rules: Sequence[tuple[str, Lifetime]] = (),
        *,
        revalidation_timeout: float = 0.0,
        keep_deleted: bool = False,
    ) -> None:
        """`rules` are patterns as the shell has them, for `registry/name:tag` or `name:tag`.

        `revalidation_timeout`: how long a request waits for the upstream if a stale copy exists, in
        seconds. `keep_deleted`: a tag that its upstream has deleted is served stale, too.
        """
        self.default = default
        self.keep_deleted = keep_deleted
        self.revalidation_timeout = revalidation_timeout
        self._rules = [(re.compile(translate(pattern)), life) for pattern, life in rules]
        self._decided: LruCache[tuple[str, str, str], Lifetime] = LruCache(_MEMORY)

    def adopt(self, others: Lifetimes) -> None:
        """Have the rules of `others` from now on, for everything that uses this object."""
        self.default, self._rules = others.default, others._rules
        self.revalidation_timeout = others.revalidation_timeout
        self.keep_deleted = others.keep_deleted
        self._decided.clear()

    def of(self, repository: Repository, tag: Tag) -> Lifetime:
        """What the first rule that matches says."""
        if not self._rules:
            return self.default
        key = (repository.registry, repository.name, tag)
        life = self._decided.get(key)
        if life is None:
            life = self._decide(f"{repository.name}:{tag}", repository.official.registry)
            self._decided.put(key, life, _COST)
        return life

    def _decide(self, reference: str, registry: str) -> Lifetime:
        for pattern, life in self._rules:
            if pattern.fullmatch(reference) or pattern.fullmatch(f"{registry}/{reference}"):
                return life
        return self.default
