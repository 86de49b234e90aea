"""A settings file of a running proxy: what changes is taken over, and no bad moment ends that."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import structlog

from proxy.config import ServeArguments, Settings
from proxy.runtime.reload import SettingsReload
from proxy.web.admin.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET: Final = "tags__stale_if_error"


class Proxy:
    """The reload of a proxy that reads a file and a secrets directory."""

    def __init__(self, directory: Path) -> None:
        self.file, self.secrets = directory / "lighterage.yaml", directory / "secrets"
        self.secrets.mkdir()
        self.write(ttl="1s")
        (self.secrets / SECRET).write_text("1d")
        self.readiness = Readiness()
        self.adopted: list[Settings] = []
        given = ServeArguments(self.file)
        self.fails: Exception | None = None
        self._reload = SettingsReload(
            given, given.load(), adopt=self._adopt, readiness=self.readiness
        )

    def _adopt(self, settings: Settings) -> None:
        if self.fails is not None:
            raise self.fails
        self.adopted.append(settings)

    def write(self, *, ttl: str) -> None:
        """Another file in its place, as an editor does it."""
        new = self.file.with_suffix(".new")
        new.write_text(f"tags: {{ttl: {ttl}}}")
        new.replace(self.file)

    async def look(self) -> str:
        """The warning after a look."""
        await self._reload.look()
        return self.readiness.warnings.get("settings", "")

    @property
    def ttls(self) -> list[float]:
        """What was adopted so far."""
        return [settings.tags.ttl for settings in self.adopted]


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    monkeypatch.setenv("LIGHTERAGE_SECRETS_DIR", str(tmp_path / "secrets"))
    return Proxy(tmp_path)


def _failing(
    method: Callable[[Path], object], directory: Path, error: int
) -> Callable[[Path], object]:
    """`method` of Path, as it is on a disk that fails below one directory."""

    def call(path: Path) -> object:
        if path == directory:
            raise OSError(error, os.strerror(error), str(path))
        return method(path)

    return call


async def test_a_changed_file_is_adopted_once(proxy: Proxy) -> None:
    assert await proxy.look() == ""
    proxy.write(ttl="2s")
    assert await proxy.look() == await proxy.look() == ""
    assert proxy.ttls == [2.0]


@pytest.mark.parametrize("method", ["is_dir", "iterdir"])
@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ENOENT, errno.ESTALE])
async def test_secrets_that_cannot_be_listed_for_a_moment(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, method: str, error: int
) -> None:
    """The change that came meanwhile is adopted as soon as they can be listed again."""
    await proxy.look()
    proxy.write(ttl="2s")
    with monkeypatch.context() as failing, structlog.testing.capture_logs() as log:
        failing.setattr(Path, method, _failing(getattr(Path, method), proxy.secrets, error))
        for _ in range(3):
            warning = await proxy.look()
            assert f"{proxy.secrets} cannot be listed" in warning
            assert os.strerror(error) in warning
    assert [line["event"] for line in log] == ["settings.refused"], "said once"
    assert proxy.ttls == []
    assert await proxy.look() == ""
    assert proxy.ttls == [2.0]


async def test_secrets_that_are_gone_for_a_moment(proxy: Proxy, tmp_path: Path) -> None:
    """Their absence does not mean the defaults where there were some before."""
    await proxy.look()
    proxy.write(ttl="2s")
    proxy.secrets.rename(tmp_path / "elsewhere")
    assert "secrets" in await proxy.look()
    assert proxy.ttls == []
    (tmp_path / "elsewhere").rename(proxy.secrets)
    assert await proxy.look() == ""
    assert [settings.tags.stale_if_error for settings in proxy.adopted] == [86400.0]


async def test_a_file_that_is_gone_for_a_moment(proxy: Proxy, tmp_path: Path) -> None:
    """Also where the very same file comes back."""
    await proxy.look()
    proxy.file.rename(tmp_path / "elsewhere")
    assert "there is no settings file" in await proxy.look()
    (tmp_path / "elsewhere").rename(proxy.file)
    assert await proxy.look() == ""


async def test_a_changed_secret_is_noticed(proxy: Proxy) -> None:
    """As Kubernetes changes it: the directory gets another entry."""
    await proxy.look()
    (proxy.secrets / SECRET).unlink()
    (proxy.secrets / SECRET).write_text("2d")
    assert await proxy.look() == ""
    assert [settings.tags.stale_if_error for settings in proxy.adopted] == [2 * 86400.0]


async def test_a_bad_file_is_refused_once_and_read_again_when_it_changes(proxy: Proxy) -> None:
    await proxy.look()
    with structlog.testing.capture_logs() as log:
        proxy.write(ttl="[")
        assert "a bracket is not closed" in await proxy.look()
        assert "a bracket is not closed" in await proxy.look()
    assert [line["event"] for line in log] == ["settings.refused"]
    proxy.write(ttl="3s")
    assert await proxy.look() == ""
    assert proxy.ttls == [3.0]


async def test_a_file_that_they_name_may_come_later(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await proxy.look()
    proxy.write(ttl="2s")
    with monkeypatch.context() as failing, structlog.testing.capture_logs() as log:
        failing.setattr(proxy, "fails", ValueError("line 3 is not USER:HASH"))
        for _ in range(3):
            assert "line 3 is not USER:HASH" in await proxy.look()
    assert [line["event"] for line in log] == ["settings.refused"], "said once"
    assert proxy.ttls == []
    assert await proxy.look() == ""
    assert proxy.ttls == [2.0]


async def test_the_audit_log_needs_a_restart_and_the_rules_do_not(proxy: Proxy) -> None:
    await proxy.look()
    proxy.file.write_text("access: {audit: {file: /tmp/x}, mode: deny}")
    assert await proxy.look() == "changed settings that need a restart: access.audit"
    (adopted,) = proxy.adopted
    assert (adopted.access.mode, adopted.access.audit.file) == ("deny", None)
