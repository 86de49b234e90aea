"""`lighterage gc` and `lighterage scrub`, on what a proxy has stored."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from proxy.oci.reference import Digest
from tests.e2e.test_commands import LIGHTERAGE, run
from tests.kit import images
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.images import Content

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def image() -> Content:
    """With a layer of a MiB, and more."""
    return images.big(1)


@pytest.fixture
def proxy(tmp_path: Path, image: Content) -> Proxy:
    """One that has pulled the image, and was stopped."""
    with Registry(tmp_path / "registry") as registry:
        registry.push("cargo/big", "1", image)
        with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
            ask(f"{proxy.url}/v2/cargo/big/manifests/1", headers=[("Accept", "*/*")])
            for digest in image.blobs:
                ask(f"{proxy.url}/v2/cargo/big/blobs/{digest}")
    return proxy


def file_of(proxy: Proxy, digest: str) -> Path:
    return proxy.data / "blobs/sha256" / Digest(digest).hex[:2] / Digest(digest).hex


def largest(image: Content) -> str:
    return max(image.blobs, key=lambda digest: len(image.blobs[digest]))


def test_gc_says_what_would_go_and_then_removes_it(proxy: Proxy, image: Content) -> None:
    old = largest(image)
    for digest in image.blobs:
        os.utime(file_of(proxy, digest), (1, time.time() - 3 * 86400 * (digest == old)))
    data = f"--data={proxy.data}"
    within = run("gc", "--dry-run", data)
    assert within.returncode == 0, within.stderr
    assert b"nothing would be evicted" in within.stdout
    some = "--max-size=900KiB"
    dry = run("gc", "--dry-run", data, some).stdout.decode().splitlines()
    assert dry[0].startswith(old)
    assert "used 3 d ago" in dry[0]
    assert dry[-1].startswith("would evict 1 of them")
    assert file_of(proxy, old).exists()
    done = run("gc", data, some)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"removed 1 blobs")
    assert [file_of(proxy, digest).exists() for digest in image.blobs] == [
        digest != old for digest in image.blobs
    ]


def test_scrub_finds_one_wrong_byte(proxy: Proxy, image: Content) -> None:
    good = run("scrub", f"--data={proxy.data}")
    assert (good.returncode, good.stderr) == (0, b"")
    summary = good.stdout.decode().splitlines()[-1]
    assert summary.startswith(f"{len(image.blobs)} blobs")
    assert summary.endswith("and 0 derived manifests verified: none damaged")
    victim = file_of(proxy, largest(image))
    content = bytearray(victim.read_bytes())
    content[700_000] ^= 1
    victim.write_bytes(content)
    bad = run("scrub", f"--data={proxy.data}")
    assert bad.returncode == 3
    assert f"damaged: {largest(image)}" in bad.stdout.decode().splitlines()
    assert bad.stdout.endswith(b": 1 damaged\n")
    assert not victim.exists()
    assert run("scrub", f"--data={proxy.data}").returncode == 0


def test_scrub_takes_its_time(proxy: Proxy, image: Content) -> None:
    size = sum(map(len, image.blobs.values()))
    began = time.monotonic()
    assert run("scrub", f"--data={proxy.data}", f"--rate={size // 2}").returncode == 0
    assert time.monotonic() - began > 1.9


def test_scrub_shows_a_bar_on_a_terminal(proxy: Proxy) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [LIGHTERAGE, "scrub", f"--data={proxy.data}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={"TERM": "xterm", "COLUMNS": "100"},
        timeout=30,
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "verifying" in shown
    assert "####" in shown
    assert done.stdout.endswith(b"none damaged\n")


@pytest.mark.parametrize("command", ["gc", "scrub"])
def test_a_wrong_setting_is_said_in_a_line(command: str, tmp_path: Path) -> None:
    option = "--max-size" if command == "gc" else "--rate"
    done = run(command, f"--data={tmp_path}", f"{option}=plenty")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(f"lighterage: {option}: blobs.".encode())
