"""The rules that say who may pull what. PURE.

Patterns are compared with the one canonical name of a repository, UPSTREAM/NAME, whatever alias,
prefix, `ns` or Host a client has used. A pattern that names a tag, UPSTREAM/NAME:TAG, is compared
with requests by that tag only: a digest is no tag, so only a `deny` may name one. What the mirrors
of a registry have while it is down is under the rules of the registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from typing import TYPE_CHECKING, Final

from proxy.access.principals import PrincipalKind
from proxy.kit.lru import LruCache
from proxy.oci.reference import official_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.access.principals import Principal

# For decisions that were made before, and what one costs, in bytes.
_MEMORY: Final = 2**20
_COST: Final = 512


class Mode(StrEnum):
    """What a rule asks of a client."""

    OPEN = "open"
    BASIC = "basic"
    UPSTREAM = "upstream"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `users` and `groups` are for `basic`: with neither, every known client may pull.

    A user without a kind is one of the htpasswd file; others are `jwt:ISSUER#SUBJECT` and
    `certificate:NAME`. All are patterns, as `match` is.
    """

    mode: Mode
    match: str = "*"
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether every client may pull."""
        return self.mode is Mode.OPEN


class Rules:
    """All rules: the first that matches counts, and `default` where none does. They can change."""

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        default: Rule = Rule(Mode.OPEN),
        *,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`groups` are members by the name of their group; a member is written as a user is."""
        self._set(tuple(rules), default, groups or {})

    def adopt(self, other: Rules) -> None:
        """Be what `other` is, from now on."""
        self._set(other._given, other._default, other._members)

    def _set(
        self, rules: tuple[Rule, ...], default: Rule, members: Mapping[str, Sequence[str]]
    ) -> None:
        self._given, self._default, self._members = rules, default, members
        self._rules = [(re.compile(translate(rule.match)), rule) for rule in rules]
        self._tagged = any(names_tag(rule.match) for rule in rules)
        self._modes = {default.mode, *(rule.mode for rule in rules)}
        self._groups = {name: _patterns(each) for name, each in members.items()}
        self._users: dict[Rule, tuple[re.Pattern[str], ...]] = {
            rule: _patterns(rule.users) for rule in (default, *rules)
        }
        self._decided: LruCache[tuple[str, str], Rule] = LruCache(_MEMORY)

    @property
    def all_open(self) -> bool:
        """Whether there is nothing to decide."""
        return self._modes == {Mode.OPEN}

    @property
    def want_logins(self) -> bool:
        """Whether some repository can be pulled with a login only."""
        return bool(self._modes & {Mode.BASIC, Mode.UPSTREAM})

    @property
    def ask_upstreams(self) -> bool:
        """Whether some logins are for an upstream to check."""
        return Mode.UPSTREAM in self._modes

    def of(self, repository: str, tag: str = "") -> Rule:
        """The rule for `repository`, as UPSTREAM/NAME, and for one of its tags."""
        key = (repository, tag if self._tagged else "")
        rule = self._decided.get(key)
        if rule is None:
            rule = self._decide(*key)
            self._decided.put(key, rule, _COST)
        return rule

    def is_open(self, repository: str) -> bool:
        """Whether everybody may read all of the repository, as UPSTREAM/NAME."""
        return self.all_open or self.of(repository).is_open

    def admits(self, rule: Rule, principal: Principal) -> bool:
        """Whether a `basic` rule lets the principal pull."""
        if principal.kind is PrincipalKind.ANONYMOUS:
            return False
        if not rule.users and not rule.groups:
            return True
        name = str(principal)
        if any(pattern.fullmatch(name) for pattern in self._users[rule]):
            return True
        return any(
            group in principal.groups
            or any(pattern.fullmatch(name) for pattern in self._groups.get(group, ()))
            for group in rule.groups
        )

    def _decide(self, repository: str, tag: str) -> Rule:
        repository = official_name(repository)
        tagged = f"{repository}:{tag}"
        for pattern, rule in self._rules:
            if names_tag(rule.match):
                if tag and pattern.fullmatch(tagged):
                    return rule
            elif pattern.fullmatch(repository):
                return rule
        return self._default


def names_tag(match: str) -> bool:
    """Whether a pattern names a tag: a colon after the last slash, for an earlier one is a port."""
    _, slash, last = match.rpartition("/")
    return bool(slash) and ":" in last


def _patterns(users: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(
        re.compile(translate(user if ":" in user else f"{PrincipalKind.BASIC}:{user}"))
        for user in users
    )
