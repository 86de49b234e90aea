"""The locks fit pyproject.toml, pin everything by hash, and name no registry. Needs no network."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.kit.locks import pins

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Lock, and what pyproject.toml asks of it. What an extra adds is in `make run` and in the image: an
# object store is a setting there, and no reinstallation.
LOCKS: Final = {
    "requirements.lock": [
        *PROJECT["project"]["dependencies"],
        *(text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra),
    ],
    "requirements-build.lock": PROJECT["dependency-groups"]["build"],
    "requirements-dev.lock": PROJECT["dependency-groups"]["dev"],
}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_the_project_asks_for_and_nothing_that_it_stopped_asking_for(
    lock: str,
) -> None:
    pinned = pins(lock)
    asked = {canonicalize_name(r.name): r for r in map(Requirement, LOCKS[lock])}
    assert {name for name, (_, below) in pinned.items() if "lighterage (" in below} == set(asked)
    unfit = {
        name: pinned[name][0]
        for name, requirement in asked.items()
        if not requirement.specifier.contains(pinned[name][0], prereleases=True)
    }
    assert not unfit, "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_line_has_an_address(lock: str) -> None:
    unhashed = [name for name, (_, below) in pins(lock).items() if "--hash=sha256:" not in below]
    assert not unhashed
    assert not re.search(r"://|--[a-z-]*index|--find-links", (ROOT / lock).read_text())


def test_the_locks_agree_where_they_name_the_same_package() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, (version, _) in pins(lock).items():
            versions.setdefault(name, set()).add(version)
    assert not {name: found for name, found in versions.items() if len(found) > 1}


def test_the_build_group_is_what_the_build_system_needs() -> None:
    groups = {Requirement(text).name for text in PROJECT["dependency-groups"]["build"]}
    assert groups == {Requirement(text).name for text in PROJECT["build-system"]["requires"]}
