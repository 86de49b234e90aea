"""The rules of access that the settings describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.access.principals import Principal, PrincipalKind
from proxy.access.rules import Mode, Rule, Rules

if TYPE_CHECKING:
    from proxy.config import AccessSettings


def rules_of(access: AccessSettings) -> Rules:
    """The rules of the settings."""
    return Rules(
        [
            Rule(Mode(rule.mode), rule.match, rule.users, rule.groups, rule.reason or "")
            for rule in access.rules
        ],
        Rule(Mode(access.mode)),
        groups=access.groups,
    )


def describe_access(rules: Rules, repository: str, tag: str, user: str | None) -> dict[str, Any]:
    """The rule for a repository, as UPSTREAM/NAME, and a tag of it, and whether `user` may pull.

    `may_pull` is None where the registry decides, by the client's own login there.
    """
    rule = rules.of(repository, tag)
    may_pull: bool | None
    match rule.mode:
        case Mode.OPEN:
            may_pull = True
        case Mode.DENY:
            may_pull = False
        case Mode.BASIC:
            may_pull = user is not None and rules.admits(rule, Principal(PrincipalKind.BASIC, user))
        case _:
            may_pull = None
    return {
        "mode": rule.mode,
        "match": rule.match,
        "reason": rule.reason or None,
        "may_pull": may_pull,
    }
