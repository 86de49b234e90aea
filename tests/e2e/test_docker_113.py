"""What docker 1.13.1 prints for an image that was refused, by its own code for the v1 API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests import tools
from tests.kit import images
from tests.kit.accept_lines import DOCKER_1_13
from tests.kit.clients import ClientError, run
from tests.kit.manifest_kinds import chart, signature
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.e2e

REFUSED: Final = {"chart": chart(), "signature": signature()}


def printed(image: str) -> str:
    """What the person at a terminal reads after docker's request by the v2 API has failed."""
    with pytest.raises(ClientError) as failure:
        run([tools.require("docker113"), image])
    return str(failure.value)


@pytest.mark.parametrize("name", [*REFUSED, "absent"])
def test_docker_prints_why_an_image_was_refused(tmp_path: Path, name: str) -> None:
    with Registry(tmp_path / "registry") as registry:
        for each, content in REFUSED.items():
            registry.push(f"cargo/{each}", "1", content)
        with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
            answer = ask(f"{proxy.url}/v2/cargo/{name}/manifests/1", headers=DOCKER_1_13)
            assert answer.status == 404
            reason = json.loads(answer.body)["errors"][0]["message"]
            shown = printed(f"{proxy.host}/cargo/{name}")
            assert "Status 410 trying to pull repository" in shown
            # docker quotes the JSON that it got.
            assert reason in shown.replace("\\\\", "\\").replace('\\"', '"').replace('\\"', '"')


def test_docker_prints_how_to_ask_where_nothing_was_refused(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry") as registry:
        registry.push("cargo/docker", "1", images.docker())
        with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
            assert "manifests/TAG" in printed(f"{proxy.host}/cargo/docker")
