"""`lighterage health`, which is the image's health check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from proxy.cli.first_process import serving_arguments
from tests.kit.processes import LOOPBACK, Proxy, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")


def health(*arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [LIGHTERAGE, "health", *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_proxy_is_alive_and_no_token_is_needed(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a secret of the operator")
    settings = {"admin": {"token_file": str(token)}}
    with Proxy(tmp_path / "proxy", settings=settings) as proxy:
        admin = f"{LOOPBACK}:{proxy.admin_port}"
        token.unlink()
        assert health(f"--admin={admin}") == (0, "alive\n")
        by_variable = {"LIGHTERAGE_ADMIN__LISTEN": f"0.0.0.0:{proxy.admin_port}"}
        assert health(environ=by_variable) == (0, "alive\n")
        assert health(f"--admin={LOOPBACK}:{proxy.port}")[0] == 1


def test_nothing_listens() -> None:
    status, said = health(f"--admin={LOOPBACK}:{free_port()}")
    assert status == 1
    assert said.startswith("lighterage: no proxy answers at http://127.0.0.1:")


@pytest.mark.parametrize(
    ("command", "admin"),
    [
        ("/usr/bin/python3 /opt/lighterage/bin/lighterage serve --admin-listen=127.0.0.1:9", 9),
        ("/sbin/docker-init -- lighterage serve --workers 2 --admin-listen 0.0.0.0:9", 9),
        ("lighterage serve --upstream=http://127.0.0.1 --log=json", None),
        ("lighterage serve --admin-listen", None),
        ("lighterage scrub --data serve", None),
        ("/sbin/init", None),
        ("", None),
    ],
)
def test_the_arguments_of_the_first_process_count(
    command: str, admin: int | None, tmp_path: Path
) -> None:
    file = tmp_path / "cmdline"
    file.write_text("".join(f"{part}\0" for part in command.split()))
    _, settings = serving_arguments(file)
    assert settings.get("admin", {}).get("listen", "").endswith(f":{admin}" if admin else "")
    assert ("admin" in settings) is (admin is not None)


def test_the_settings_file_of_the_first_process_counts(tmp_path: Path) -> None:
    named = tmp_path / "lighterage.yaml"
    named.touch()
    (tmp_path / "cmdline").write_text(f"lighterage\0serve\0--config\0{named}\0")
    assert serving_arguments(tmp_path / "cmdline") == (named, {})
    assert serving_arguments(tmp_path / "none") == (None, {})
