"""The table of docs/commands.md: every command that reports, wherever its settings come from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.test_reports import run
from tests.kit import images
from tests.kit.accept_lines import CONTAINERD
from tests.kit.processes import Proxy, free_port
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

_IMAGE: Final = "harbour/ship:2.0"
# Each command, and a key of what it reports.
_REPORTS: Final = {
    ("status",): "health",
    ("images",): "",
    ("inspect", _IMAGE): "representations",
    ("explain", _IMAGE): "representation",
    ("explain", _IMAGE, "--as", "docker-1.9"): "representation",
    ("kept",): "",
    ("doctor",): "",
    ("config",): "",
    ("check-config",): "valid",
    ("gc", "--dry-run"): "would_evict",
    ("scrub",): "damaged",
    ("warm", _IMAGE): "",
    ("purge", _IMAGE): "",
}
_WITHOUT_A_PROXY: Final = ("images", "inspect", "doctor", "config", "check-config", "gc", "scrub")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One that has pulled an image; its file of settings names all that it was started with."""
    directory = tmp_path_factory.mktemp("commands")
    with Registry(directory / "registry") as registry:
        registry.push("harbour/ship", "2.0", images.oci())
        proxy = Proxy(directory / "proxy")
        _write_settings(proxy, registry.url)
        proxy.command = [proxy.command[0], "serve", f"--config={settings_of(proxy)}"]
        with proxy:
            pull(proxy)
            yield proxy


def settings_of(proxy: Proxy) -> Path:
    return proxy.directory / "settings.yaml"


def _write_settings(proxy: Proxy, upstream: str) -> None:
    proxy.directory.mkdir(parents=True, exist_ok=True)
    settings = {
        "listen": proxy.host,
        "admin": {"listen": f"127.0.0.1:{proxy.admin_port}"},
        "data": str(proxy.data),
        "upstreams": {"docker.io": {"url": upstream, "default": True}},
    }
    settings_of(proxy).write_text(json.dumps(settings))


def pull(proxy: Proxy) -> None:
    answer = ask(f"{proxy.url}/v2/harbour/ship/manifests/2.0", headers=CONTAINERD)
    assert answer.status == 200


@pytest.mark.parametrize("by_environment", [False, True], ids=["config", "environment"])
@pytest.mark.parametrize("command", _REPORTS, ids=" ".join)
def test_it_reports_as_text_and_as_json(
    proxy: Proxy, command: tuple[str, ...], *, by_environment: bool
) -> None:
    """With 0, by the settings that --config or LIGHTERAGE_CONFIG names."""
    pull(proxy)
    file = str(settings_of(proxy))
    more = () if by_environment else ("--config", file)
    environ = {"LIGHTERAGE_CONFIG": file} if by_environment else {}
    text = run(*command, *more, environ=environ)
    assert text.returncode == 0, text.stderr
    pull(proxy)
    done = run(*command, "--json", *more, environ=environ)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    key = _REPORTS[command]
    assert not key or key in document, list(document)


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "harbour/none:1"),
        ("purge", "harbour/none:1"),
        ("images", "--sideways"),
        ("explain", "HARBOUR"),
        ("explain", _IMAGE, "--as", "netscape"),
        ("status", "--config", "/nonexistent.yaml"),
    ],
    ids=" ".join,
)
def test_what_does_not_exist_and_what_is_no_usage_end_with_2(
    proxy: Proxy, command: tuple[str, ...]
) -> None:
    more = () if "--config" in command else ("--config", str(settings_of(proxy)))
    done = run(*command, *more)
    assert done.returncode == 2, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", _REPORTS, ids=" ".join)
def test_without_a_running_proxy_it_works_or_says_so(
    proxy: Proxy, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """As the table says of each; what asks the proxy fails with 1, and names its address."""
    pull(proxy)
    settings = json.loads(settings_of(proxy).read_text())
    admin = f"127.0.0.1:{free_port()}"
    settings |= {"listen": f"127.0.0.1:{free_port()}", "admin": {"listen": admin}}
    file = tmp_path / "settings.yaml"
    file.write_text(json.dumps(settings))
    done = run(*command, "--config", file)
    if command[0] in _WITHOUT_A_PROXY:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 1
        assert "127.0.0.1:" in done.stderr


def test_damage_ends_with_3(proxy: Proxy) -> None:
    """And what was damaged is named."""
    digest = next(iter(images.oci().blobs))
    assert ask(f"{proxy.url}/v2/harbour/ship/blobs/{digest}").status == 200
    (file,) = proxy.data.rglob(digest.partition(":")[2])
    file.chmod(0o644)
    file.write_bytes(b"x" * file.stat().st_size)
    done = run("scrub", "--json", "--config", settings_of(proxy))
    assert done.returncode == 3, done.stderr
    assert digest in str(json.loads(done.stdout)["damaged"])
