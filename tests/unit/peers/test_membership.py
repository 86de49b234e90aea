"""Who is asked, who is left out, and who is probed."""

from __future__ import annotations

import pytest

from proxy.peers.membership import Membership, Reason
from proxy.report.replicas import PeerState, combine

OWN, ONE, TWO = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"


def first(addresses: object, count: int) -> list[str]:
    return sorted(addresses)[:count]  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def members() -> Membership:
    membership = Membership()
    membership.discover([OWN, ONE, TWO], OWN, now=10.0)
    return membership


def test_all_are_live_at_first(members: Membership) -> None:
    assert sorted(members.live()) == [OWN, ONE, TWO]
    assert members.states() == {ONE: None, TWO: None}


def test_own_address_is_a_member_though_nobody_has_named_it(members: Membership) -> None:
    members.discover([ONE], OWN, now=20.0)
    assert sorted(members.live()) == [OWN, ONE]


def test_one_that_failed_is_left_out_until_a_probe_succeeds(members: Membership) -> None:
    assert members.leave_out(ONE, Reason.SILENT, now=100.0)
    assert ONE not in members.live()
    assert members.states()[ONE] is Reason.SILENT
    assert ONE not in members.due(100.0, first)
    assert ONE in members.due(101.0, first)
    assert members.confirm(ONE, 101.0)
    assert ONE in members.live()


def test_it_is_told_once(members: Membership) -> None:
    assert members.leave_out(ONE, Reason.SILENT, now=100.0)
    assert not members.leave_out(ONE, Reason.SILENT, now=100.0)
    assert members.confirm(ONE, 200.0)
    assert not members.confirm(ONE, 200.0)


def test_probes_become_rarer(members: Membership) -> None:
    now = 100.0
    for _ in range(20):
        members.leave_out(ONE, Reason.REFUSED, now)
    assert ONE not in members.due(now + 5.0, first)
    assert ONE in members.due(now + 15.0, first)


@pytest.mark.parametrize("reason", [Reason.LYING, Reason.FORMAT])
def test_one_that_lies_is_not_taken_back_at_once(members: Membership, reason: Reason) -> None:
    members.leave_out(ONE, reason, now=100.0)
    assert not members.hasten(ONE)
    assert not members.confirm(ONE, 130.0)
    assert members.confirm(ONE, 160.0)


def test_one_that_lied_and_is_silent_now_has_lied(members: Membership) -> None:
    members.leave_out(ONE, Reason.LYING, now=100.0)
    members.leave_out(ONE, Reason.SILENT, now=101.0)
    assert not members.confirm(ONE, 130.0)


def test_one_that_asks_is_probed_without_delay(members: Membership) -> None:
    members.leave_out(ONE, Reason.REFUSED, now=100.0)
    assert members.hasten(ONE)
    assert ONE in members.due(100.0, first)
    assert not members.hasten(TWO)


def test_what_is_known_of_a_member_outlives_discovery(members: Membership) -> None:
    members.leave_out(ONE, Reason.LYING, now=100.0)
    members.discover([OWN, ONE], OWN, now=20.0)
    assert members.live() == [OWN]
    assert members.states() == {ONE: Reason.LYING}


def test_this_replica_never_leaves_itself_out(members: Membership) -> None:
    assert not members.leave_out(OWN, Reason.LYING, now=100.0)
    assert OWN in members.live()
    assert OWN not in members.due(500.0, first)


def test_a_few_of_many_are_probed() -> None:
    members = Membership()
    members.discover([OWN, *(f"10.0.1.{number}:1" for number in range(200))], OWN, now=0.0)
    assert len(members.due(0.0, first)) == 3
    for address in members.states():
        members.leave_out(address, Reason.SILENT, now=0.0)
    assert len(members.due(100.0, first)) == 16


def test_a_report_says_how_each_of_the_others_is_doing_and_since_when(members: Membership) -> None:
    members.introduce(ONE, "one", "a")
    members.count(ONE, received=5)
    members.count(ONE, sent=7)
    members.count("10.9.9.9:1", sent=7)
    members.leave_out(TWO, Reason.SILENT, now=100.0)
    members.leave_out(TWO, Reason.SILENT, now=101.0)
    assert members.report() == [
        PeerState(ONE, "one", "a", "live", 10.0, 5, 7),
        PeerState(TWO, "", "", "silent", 100.0, 0, 0),
    ]
    members.confirm(TWO, 200.0)
    assert members.report()[1] == PeerState(TWO, "", "", "live", 200.0, 0, 0)


def test_what_several_processes_see_is_combined() -> None:
    """A replica is left out if one of them leaves it out, and the bytes are those of all."""
    first_process = [
        PeerState(ONE, "one", "a", "live", 30.0, 1, 2),
        PeerState(TWO, "", "", "silent", 10.0, 3, 4),
    ]
    second = [
        PeerState(ONE, "one", "a", "refused", 20.0, 10, 20),
        PeerState(TWO, "", "", "lying", 40.0, 30, 40),
    ]
    assert combine([first_process, second]) == (
        PeerState(ONE, "one", "a", "refused", 20.0, 11, 22),
        PeerState(TWO, "", "", "lying", 40.0, 33, 44),
    )


def test_one_that_answers_probes_and_nothing_else_is_probed_less_and_less(
    members: Membership,
) -> None:
    now = 100.0
    for _ in range(8):
        members.leave_out(ONE, Reason.SILENT, now)
        now += 20.0
        assert members.confirm(ONE, now)
    members.leave_out(ONE, Reason.SILENT, now)
    # Its questions show that it is there, and not that it answers.
    assert not members.hasten(ONE)
    assert ONE not in members.due(now + 5.0, first)
    assert members.confirm(ONE, now + 20.0)
    members.succeed(ONE)
    members.leave_out(ONE, Reason.SILENT, now + 30.0)
    assert ONE in members.due(now + 31.0, first)
    assert members.hasten(ONE)
