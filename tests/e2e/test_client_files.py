"""`lighterage client-config --keep`: a client's files are there as long as it runs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit.processes import LOOPBACK, Proxy
from tests.kit.redis import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

COMMAND: Final = Path(sys.executable).with_name("lighterage")
CERTS: Final = "etc/containerd/certs.d"
SETTINGS: Final = """
upstreams:
  docker.io: {url: "https://registry-1.docker.io", default: true}
  quay.io: {url: "https://quay.io"}
"""
FOREIGN: Final = 'server = "https://mine.example"\n'


class Keeper:
    """The command, below a root of its own."""

    def __init__(
        self, directory: Path, address: str, root: Path | None = None, owner: str = "ops/harbour"
    ) -> None:
        self.root = root or directory / "root"
        directory.mkdir(exist_ok=True)
        self._settings = directory / "lighterage.yaml"
        self._settings.write_text(SETTINGS)
        self._options = (f"--address={address}", f"--write={self.root}", f"--as={owner}")
        self._log = directory / "said"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("--keep"), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit status, after a signal."""
        assert self._process
        self._process.send_signal(number)
        status = self._process.wait(30)
        self._process = None
        return status

    def stop(self) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)

    def check(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command("--check"), capture_output=True, text=True, timeout=60, check=False
        )

    def configure(self, settings: str) -> None:
        self._settings.write_text(settings)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def file(self, registry: str) -> Path:
        return self.root / CERTS / registry / "hosts.toml"

    def text(self, registry: str) -> str:
        file = self.file(registry)
        return file.read_text() if file.exists() else ""

    def _command(self, what: str) -> list[str | Path]:
        return [
            *(COMMAND, "client-config", "containerd", f"--config={self._settings}"),
            *self._options,
            what,
        ]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with Proxy(tmp_path / "proxy", upstream=f"http://{LOOPBACK}:1") as proxy:
        yield proxy


@pytest.fixture
def keeper(tmp_path: Path, proxy: Proxy) -> Iterator[Keeper]:
    keeper = Keeper(tmp_path, proxy.url)
    yield keeper
    keeper.stop()


def started(keeper: Keeper, registry: str = "quay.io") -> None:
    keeper.start()
    eventually(lambda: f"written: {keeper.file(registry)}" in keeper.said, "it is not written")


def test_files_are_there_until_it_ends(keeper: Keeper, proxy: Proxy) -> None:
    assert "there is no file" in keeper.check().stderr
    started(keeper)
    assert keeper.text("docker.io").startswith("# Written by Lighterage for ops/harbour (")
    assert f'[host."{proxy.url}"]' in keeper.text("docker.io")
    assert keeper.check().returncode == 0
    assert keeper.end() == 0
    assert not list((keeper.root / CERTS).iterdir())


def test_nothing_is_written_before_the_proxy_answers(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path / "proxy", upstream=f"http://{LOOPBACK}:1")
    keeper = Keeper(tmp_path, proxy.url)
    keeper.start()
    try:
        eventually(
            lambda: "Connection refused; no file is written before" in keeper.said,
            "it waits for nothing",
        )
        assert not keeper.root.exists()
        with proxy:
            eventually(lambda: keeper.text("quay.io"), "it is not written")
        assert keeper.end(signal.SIGINT) == 0
        assert not keeper.text("quay.io")
    finally:
        keeper.stop()


def test_what_is_somebody_else_s_stays(keeper: Keeper) -> None:
    """Also beside our own file, and for one that says what ours would, but was not ours."""
    other = keeper.root / CERTS / "ghcr.io/hosts.toml"
    certificate = keeper.root / CERTS / "quay.io/ca.crt"
    for path in (keeper.file("docker.io"), other, certificate):
        path.parent.mkdir(parents=True)
        path.write_text(FOREIGN)
    started(keeper)
    assert f"{keeper.file('docker.io')} is somebody else's, and stays as it is" in keeper.said
    checked = keeper.check()
    assert checked.returncode == 0
    assert "is somebody else's" in checked.stderr
    assert keeper.end() == 0
    assert keeper.text("docker.io") == other.read_text() == certificate.read_text() == FOREIGN
    assert not keeper.file("quay.io").exists()


def test_another_owner_s_files_are_somebody_else_s(
    keeper: Keeper, proxy: Proxy, tmp_path: Path
) -> None:
    started(keeper)
    before = keeper.text("quay.io")
    other = Keeper(tmp_path / "other", proxy.url, keeper.root, "ops/other")
    other.start()
    eventually(lambda: "quay.io/hosts.toml is somebody else's" in other.said, "it says nothing")
    assert other.end() == 0
    assert keeper.text("quay.io") == before


def test_what_a_killed_one_has_left_is_taken_over_and_removed(keeper: Keeper) -> None:
    started(keeper)
    left = keeper.text("quay.io")
    assert keeper.end(signal.SIGKILL) == -signal.SIGKILL
    assert keeper.text("quay.io") == left
    keeper.start()
    eventually(lambda: keeper.text("quay.io") != left, "it is not taken over")
    assert keeper.end() == 0
    assert not keeper.file("quay.io").exists()


def test_the_last_one_s_files_stay_when_the_one_before_ends(
    keeper: Keeper, proxy: Proxy, tmp_path: Path
) -> None:
    """As in a rolling update, where both run for a moment."""
    started(keeper)
    left = keeper.text("quay.io")
    following = Keeper(tmp_path / "next", proxy.url, keeper.root)
    following.start()
    try:
        eventually(lambda: keeper.text("quay.io") not in {left, ""}, "it is not taken over")
        assert keeper.end() == 0
        assert "removed" not in keeper.said
        assert keeper.text("quay.io")
    finally:
        following.end()
    assert not keeper.file("quay.io").exists()


def test_what_is_changed_or_of_no_use_is_put_right(keeper: Keeper) -> None:
    started(keeper)
    keeper.end(signal.SIGKILL)
    own = keeper.file("docker.io")
    own.write_text(own.read_text().replace("pull", "push"))
    keeper.configure(SETTINGS.replace("quay.io", "ghcr.io"))
    started(keeper, "ghcr.io")
    assert 'capabilities = ["pull", "resolve"]' in keeper.text("docker.io")
    assert not keeper.file("quay.io").exists()
    assert re.search(rf"removed: {keeper.file('quay.io')}", keeper.said)
    assert keeper.end() == 0


def test_it_is_used_as_it_is_meant() -> None:
    def run(*options: str) -> str:
        command = [str(COMMAND), "client-config", *options]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert "--keep needs --write and --as" in run("containerd", "--keep")
    assert "is not a name such as registry/lighterage" in run("containerd", "--as=a b")
    assert "has no room for a mark" in run("docker", "--as=me", "--write=/nowhere")
