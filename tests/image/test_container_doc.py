"""docs/container.md: what it says to type is run, or checked by the program that would read it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from proxy import __version__
from tests import tools
from tests.kit.image_build import Container
from tests.kit.raw_http import ask
from tests.kit.stand_in import NATIVE

if TYPE_CHECKING:
    from tests.kit.image_build import Image

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGE: Final = (Path(__file__).parents[2] / "docs/container.md").read_text()
IMAGE: Final = f"lighterage:{__version__}"
PORTS: Final = ["5000:5000", "127.0.0.1:5080:5080"]
VOLUME: Final = "lighterage:/var/lib/lighterage"
# As `systemd-analyze security` counts: 0 is none, 100 is all.
EXPOSURE: Final = 20


def block(language: str, beginning: str) -> str:
    """The block of code that begins with `beginning`."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (text,) = (each for each in found if each.startswith(beginning))
    return str(text)


def docker_run() -> tuple[dict[str, list[str]], list[str]]:
    """The options of the page's `docker run`, and what stands after them."""
    options: dict[str, list[str]] = {}
    words = shlex.split(block("", "docker run").replace("\\\n", " "))[2:]
    while words and words[0].startswith("--"):
        name = words.pop(0)
        alone = name in {"--detach", "--read-only"}
        options.setdefault(name, []).append("" if alone else words.pop(0))
    return options, words


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(block("yaml", "services:"))["services"]["lighterage"])


def test_docker_run_and_compose_say_the_same() -> None:
    options, rest = docker_run()
    service = compose()
    assert rest == [IMAGE] == [service["image"]]
    assert options["--publish"] == PORTS == service["ports"]
    assert options["--volume"] == [VOLUME] == service["volumes"]
    assert options["--cap-drop"] == ["ALL"] == service["cap_drop"]
    assert options["--stop-timeout"] == ["310"] == [service["stop_grace_period"].rstrip("s")]
    environment = dict(each.split("=", 1) for each in options["--env"])
    assert environment == service["environment"]
    assert service["read_only"]
    assert "--read-only" in options


def test_the_image_serves_and_its_admin_listener_answers_with_what_docker_run_sets(
    built: dict[str, Image], tmp_path: Path
) -> None:
    options, _ = docker_run()
    environment = dict(each.split("=", 1) for each in options["--env"])
    host, _, port = environment["LIGHTERAGE_ADMIN__LISTEN"].rpartition(":")
    assert f"127.0.0.1:{port}:{port}" in options["--publish"]
    with Container(built[NATIVE], tmp_path, user="65532:65532", admin_host=host) as container:
        ready = ask(f"http://127.0.0.1:{container.admin_port}/healthz")
        assert (ready.status, ready.body) == (200, b"ok\n")
        assert container.stop() == 0


def test_the_client_of_docker_knows_every_option() -> None:
    said = subprocess.run(
        [tools.require("docker"), "run", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    options, _ = docker_run()
    assert options.keys() <= set(re.findall(r"--[a-z-]+", said))


def test_compose_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yaml").write_text('version: "3.8"\n' + block("yaml", "services:"))
    done = subprocess.run(
        [tools.require("docker-compose"), "config", "--quiet"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_systemd_reads_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    analyze = tools.require("systemd-analyze")
    unit = tmp_path / "lighterage.service"
    program = Path(sys.executable).with_name("lighterage")
    text = block("ini", "[Unit]")
    unit.write_text(text.replace("/opt/lighterage/bin/lighterage", str(program)))
    for command in (
        ["verify", "--man=no"],
        ["security", "--offline=true", f"--threshold={EXPOSURE}"],
    ):
        done = subprocess.run(
            [analyze, *command, unit],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert "Unknown" not in done.stdout
