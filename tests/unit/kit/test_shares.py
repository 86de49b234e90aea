"""Who gives way when all of a resource is taken."""

from __future__ import annotations

from proxy.kit.shares import Shares


def shares(**counts: int) -> Shares[str]:
    found: Shares[str] = Shares()
    for client, count in counts.items():
        for number in range(count):
            found.add(client, f"{client}{number}")
    return found


def test_the_client_that_holds_most_gives_way() -> None:
    assert shares(a=3, b=5, c=4).of_greediest("a") == ("b0", "b1", "b2", "b3", "b4")
    assert shares(a=2).of_greediest("new") == ("a0", "a1")


def test_two_that_hold_about_the_same_do_not_displace_each_other() -> None:
    found = shares(a=4, b=3)
    assert not found.of_greediest("a")
    assert not found.of_greediest("b")
    assert not shares(a=1, b=1).of_greediest("new")
    assert not shares().of_greediest("new")


def test_what_was_given_back_does_not_count() -> None:
    found = shares(a=2)
    for _ in range(2):
        found.remove("a", "a0")
    assert found.count("a") == 1
    found.remove("a", "a1")
    found.remove("b", "b0")
    assert found.count("a") == 0


def test_nobody_is_counted_without_a_name() -> None:
    found = shares()
    found.add("", "x")
    found.add("", "y")
    assert found.count("") == 0
    assert not found.of_greediest("a")
