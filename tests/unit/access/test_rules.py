"""Which rule decides about a repository or a tag, and whom it lets pull."""

from __future__ import annotations

import pytest

from proxy.access.principals import ANONYMOUS, Principal, PrincipalKind
from proxy.access.rules import Mode, Rule, Rules, names_tag
from proxy.oci.reference import mirrors_of

CI = Principal(PrincipalKind.BASIC, "ci")
NODE = Principal(PrincipalKind.CERTIFICATE, "node-7")
POD = Principal(
    PrincipalKind.JWT, "https://k8s#system:serviceaccount:team:app", frozenset({"namespace:team"})
)

RULES = Rules(
    [
        Rule(Mode.DENY, "docker.io/library/node:8*", reason="too old"),
        Rule(Mode.OPEN, "docker.io/library/*"),
        Rule(Mode.BASIC, "docker.io/team/*", users=("ci",)),
        Rule(Mode.UPSTREAM, "*/secret/*"),
        Rule(Mode.DENY, "localhost:5000/*"),
    ],
    Rule(Mode.BASIC),
)


@pytest.mark.parametrize(
    ("repository", "tag", "mode"),
    [
        ("docker.io/library/node", "8.1", Mode.DENY),
        ("docker.io/library/node", "18", Mode.OPEN),
        ("docker.io/library/node", "", Mode.OPEN),
        ("docker.io/team/a/b/c", "1", Mode.BASIC),
        ("docker.io/teams/a", "1", Mode.BASIC),
        ("quay.io/secret/x", "", Mode.UPSTREAM),
        ("quay.io/a/secret/x", "", Mode.UPSTREAM),
        ("localhost:5000/x", "", Mode.DENY),
        ("quay.io/other", "", Mode.BASIC),
    ],
)
def test_the_first_rule_that_matches_decides(repository: str, tag: str, mode: Mode) -> None:
    registry, _, name = repository.partition("/")
    # While a registry is down, its mirrors have what it had: under the same rules.
    at_mirrors = f"{mirrors_of(registry)}/{name}"
    for _ in range(2):
        assert RULES.of(repository, tag).mode is RULES.of(at_mirrors, tag).mode is mode
        assert RULES.is_open(at_mirrors) is RULES.is_open(repository)


@pytest.mark.parametrize(
    ("users", "groups", "principal", "admitted"),
    [
        ((), (), CI, True),
        ((), (), ANONYMOUS, False),
        (("ci",), (), CI, True),
        (("c*",), (), CI, True),
        (("cit",), (), CI, False),
        (("ci",), (), Principal(PrincipalKind.CERTIFICATE, "ci"), False),
        (("certificate:node-*",), (), NODE, True),
        (("*",), (), NODE, False),
        ((), ("developers",), CI, True),
        ((), ("nodes",), CI, False),
        ((), ("nodes",), NODE, True),
        ((), ("namespace:team",), POD, True),
        ((), ("namespace:other",), POD, False),
        (("jwt:https://k8s#system:serviceaccount:team:*",), (), POD, True),
        (("ci",), ("nodes",), NODE, True),
    ],
)
def test_users_and_groups(
    users: tuple[str, ...],
    groups: tuple[str, ...],
    principal: Principal,
    *,
    admitted: bool,
) -> None:
    rule = Rule(Mode.BASIC, users=users, groups=groups)
    groups_of = {"developers": ["ci", "ann"], "nodes": ["certificate:node-*"]}
    assert Rules([rule], groups=groups_of).admits(rule, principal) is admitted


def test_a_colon_after_the_last_slash_begins_a_tag() -> None:
    assert names_tag("docker.io/a:1")
    assert not names_tag("localhost:5000/a")
    assert not names_tag("localhost:5000*")


def test_without_rules_there_is_nothing_to_decide() -> None:
    assert Rules().all_open
    assert not RULES.all_open
    assert RULES.want_logins
    assert RULES.ask_upstreams
    assert not Rules([Rule(Mode.DENY, reason="x")]).want_logins


def test_rules_become_others_whole() -> None:
    rules = Rules([Rule(Mode.DENY, "docker.io/a:1", reason="x")])
    assert rules.of("docker.io/a", "1").mode is Mode.DENY
    rule = Rule(Mode.BASIC, groups=("developers",))
    rules.adopt(Rules([rule], Rule(Mode.DENY, reason="y"), groups={"developers": ["ann"]}))
    assert rules.of("docker.io/a", "1") == rule
    assert rules.admits(rule, Principal(PrincipalKind.BASIC, "ann"))
    assert rules.want_logins
    rules.adopt(Rules())
    assert rules.all_open
    assert rules.of("docker.io/a", "1").is_open
