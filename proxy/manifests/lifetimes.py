"""For how long a tag is believed: by rules, of which the first that fits is taken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING, Final

from proxy.kit.lru import LruCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.oci.reference import Repository, Tag

# For what was decided before, and what a decision costs, in bytes.
_MEMORY: Final = 2**20
_COST: Final = 512


@dataclass(frozen=True, slots=True)
class Lifetime:
    """All in seconds.

    Within `ttl` a tag is believed. Within `revalidate` after that, which is never more than
    another `ttl`, the old answer is given while the upstream is asked; and within `if_error`
    after the `ttl`, when the upstream fails.
    """

    ttl: float
    stale_if_error: float
    revalidate: float = 0.0

    def is_fresh(self, age: float) -> bool:
        """Whether a tag that was checked `age` seconds ago is believed.

        A clock that was set back must neither make tags immortal, nor all of them stale at once.
        """
        return -self.ttl < age < self.ttl

    def may_revalidate_in_background(self, age: float) -> bool:
        """Whether the old answer is good enough while the upstream is asked."""
        return age < self.ttl + min(self.revalidate, self.ttl)

    def may_serve_stale_on_error(self, age: float) -> bool:
        """Whether the old answer is better than an error."""
        return age < self.ttl + self.stale_if_error


class Lifetimes:
    """The lifetime of each tag."""

    def __init__(
        self,
        default: Lifetime,
        rules: Sequence[tuple[str, Lifetime]] = (),
        *,
        revalidation_timeout: float = 0.0,
    ) -> None:
        """`rules` are patterns as the shell has them, for `registry/name:tag` or `name:tag`.

        `revalidation_timeout`: how long a request waits for the upstream if a stale copy exists, in
        seconds.
        """
        self.default = default
        self.revalidation_timeout = revalidation_timeout
        self._rules = [(re.compile(translate(pattern)), life) for pattern, life in rules]
        self._decided: LruCache[tuple[str, str, str], Lifetime] = LruCache(_MEMORY)

    def adopt(self, others: Lifetimes) -> None:
        """Be like others from now on, for all who know this one."""
        self.default, self.revalidation_timeout, self._rules = (
            others.default,
            others.revalidation_timeout,
            others._rules,
        )
        self._decided.clear()

    def of(self, repository: Repository, tag: Tag) -> Lifetime:
        """What the first rule that fits says."""
        if not self._rules:
            return self.default
        key = (repository.registry, repository.name, tag)
        life = self._decided.get(key)
        if life is None:
            life = self._decide(f"{repository.name}:{tag}", repository.registry)
            self._decided.put(key, life, _COST)
        return life

    def _decide(self, reference: str, registry: str) -> Lifetime:
        for pattern, life in self._rules:
            if pattern.fullmatch(reference) or pattern.fullmatch(f"{registry}/{reference}"):
                return life
        return self.default
