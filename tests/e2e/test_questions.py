"""`lighterage inspect` and `explain`, and what the admin listener answers to the same questions."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from proxy.cli import questions
from proxy.oci.clients import CLIENTS
from proxy.oci.mediatype import MediaType
from tests.e2e.test_commands import run
from tests.kit import images
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

SHIP = images.oci()
IMAGE = "harbour/ship:2.0"


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxy]:
    """It has the manifest, and as docker 1.13 gets it."""
    with Registry(tmp_path / "registry") as registry:
        registry.push("harbour/ship", "2.0", SHIP)
        proxy = Proxy(
            tmp_path / "proxy",
            upstream=registry.url,
            workers=request.param,
            settings={"tags": {"ttl": "1h"}, "negative_cache": {"not_found": "1h"}},
        )
        with proxy:
            ask(f"{proxy.url}/v2/harbour/ship/manifests/2.0", headers=[("Accept", MediaType.V2S2)])
            yield proxy


def get(proxy: Proxy, path: str, **query: str) -> tuple[int, dict[str, Any]]:
    try:
        url = f"{proxy.admin_url}{path}?{urlencode(query)}"
        with urlopen(url, timeout=60) as answer:  # noqa: S310 -- the test's own proxy
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_explain_knows_what_the_processes_that_serve_know(proxy: Proxy) -> None:
    """Each worker has been told that there is no such image, and asks nobody again for a while."""
    path = f"{proxy.url}/v2/harbour/none/manifests/1"
    answers = [ask(path, headers=[("Accept", "*/*")]) for _ in range(64)]
    assert {answer.status for answer in answers} == {HTTPStatus.NOT_FOUND}
    status, said = get(proxy, "/explain", image="harbour/none:1")
    assert (status, said["state"], said["calls"]) == (200, "not cached", [])
    assert said["representation"]["code"] == "MANIFEST_UNKNOWN"
    assert said["representation"]["message"] == json.loads(answers[-1].body)["errors"][0]["message"]


def test_explain_asks_the_running_proxy(proxy: Proxy) -> None:
    admin = f"--admin=127.0.0.1:{proxy.admin_port}"
    done = run("explain", IMAGE, "--as=docker-1.13", admin, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["state"] == "fresh"
    assert said["calls"] == []
    assert said["representation"]["form"] == "docker image"
    assert said["representation"]["converted_from"] == SHIP.digest
    answer = get(proxy, "/explain", image=IMAGE, **{"as": "docker-1.13"})
    assert answer == (HTTPStatus.OK, said)
    text = run("explain", IMAGE, f"--accept={MediaType.OCI_MANIFEST}", admin).stdout.decode()
    assert f"representation  OCI image, {SHIP.digest} (rule: named)\n" in text
    assert text.endswith("upstream calls  none\n")
    legacy = run("explain", IMAGE, "--no-accept", admin).stdout.decode()
    assert "upstream calls  1\n  GET of blob harbour/ship sha256:" in legacy
    both = run("explain", IMAGE, "--no-accept", "--as=curl", admin)
    assert (both.returncode, both.stderr) == (
        2,
        b"lighterage: give one of --as, --accept and --no-accept\n",
    )


def test_a_registry_listener_is_no_admin_listener(proxy: Proxy) -> None:
    wrong = f"lighterage: http://{proxy.host} is a registry listener; name the admin listener with "
    for command in (("status",), ("explain", IMAGE)):
        done = run(*command, f"--admin={proxy.host}")
        assert done.returncode == 1
        assert done.stderr.decode() == f"{wrong}--admin or --config\n"


def test_explain_notes_a_name_that_looks_like_another_registry(proxy: Proxy) -> None:
    done = run("explain", "ghcr.io/a/b:1", f"--admin=127.0.0.1:{proxy.admin_port}")
    assert "note            'ghcr.io' is no upstream of this proxy, which has: " in (
        done.stdout.decode()
    )


def test_inspect_needs_no_proxy(proxy: Proxy) -> None:
    command = ("inspect", IMAGE, f"--data={proxy.data}", f"--upstream={proxy_upstream(proxy)}")
    while_it_runs = run(*command, "--json")
    assert while_it_runs.returncode == 0, while_it_runs.stderr
    answered = get(proxy, "/inspect", image=IMAGE)
    proxy.stop()
    done = run(*command, "--json")
    assert done.stdout == while_it_runs.stdout
    found = json.loads(done.stdout)
    assert answered == (HTTPStatus.OK, found)
    assert found["stored"]["digest"] == SHIP.digest
    rows = {row["form"]: row for row in found["representations"]}
    assert rows["OCI image"]["exists"]
    assert rows["docker image"]["exists"]
    assert "docker-1.13" in rows["docker image"]["serves"]
    assert rows["schema 1"]["reason"].startswith("it needs a GET of blob harbour/ship sha256:")
    text = run(*command).stdout.decode()
    assert f"is stored as OCI image, {SHIP.digest}\n" in text
    assert "  for docker-1.13\n" in text
    absent = run("inspect", "harbour/none", *command[2:])
    assert absent.returncode == 2
    assert absent.stderr.endswith(b"/harbour/none:latest is not cached\n")


def proxy_upstream(proxy: Proxy) -> str:
    (option,) = [part for part in proxy.command if part.startswith("--upstream=")]
    return option.removeprefix("--upstream=")


def test_a_question_that_is_none_is_an_error_in_the_spec_s_form(proxy: Proxy) -> None:
    for path, query in (
        ("/explain", {}),
        ("/explain", {"image": "<script>alert(1)</script>"}),
        ("/explain", {"image": IMAGE, "as": "docker-7"}),
        ("/explain", {"image": IMAGE, "evil": "1"}),
        ("/inspect", {"image": "http://127.0.0.1:1/x"}),
        ("/inspect", {"image": IMAGE, "as": "curl"}),
    ):
        status, body = get(proxy, path, **query)
        assert (status, list(body)) == (HTTPStatus.BAD_REQUEST, ["errors"]), (path, query)
    status, body = get(proxy, "/inspect", image="harbour/none")
    assert (status, body["errors"][0]["code"]) == (HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN")


def test_the_command_knows_the_clients() -> None:
    assert tuple(CLIENTS) == questions.CLIENTS
