"""The commands that report: what they print of a store that real clients have filled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from proxy import __version__
from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")
CARGO: Final = images.docker_list()
SHIP: Final = images.oci()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        registry.push("harbour/cargo", "1.0", CARGO)
        registry.push("harbour/ship", "2.0", SHIP)
        yield registry


def run(
    *arguments: str | Path,
    environ: Mapping[str, str] | None = None,
    command: tuple[str | Path, ...] = (LIGHTERAGE,),
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments],
        env={"PATH": os.environ["PATH"], **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version_in_every_form() -> None:
    said = f"lighterage {__version__}\n"
    module = (sys.executable, "-m", "proxy")
    for done in (run("version"), run("--version"), run("--version", command=module)):
        assert (done.returncode, done.stdout) == (0, said)
    assert json.loads(run("version", "--json").stdout) == {"version": __version__}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_commands(shell: str) -> None:
    script = run("completion", shell)
    assert script.returncode == 0
    assert f"_LIGHTERAGE_COMPLETE={shell}_complete" in script.stdout
    asked = {
        "_LIGHTERAGE_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "lighterage check",
        "COMP_CWORD": "check" if shell == "fish" else "1",
    }
    assert "check-config" in run(environ=asked).stdout


def test_config_says_where_each_setting_comes_from(tmp_path: Path) -> None:
    file, secrets = tmp_path / "lighterage.yaml", tmp_path / "secrets"
    file.write_text(
        "listen: 127.0.0.1:5000\n"
        "upstreams:\n"
        "  docker.io: {credentials: {username: me}}\n"
        "tags:\n"
        "  ttl: 1h30m\n"
        "  rules: [{match: '*', ttl: 5s}]\n"
    )
    secrets.mkdir()
    (secrets / "upstreams__docker.io__credentials__password").write_text("harbour")
    environ = {
        "LIGHTERAGE_CONFIG": str(file),
        "LIGHTERAGE_SECRETS_DIR": str(secrets),
        "LIGHTERAGE_WORKERS": "2",
    }
    done = run("config", "--origin", "--json", environ=environ)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    login = "upstreams.docker.io.credentials"
    assert found["tags.ttl"] == {"value": 5400.0, "origin": f"{file}:5:3"}
    assert found["tags.rules.0.ttl"] == {"value": 5.0, "origin": f"{file}:6:24"}
    assert found["workers"] == {"value": 2, "origin": "LIGHTERAGE_WORKERS"}
    assert found[f"{login}.username"]["origin"] == f"{file}:3:29"
    secret = found[f"{login}.password"]
    assert secret["origin"].startswith(f"the secret {secrets}")
    assert found["tags.keep_deleted"] == {"value": False, "origin": "the default"}
    assert found["upstreams.docker.io.url"]["origin"] == "the default"
    printed = run("config", "--origin", environ=environ).stdout
    assert "harbour" not in done.stdout + printed
    line = next(line for line in printed.splitlines() if line.startswith("tags.ttl = 5400.0"))
    assert line.endswith(f"{file}:5:3")


def test_images_lists_what_is_stored(registry: Registry, tmp_path: Path) -> None:
    """While a proxy runs, and without one."""
    accept = ", ".join(MediaType)
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        nothing = run("images", f"--data={proxy.data}")
        assert nothing.stdout.split() == ["IMAGE", "DIGEST", "FORM", "SIZE", "LAST", "USED"]
        for path in ("cargo/manifests/1.0", "ship/manifests/2.0"):
            ask(f"{proxy.url}/v2/harbour/{path}", headers=[("Accept", accept)])
        running = run("images", f"--data={proxy.data}", "--json")
    host = registry.url.removeprefix("http://")
    stopped = run("images", f"--data={proxy.data}", "--json")
    assert stopped.stdout == running.stdout
    cargo, ship = json.loads(stopped.stdout)
    assert ship["used_at"] >= cargo["used_at"] > 1.7e9
    size = sum(map(len, SHIP.blobs.values()))
    del cargo["used_at"], ship["used_at"]
    assert cargo == {
        "repository": f"{host}/harbour/cargo",
        "tag": "1.0",
        "digest": CARGO.digest,
        "form": "docker list",
        "size": 0,
    }
    assert ship == {
        "repository": f"{host}/harbour/ship",
        "tag": "2.0",
        "digest": SHIP.digest,
        "form": "OCI image",
        "size": size,
    }
    heading, line = run("images", "harbour/ship", f"--data={proxy.data}").stdout.splitlines()
    assert heading.startswith("IMAGE")
    assert line.startswith(f"{host}/harbour/ship:2.0  {SHIP.digest[:19]}  OCI image  ")
    assert len(run("images", "*:1.0", f"--data={proxy.data}").stdout.splitlines()) == 2
    absent = run("images", "none", f"--data={proxy.data}")
    assert (absent.returncode, absent.stderr) == (
        2,
        "lighterage: no stored image matches 'none'\n",
    )
    assert run("images", f"--data={tmp_path / 'elsewhere'}").returncode == 2


def test_commands_find_the_proxy_in_the_settings(registry: Registry, tmp_path: Path) -> None:
    """By --config, LIGHTERAGE_CONFIG and the environment; status 3 while it is not ready."""
    file = tmp_path / "settings.yaml"
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        file.write_text(f"admin: {{listen: '127.0.0.1:{proxy.admin_port}'}}\n")
        for done in (
            run("status", "--json", "--config", file),
            run("status", "--json", environ={"LIGHTERAGE_CONFIG": str(file)}),
            run(
                "status",
                "--json",
                environ={"LIGHTERAGE_ADMIN__LISTEN": f"0.0.0.0:{proxy.admin_port}"},
            ),
        ):
            assert done.returncode == 0
            assert json.loads(done.stdout)["health"]["status"] == "ready"
        # The addresses are taken, and by the proxy of these settings.
        environ = {"LIGHTERAGE_LISTEN": f"127.0.0.1:{proxy.port}"}
        checked = run("check-config", "--json", "--config", file, environ=environ)
        assert (checked.returncode, json.loads(checked.stdout)["valid"]) == (0, True)
        unknown = run("purge", "harbour/none", "--config", file)
        assert unknown.returncode == 2
        assert unknown.stderr.startswith("lighterage: nothing of ")
    assert run("status", "--config", file).returncode == 1


def test_the_status_is_watched_until_it_is_interrupted(registry: Registry, tmp_path: Path) -> None:
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        command: list[str | Path] = [
            LIGHTERAGE,
            "status",
            "--watch",
            "--json",
            f"--admin=127.0.0.1:{proxy.admin_port}",
        ]
        # Where the tests run in the background, it would be ignored.
        interruptible = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=interruptible,  # noqa: PLW1509 -- no threads
        ) as watching:
            assert watching.stdout is not None
            first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
            assert second["health"]["uptime"] > first["health"]["uptime"]
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == 0


def test_gc_and_scrub_as_json(registry: Registry, tmp_path: Path) -> None:
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        for digest in SHIP.blobs:
            ask(f"{proxy.url}/v2/harbour/ship/blobs/{digest}")
        planned = run("gc", "--dry-run", "--max-size=1", "--json", f"--data={proxy.data}")
        assert len(json.loads(planned.stdout)["would_evict"]) == len(SHIP.blobs)
        verified = json.loads(run("scrub", "--json", f"--data={proxy.data}").stdout)
        assert (verified["blobs"], verified["damaged"]) == (len(SHIP.blobs), [])
        swept = json.loads(run("gc", "--json", f"--data={proxy.data}").stdout)
        assert swept["blobs"] == 0
