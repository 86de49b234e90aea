"""A rotation takes values in turn at each level, and makes room at the expense of the largest."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kit.rotation import Rotation

PATHS = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))


def filled(*paths: str) -> Rotation[str]:
    """With values that are named like their paths, and numbered."""
    rotation: Rotation[str] = Rotation()
    for number, path in enumerate(paths):
        rotation.add(tuple(path), f"{path}{number}")
    return rotation


def drain(rotation: Rotation[str]) -> list[str]:
    return [rotation.pop() for _ in range(rotation.size)]


def test_each_level_goes_round() -> None:
    rotation = filled("ax", "ax", "ax", "ay", "bx", "bx")
    assert drain(rotation) == ["ax0", "bx4", "ay3", "bx5", "ax1", "ax2"]
    with pytest.raises(IndexError):
        rotation.pop()


def test_a_value_that_is_removed_is_not_taken() -> None:
    rotation = filled("ax", "ay", "bx")
    assert rotation.remove(("a", "x"), "ax0")
    assert not rotation.remove(("a", "x"), "ax0")
    assert not rotation.remove(("a", "y"), "ax0")
    assert (rotation.size, rotation.count(("a",))) == (2, 1)
    assert drain(rotation) == ["ay1", "bx2"]


def test_a_branch_moves_to_another_tree_in_order() -> None:
    rotation, other = filled("ax", "ay", "ax", "bx"), filled("cx")
    rotation.move(("a",), other)
    rotation.move(("d",), other)
    assert drain(rotation) == ["bx3"]
    assert drain(other) == ["cx0", "ax0", "ay1", "ax2"]


@pytest.mark.parametrize(
    ("waiting", "newcomer", "removed"),
    [
        (["ax", "ax", "bx"], "cx", "ax1"),
        (["ax", "ay", "ay", "bx"], "bx", "ay2"),
        (["ax", "bx"], "cx", None),
        (["ax", "ax"], "ax", None),
        (["ax", "ax", "ax", "bx"], "ay", "ax2"),
        (["ax", "bx", "bx"], "ax", None),
        ([], "ax", None),
    ],
)
def test_room_is_made_by_whichever_has_most(
    waiting: list[str], newcomer: str, removed: str | None
) -> None:
    rotation = filled(*waiting)
    assert rotation.crowd_out(tuple(newcomer)) == removed
    assert rotation.size == len(waiting) - (removed is not None)


@given(st.lists(PATHS, max_size=40), st.lists(st.sampled_from(["pop", "crowd", "largest"])))
def test_nothing_is_lost_and_nothing_comes_twice(
    paths: list[tuple[str, str]], acts: list[str]
) -> None:
    rotation = filled(*map("".join, paths))
    given_out: list[str] = []
    for act in acts:
        if act == "crowd":
            removed = rotation.crowd_out(("a", "x"))
            given_out += [] if removed is None else [removed]
        elif rotation.size:
            given_out.append(rotation.pop() if act == "pop" else rotation.pop_largest())
    given_out += drain(rotation)
    assert Counter(value[:2] for value in given_out) == Counter(map("".join, paths))
    assert len(set(given_out)) == len(paths)
