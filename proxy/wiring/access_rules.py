"""The rules of access that the settings describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
