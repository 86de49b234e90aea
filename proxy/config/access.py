"""The settings of access: who may pull what."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from proxy.config.section import Section
from proxy.config.values import Seconds, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterable


class AccessRule(Section):
    """Who may pull from the repositories that match a pattern."""

    match: str = Field(min_length=1)
    mode: Literal["open", "basic", "upstream", "deny"]
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def names_tag(self) -> bool:
        """Whether it is about tags: a colon after the last slash, for an earlier one is a port."""
        _, slash, last = self.match.rpartition("/")
        return bool(slash) and ":" in last

    @model_validator(mode="after")
    def _is_consistent(self) -> AccessRule:
        if self.mode == "deny" and not self.reason:
            raise ValueError("a rule that denies needs a reason, which the client is shown")
        if self.mode != "deny" and self.reason:
            raise ValueError("reason is for mode: deny")
        if self.mode != "basic" and (self.users or self.groups):
            raise ValueError("users and groups are for mode: basic")
        if self.names_tag and self.mode != "deny":
            raise ValueError(
                f"{self.match!r} names a tag, and what a tag names can be pulled by digest, too: "
                "only a rule with mode: deny may name one"
            )
        repository = self.match.rpartition(":")[0] if self.names_tag else self.match
        if repository != repository.lower():
            raise ValueError(f"{self.match!r} has an upper-case letter, which no repository has")
        return self


class IssuerSettings(Section):
    """Who signs tokens of service accounts, which clients send as the password of a login."""

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks_url: str | None = Field(default=None, pattern=r"^https?://[!#-\[\]-~]+$")
    jwks_file: Path | None = None
    ca_file: Path | None = None
    bearer_file: Path | None = None
    groups: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _keys_are_somewhere(self) -> IssuerSettings:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("an issuer's keys are at jwks_url or in jwks_file: set one of them")
        if self.jwks_url is None and (self.ca_file or self.bearer_file):
            raise ValueError("ca_file and bearer_file are for jwks_url")
        return self


class AuditSettings(Section):
    """The audit log of closed repositories, purges and settings."""

    file: Path | None = None
    on_failure: Literal["warn", "refuse"] = "warn"


class AccessSettings(Section):
    """Which clients may pull."""

    mode: Literal["open", "basic", "upstream", "deny"] = "open"
    rules: tuple[AccessRule, ...] = ()
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    htpasswd_file: Path | None = None
    issuers: tuple[IssuerSettings, ...] = ()
    token_key_file: Path | None = None
    realm: str | None = Field(default=None, pattern=r"^https?://[!#-\[\]-~]+$")
    ttl: Timeout = 300.0
    stale_if_error: Seconds = 0.0
    allow_anonymous: bool = False
    allow_plain: bool = False
    audit: AuditSettings = AuditSettings()

    @property
    def modes(self) -> frozenset[str]:
        """Those of all rules."""
        return frozenset({self.mode, *(rule.mode for rule in self.rules)})

    @property
    def is_open(self) -> bool:
        """Whether every client may pull everything."""
        return self.modes == {"open"}

    def may_apply(self, mode: str, upstream: str) -> bool:
        """Whether some repository of the upstream may have a rule of this mode."""
        return self.mode == mode or any(
            rule.mode == mode and begins_with(rule.match, upstream) for rule in self.rules
        )

    def is_open_by_default(self, upstream: str) -> bool:
        """Whether the default mode opens some repository of the upstream: no rule is about all."""
        everything = {"*", f"{upstream}/*"}
        return self.mode == "open" and not any(rule.match in everything for rule in self.rules)

    def mistakes(self, upstreams: Iterable[str]) -> Iterable[tuple[tuple[int | str, ...], str]]:
        """What is wrong with the rules beside these upstreams, each with its place below them."""
        names = list(upstreams)
        for number, rule in enumerate(self.rules):
            if not any(begins_with(rule.match, name) for name in names):
                yield (
                    (number, "match"),
                    (
                        f"{rule.match!r} begins with no upstream; it is compared with "
                        f"UPSTREAM/NAME, and the upstreams are {', '.join(names)}"
                    ),
                )
            for group in rule.groups:
                if group not in self.groups and ":" not in group:
                    yield (number, "groups"), f"{group!r} is not in access.groups"

    @model_validator(mode="after")
    def _files_are_there(self) -> AccessSettings:
        if len({each.issuer for each in self.issuers}) < len(self.issuers):
            raise ValueError("access.issuers has two of one name")
        return self


def begins_with(match: str, upstream: str) -> bool:
    """Whether a pattern may match a repository of the upstream."""
    first, _, _ = match.partition("/")
    # An asterisk crosses the slash, and may be the end of the upstream's name or of more.
    stem, asterisk, _ = first.partition("*")
    return fnmatchcase(upstream, first) or bool(asterisk and fnmatchcase(upstream, f"{stem}*"))
