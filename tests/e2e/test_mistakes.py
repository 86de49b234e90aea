"""What a person gets for a mistake: the place, the remedy, and the same from both commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e import mistakes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")


def fill(text: str, names: Mapping[str, object]) -> str:
    """`text` with what the braces stand for; YAML has braces of its own."""
    groups = sorted({os.getegid(), *os.getgroups()})
    ours: dict[str, object] = {"uid": os.geteuid(), "gid": os.getegid()}
    ours["groups"] = f"group{'s'[: len(groups) - 1]} {', '.join(map(str, groups))}"
    for name, value in (ours | dict(names)).items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def run(arguments: Sequence[str], environ: Mapping[str, str], here: Path) -> tuple[int, str]:
    """The exit status and all that is printed of a command that must end by itself."""
    done = subprocess.run(
        [LIGHTERAGE, *arguments],
        env=environ,
        cwd=here,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def said(message: str) -> str:
    return "".join(f"lighterage: {line}\n" for line in message.splitlines())


def test_there_are_at_least_forty() -> None:
    assert len(mistakes.SETTINGS) + len(mistakes.COMMANDS) >= 40


@pytest.mark.parametrize("name", mistakes.SETTINGS)
def test_check_config_and_serve_say_what_is_wrong(name: str, tmp_path: Path) -> None:
    """The same, whole, and nothing else: no library's words, and no stack trace."""
    case = mistakes.SETTINGS[name]
    with mistakes.prepare(tmp_path) as names:
        settings = fill(case.file, names).encode(errors="surrogateescape")
        (tmp_path / "lighterage.yaml").write_bytes(settings)
        for secret, value in case.secrets.items():
            (tmp_path / "secrets" / secret).write_text(value)
        free = {"LIGHTERAGE_LISTEN": "127.0.0.1:0", "LIGHTERAGE_ADMIN__LISTEN": "127.0.0.1:0"}
        by_variable = {} if case.file.startswith("listen:") else free
        environ = {
            **by_variable,
            "LIGHTERAGE_SECRETS_DIR": str(tmp_path / "secrets"),
            "LIGHTERAGE_CONFIG": str(tmp_path / "lighterage.yaml"),
            **{key: fill(value, names) for key, value in case.environ.items()},
        }
        for command in ("check-config", "serve"):
            assert run([command], environ, tmp_path) == (1, said(fill(case.message, names)))
    assert not (tmp_path / "data").exists(), "a refusal leaves nothing"


@pytest.mark.parametrize("name", mistakes.COMMANDS)
def test_a_command_says_what_is_wrong(name: str, tmp_path: Path) -> None:
    arguments, status, message = mistakes.COMMANDS[name]
    with mistakes.prepare(tmp_path) as names:
        filled = [fill(argument, names) for argument in arguments]
        assert run(filled, {}, tmp_path) == (status, said(fill(message, names)))
