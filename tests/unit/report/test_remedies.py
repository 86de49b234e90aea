"""Every warning has a remedy."""

from __future__ import annotations

import re
from pathlib import Path

import proxy
from proxy.report.remedies import REMEDIES, remedy_for
from proxy.runtime.chores import ChoreName

SOURCE = Path(proxy.__file__).parent


def test_each_subject_in_the_code_has_a_remedy() -> None:
    found = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        if "warnings[" in text:
            found |= set(re.findall(r'warnings\[f?"([a-z_]+(?:\.[a-z_]+)?)', text))
            found |= set(re.findall(r'^_WARNING: Final = "([a-z_]+)"', text, re.MULTILINE))
    assert {"file_descriptors", "access.plain", "settings", "peers"} <= found
    for subject in (*found, *("redis", "bucket", "disk", "login.docker.io")):
        assert remedy_for(subject) in REMEDIES.values(), subject
    for name in ChoreName:
        assert remedy_for(f"background_task.{name}") == REMEDIES["background_task"]


def test_a_subject_that_nobody_knows_has_one_too() -> None:
    assert remedy_for("else") not in REMEDIES.values()
    assert remedy_for("else").endswith(".")
