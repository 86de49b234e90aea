"""What `serve` prints at a terminal, and what it writes elsewhere."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import urlopen

import pytest

from proxy.cli.banner import announce
from proxy.config import Settings
from tests.kit.processes import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")
PING: Final = "GET  200  /v2/  "


def output_of(directory: Path, *options: str, terminal: bool) -> str:
    """All that `serve` writes on standard output until it has answered one request."""
    port = free_port()
    ours, theirs = pty.openpty() if terminal else os.pipe()
    listen = (f"--listen={LOOPBACK}:{port}", f"--admin-listen={LOOPBACK}:0")
    process = subprocess.Popen(
        [LIGHTERAGE, "serve", *listen, f"--data={directory / 'data'}", *options],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        pieces = read(ours)
        while b"proxy.started" not in seen:
            seen += next(pieces)
        with urlopen(f"http://{LOOPBACK}:{port}/v2/", timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        seen += b"".join(pieces)
    finally:
        process.kill()
        assert process.wait() in {0, -signal.SIGKILL}
        os.close(ours)
    return seen.decode()


def read(descriptor: int) -> Iterator[bytes]:
    """What is written, until its writer ends: a terminal has an error then."""
    while True:
        try:
            piece = os.read(descriptor, 2**16)
        except OSError:
            return
        if not piece:
            return
        yield piece


@pytest.mark.parametrize("workers", [1, 2])
def test_text_at_a_terminal_and_json_elsewhere(tmp_path: Path, workers: int) -> None:
    option = f"--workers={workers}"
    shown = output_of(tmp_path / "shown", option, terminal=True)
    written = output_of(tmp_path / "written", option, terminal=False)
    assert PING in shown
    assert "{" not in shown
    events = [json.loads(line)["event"] for line in written.splitlines()]
    assert "request.served" in events


def test_a_terminal_is_shown_where_the_status_page_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    announce(Settings(admin={"listen": "0.0.0.0:5081"}))  # type: ignore[arg-type]
    assert "status page    http://127.0.0.1:5081/ " in capsys.readouterr().err


def test_a_flag_chooses(tmp_path: Path) -> None:
    shown = output_of(tmp_path / "shown", "--log=json", terminal=True)
    written = output_of(tmp_path / "written", "--log=text", terminal=False)
    assert "request.served" in [json.loads(line)["event"] for line in shown.splitlines()]
    assert PING in written
