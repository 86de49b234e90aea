"""`lighterage doctor`: it finds what is wrong, and says that the rest is well."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.kit import processes
from tests.kit.processes import free_port
from tests.kit.raw_http import ask

if TYPE_CHECKING:
    from tests.kit.scripted_upstream import ScriptedUpstream

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")


async def examine(settings: dict[str, Any], here: Path) -> tuple[int | None, dict[str, list[str]]]:
    """The exit status, and each finding's `state: message` by its subject."""
    file = here / "settings.yaml"
    file.write_text(json.dumps(settings))
    process = await asyncio.create_subprocess_exec(
        LIGHTERAGE,
        "doctor",
        "--json",
        f"--config={file}",
        cwd=here,
        env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert err == b""
    found: dict[str, list[str]] = {}
    for finding in json.loads(out):
        said = f"{finding['state']}: {finding['message']}"
        found.setdefault(finding["subject"], []).append(said)
    return process.returncode, found


def quiet(upstream: ScriptedUpstream, **more: Any) -> dict[str, Any]:
    """Settings with free ports."""
    return {
        "listen": f"127.0.0.1:{free_port()}",
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "upstreams": {"docker.io": {"url": upstream.url}},
        "limits": {"connections": 16, "downloads": 4, "passed_through": 4},
        **more,
    }


async def test_all_is_well(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Beside a proxy that runs, and has the ports."""
    proxy = processes.Proxy(tmp_path, upstream=upstream.url)
    await asyncio.to_thread(proxy.start)
    try:
        url = f"{proxy.url}/v2/library/cargo/manifests/oci"
        await asyncio.to_thread(ask, url, headers=[("Accept", "*/*")])
        settings = quiet(
            upstream,
            listen=proxy.host,
            admin={"listen": f"127.0.0.1:{proxy.admin_port}"},
            data=str(proxy.data),
        )
        status, found = await examine(settings, tmp_path)
    finally:
        await asyncio.to_thread(proxy.stop)
    assert status == 0, found
    assert found["upstream"] == [f"ok: docker.io answers at {upstream.url}"]
    assert found["clock"] == ["ok: the clock agrees with that of docker.io"]
    assert found["clients"] == ["ok: clients have pulled from 1 repositories"]
    assert found["settings"] == [
        f"ok: files and directories can be used; {proxy.host} and the others are this proxy's"
    ]
    assert all(said.startswith("ok: ") for each in found.values() for said in each)


async def test_a_clock_that_is_wrong(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    upstream.headers = {"Date": formatdate(time.time() + 600, usegmt=True)}
    status, found = await examine(quiet(upstream), tmp_path)
    (said,) = found["clock"]
    assert status == 0, "a warning is no failure"
    assert said.startswith("warning: the clock is ")
    assert said.endswith(" s behind that of docker.io; set it by NTP")


async def test_what_fails_is_said(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """An upstream, Redis, and a secret that is not there."""
    gone, redis = free_port(), free_port()
    upstreams = {
        "docker.io": {"url": upstream.url, "default": True},
        "quay.io": {
            "url": f"http://127.0.0.1:{gone}",
            "credentials": {"username": "me", "password_file": str(tmp_path / "none")},
        },
        "ghcr.io": {"url": f"http://127.0.0.1:{gone}", "offline": True},
    }
    settings = quiet(
        upstream,
        upstreams=upstreams,
        manifests={"store": "redis", "redis": {"url": f"redis://127.0.0.1:{redis}"}},
        peers={
            "listen": "127.0.0.1:0",
            "discover": [f"127.0.0.1:{gone}"],
            "secret_file": str(tmp_path / "secret"),
        },
    )
    (tmp_path / "secret").write_text("0123456789abcdef")
    status, found = await examine(settings, tmp_path)
    assert status == 1
    (secret,) = found["secrets"]
    assert secret.endswith(f"password_file: there is no file {tmp_path / 'none'}")
    assert found["upstream"][0].startswith("ok: docker.io")
    assert found["upstream"][1].startswith("failed: ")
    assert len(found["upstream"]) == 2, "one that is offline is not asked"
    assert found["redis"][0].startswith("failed: ")
    assert str(redis) in found["redis"][0]
    assert (
        found["peers"] == [f"warning: no replica answers at 127.0.0.1:{gone}: Connection refused"]
        or "Connect call failed" in found["peers"][0]
    )
    assert found["clients"] == ["warning: no proxy has stored anything yet: lighterage serve"]


@pytest.mark.parametrize("is_right", [True, False], ids=["accepted", "refused"])
async def test_a_login(upstream: ScriptedUpstream, tmp_path: Path, *, is_right: bool) -> None:
    upstream.require_basic("me", "harbour")
    password = "harbour" if is_right else "wrong"
    login = {"username": "me", "password": password}
    upstreams = {"docker.io": {"url": upstream.url, "credentials": login}}
    status, found = await examine(quiet(upstream, upstreams=upstreams), tmp_path)
    (said,) = found["upstream"]
    if is_right:
        assert (status, said) == (
            0,
            f"ok: docker.io answers at {upstream.url}; its login is accepted",
        )
    else:
        assert status == 1
        assert said.startswith("failed: docker.io refuses the login of its credentials")
        assert "wrong" not in said
