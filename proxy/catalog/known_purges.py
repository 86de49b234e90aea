"""What a replica knows of purges: the newest ones, and a sum over all older ones. PURE.

The older ones are not needed any more where all replicas have done them. Whether that is so shows
their sum: a replica that was away, and gets another one for the purges that it knows, has missed
some that nobody can name any more.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from proxy.errors import RegistryError
from proxy.oci.reference import Digest, Repository, Tag, parse_name

if TYPE_CHECKING:
    from collections.abc import Iterable

# So many purges are known one by one. Each takes up to 500 bytes, and its digests 75 bytes each.
MOST: Final = 500
_MOST_DIGESTS: Final = 20_000
_MODULUS: Final = 2**128
_TOTAL: Final = re.compile("[0-9a-f]{32}")
# Of clocks that go wrong by more than replicas take from each other, in seconds.
_LATER: Final = 0.001
# What a purge is about, if it is no tag.
ALL_TAGS: Final = "*"
LISTINGS: Final = ""


@dataclass(frozen=True, slots=True, order=True)
class Purged:
    """One purge: when (seconds since 1970), and of what. `tag` may be ALL_TAGS or LISTINGS.

    `content` are the digests to remove; None where content stays.
    """

    at: float
    registry: str
    name: str
    tag: str
    content: frozenset[Digest] | None = field(default=None, compare=False)

    @property
    def repository(self) -> Repository:
        """The repository that was purged."""
        return Repository(self.registry, self.name, self.name)

    @property
    def summand(self) -> int:
        """A number that no other purge has."""
        encoded = json.dumps([self.at, self.registry, self.name, self.tag]).encode()
        return int.from_bytes(hashlib.sha256(encoded).digest()[:16])

    def encode(self) -> list[object]:
        """The value for JSON."""
        fixed: list[object] = [self.at, self.registry, self.name, self.tag]
        return fixed if self.content is None else [*fixed, sorted(self.content)]

    @classmethod
    def read(cls, value: Any) -> Self:
        """The purge in a JSON value; ValueError if there is none."""
        match value:
            case [int(at) | float(at), str(registry), str(name), str(tag), *more]:
                try:
                    parse_name(name)
                    if tag not in {ALL_TAGS, LISTINGS}:
                        Tag(tag)
                    content = _read_content(more)
                except RegistryError as error:
                    raise ValueError(error.message) from None
                return cls(float(at), registry, name, tag, content)
        raise ValueError("it is no purge")


@dataclass(frozen=True, slots=True, order=True)
class Sum:
    """Over purges until `at` (seconds since 1970): that of their summands."""

    at: float
    summand: int

    def encode(self) -> list[object]:
        """The value for JSON."""
        return [self.at, f"{self.summand:032x}"]


# Over no purge.
NO_SUM: Final = Sum(float("-inf"), 0)


@dataclass(frozen=True, slots=True)
class KnownPurges:
    """The newest purges, and the sum over all that were known before them."""

    purges: frozenset[Purged] = frozenset()
    older: Sum = NO_SUM

    def encode(self) -> list[Any]:
        """The value for JSON."""
        older = [] if self.older == NO_SUM else [self.older.encode()]
        return [*older, *(each.encode() for each in sorted(self.purges))]

    @classmethod
    def read(cls, value: Any) -> Self:
        """What is in a JSON value; ValueError if it is anything else."""
        match value:
            case [[int(at) | float(at), str(total)], *purges] if _TOTAL.fullmatch(total):
                older = Sum(float(at), int(total, 16))
            case [*purges]:
                older = NO_SUM
            case _:
                raise ValueError("it is no list of purges")
        if len(purges) > MOST:
            raise ValueError("it is no list of purges")
        return cls(frozenset(map(Purged.read, purges)), older)

    @property
    def mark(self) -> str:
        """A mark that differs where what is known does."""
        return hashlib.sha256(json.dumps(self.encode()).encode()).hexdigest()[:32]

    def after(self, moment: float) -> float:
        """The moment, or one that is later than the sum: the time of a purge that is done now."""
        return max(moment, self.older.at + _LATER)

    def add(self, purges: Iterable[Purged]) -> KnownPurges:
        """The same with these besides. Within the bounds: the oldest become part of the sum."""
        newest = sorted(self.purges.union(purges), reverse=True)
        both = KnownPurges(frozenset(newest), self.older)
        folded = newest[_fitting(newest) :]
        if not folded:
            return both
        last = folded[0].at
        return both._with_sum(Sum(last, both._summand_until(last)))

    def compare(self, told: KnownPurges) -> Comparison:
        """What another replica knows that is not known here."""
        has_gap, mine = False, self
        if told.older > self.older:
            has_gap = self._summand_until(told.older.at) != told.older.summand
            mine = self._with_sum(told.older)
        missed = {each for each in told.purges - mine.purges if each.at > mine.older.at}
        return Comparison(frozenset(missed), has_gap, mine.add(missed))

    def _summand_until(self, at: float) -> int:
        known = sum(each.summand for each in self.purges if each.at <= at)
        return (self.older.summand + known) % _MODULUS

    def _with_sum(self, older: Sum) -> KnownPurges:
        """The same with this sum in place of all until then."""
        return KnownPurges(frozenset(each for each in self.purges if each.at > older.at), older)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a replica has missed, and what it knows when it has done it.

    With a gap it has missed others besides, which cannot be named any more.
    """

    missed: frozenset[Purged]
    has_gap: bool
    known: KnownPurges


def _fitting(newest: list[Purged]) -> int:
    """How many of the purges are within the bounds: at least one."""
    digests = 0
    for number, each in enumerate(newest[:MOST]):
        digests += len(each.content or ())
        if number and digests > _MOST_DIGESTS:
            return number
    return MOST


def _read_content(more: list[Any]) -> frozenset[Digest] | None:
    match more:
        case []:
            return None
        case [list(digests)] if len(digests) <= _MOST_DIGESTS:
            return frozenset(Digest(str(digest)) for digest in digests)
    raise ValueError("it is no purge")
