"""What the chart renders, run: the settings by the proxy, Redis' arguments by Redis, the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from proxy.cli.clients import CLIENTS, ProxyAddress
from proxy.config import load
from proxy.runtime.reload import LIVE
from tests import tools
from tests.chart.chart import CASES, CHART, REQUIRED, WORKLOADS, helm, render
from tests.chart.node import Pod
from tests.kit import images
from tests.kit.processes import LOOPBACK, Program, Proxy, free_port
from tests.kit.raw_http import ask
from tests.kit.redis import eventually
from tests.kit.registry import Registry
from tests.kit.s3_gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")
# Nobody is there: a pod must start and be ready without Redis.
SECRETS: Final = {
    "manifests__redis__url": f"redis://:secret@{LOOPBACK}:9/0",
    "htpasswd": "ann:$2b$04$.v1CstXZetlc9RB9CfyoEuEDzaruSAeqThWggr7SkzKgV75NYmKgS",
    "credentials/ghcr.io": json.dumps({"auths": {"ghcr.io": {"auth": "Y2FyZ286Y2FyZ28="}}}),
}
CARGO: Final = "library/cargo"


@pytest.mark.parametrize("case", CASES)
def test_the_proxy_takes_the_settings_and_the_secrets(case: str, tmp_path: Path) -> None:
    pod = Pod(render(*CASES[case]), tmp_path, SECRETS)
    environment = {"PATH": os.environ["PATH"], **pod.environment}
    done = subprocess.run(
        [LIGHTERAGE, "check-config", f"--config={pod.settings}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    settings = load(pod.settings, environ=environment)
    if case == "everything":
        login = settings.upstreams["docker.io"].credentials
        assert login is not None
        assert login.username == "cargo"
        assert login.password_file is not None
        assert login.password_file.read_text() == "cargo"
        assert settings.tags.ttl == 300


def test_what_the_chart_says_is_added_to_settings_of_the_user_s(tmp_path: Path) -> None:
    """A ConfigMap that exists takes the place of `config`, and of nothing else."""
    values = tmp_path / "values.yaml"
    values.write_text(
        json.dumps(
            {
                "existingConfigMap": "mine",
                "replicas": 3,
                "credentials": {"quay.io": {"existingSecret": "quay", "kind": "token"}},
                "redis": {"bundled": {"enabled": True}},
                "signingKey": {"existingSecret": "signing"},
                "tls": {"existingSecret": "tls"},
            }
        )
    )
    written = """
        upstreams: {quay.io: {url: "https://quay.io", default: true}}
        access: {allow_anonymous: true}
        conversion: {mixed: consistent}
    """
    pod = Pod(render(values), tmp_path / "pod", SECRETS, settings=written)
    settings = load(pod.settings, environ=pod.environment)
    run = tmp_path / "pod/run"
    login = settings.upstreams["quay.io"].credentials
    assert login is not None
    assert login.token_file == run / "credentials/quay.io"
    assert login.token_file.read_text() == "cargo"
    assert settings.conversion.mixed == "consistent"
    assert settings.conversion.signing_key_file == run / "signing-key.pem"
    assert settings.tls.key_file == run / "tls/tls.key"
    assert settings.manifests.store == "redis"
    assert settings.manifests.redis.url == ("redis://harbour-lighterage-redis.ops.svc:6379/0",)


@pytest.mark.parametrize("case", ["default", "dev", "production", "legacy"])
def test_the_container_s_command_starts_the_proxy(case: str, tmp_path: Path) -> None:
    with Pod(render(*CASES[case]), tmp_path, SECRETS) as pod:
        ready = ask(f"http://{LOOPBACK}:{pod.admin_port}/readyz")
        assert ready.status == 200
        assert json.loads(ready.body)["status"] == "ready"
        assert (pod.directory / "data/spool").is_dir()
        if case != "legacy":  # it speaks TLS
            assert ask(f"http://{LOOPBACK}:{pod.port}/v2/").status == 200


def test_a_pod_is_given_longer_than_the_proxy_takes_to_end() -> None:
    for files in CASES.values():
        rendered = render(*files)
        written = yaml.safe_load(rendered.settings).get("shutdown", {})
        settings = load(environ={}, arguments={"shutdown": written})
        pod = rendered.one(*WORKLOADS, component="proxy")["spec"]["template"]["spec"]
        before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed = before + settings.shutdown.delay + settings.shutdown.grace
        assert needed < pod["terminationGracePeriodSeconds"] <= needed + 30


def test_what_replaces_pods_is_exactly_what_the_proxy_does_not_take_over(tmp_path: Path) -> None:
    def fixed(settings: str) -> str:
        file = tmp_path / "values.yaml"
        file.write_text(f"config: {settings}")
        pod = render(file).one("StatefulSet")["spec"]["template"]
        return str(pod["metadata"]["annotations"]["lighterage/fixed-settings"])

    hub = "docker.io: {url: 'https://registry-1.docker.io', default: true, offline: %s}"
    before = fixed(f"{{upstreams: {{{hub % 'false'}}}}}")
    assert fixed(f"{{upstreams: {{{hub % 'true'}}}}}") == before
    live = {"tags": "{ttl: 1h}", "negative_cache": "{denied: 1m}", "budget": "{reserve: 5%}"}
    live["access"] = "{rules: [{match: docker.io/evil/*, mode: deny, reason: x}]}"
    assert live.keys() == set(LIVE)
    before = fixed("{}")
    for section, change in live.items():
        assert fixed(f"{{{section}: {change}}}") == before
    assert fixed("{conversion: {accept_missing: stored}}") != before
    assert fixed("{access: {audit: {file: /var/log/audit}}}") != before
    assert fixed("{upstreams: {quay.io: {url: 'https://quay.io', default: true}}}") != before


def test_redis_understands_the_arguments(tmp_path: Path) -> None:
    deployment = render(redis__bundled__enabled="true").one("Deployment", component="redis")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    port = free_port()
    command = [tools.require(container["command"][0]), *container["args"], "--dir", tmp_path]
    redis = Program([*command, "--port", str(port)], directory=tmp_path, listens=(port,))
    with redis:
        import redis as client  # noqa: PLC0415 -- a name for the server above

        with client.Redis(LOOPBACK, port) as connection:
            configured = connection.config_get("maxmemory*", "save", "appendonly", "protected-mode")
    assert configured["maxmemory"] == str(256 * 2**20)
    assert configured["maxmemory-policy"] == "allkeys-lru"
    assert configured["save"] == ""
    assert configured["appendonly"] == configured["protected-mode"] == "no"


def test_the_notes_have_what_client_config_prints(tmp_path: Path) -> None:
    """For registries of all kinds: by default, by another name, with a prefix, without TLS."""
    copy, values = tmp_path / "chart", tmp_path / "values.yaml"
    shutil.copytree(CHART, copy)
    upstreams = {
        "docker.io": {"url": "https://registry-1.docker.io", "default": True},
        "ghcr.io": {"url": "https://harbor.example.org", "prefix": "ghcr"},
        "quay.io": {"url": "http://quay.example.org/"},
        "registry:5000": {"url": "https://registry:5000", "aliases": ["registry"]},
        "unnamed:5000": {"url": "https://unnamed:5000"},
    }
    values.write_text(json.dumps({"config": {"upstreams": upstreams}}))
    for scheme in ("http", "https"):
        at = f'(dict "root" . "scheme" "{scheme}" "host" "mirror:30500")'
        for client in ("containerd", "docker", "podman"):
            files_of = CLIENTS[client]
            probe = f'{{{{ include "lighterage.clients.{client}" {at} | quote }}}}'
            (copy / "templates/probe.yaml").write_text(f"text: {probe}\n")
            options = (*REQUIRED, "--show-only=templates/probe.yaml", f"--values={values}")
            done = helm("template", copy, *options)
            assert done.returncode == 0, done.stderr
            lines = yaml.safe_load(done.stdout)["text"].splitlines()
            said = [line for line in lines if line and not line.startswith("#")]
            settings = load(environ={}, arguments={"upstreams": upstreams})
            files = files_of(settings, ProxyAddress("mirror:30500", tls=scheme == "https"))
            printed = "\n".join(file.text for file in files)
            if client == "docker":
                assert json.loads("".join(said)) == json.loads(printed)
            else:
                assert said == [line for line in printed.splitlines() if line]


# What `helm test` runs


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with an index of images for two platforms."""
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        registry.push(CARGO, "1", images.oci_index())
        yield registry


def run_test(what: str, url: str, image: str = f"{CARGO}:1") -> subprocess.CompletedProcess[str]:
    """What the pod of that name does."""
    return subprocess.run(
        [sys.executable, "-I", CHART / "files/pull.py", what, url, image],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_helm_test_passes_with_the_proxy(registry: Registry, tmp_path: Path) -> None:
    pods = [name for name in render().pods() if "-test-" in name]
    names = [name.rpartition("-test-")[2] for name in pods]
    assert names == ["ping", "pull", "hit", "legacy"]
    with Proxy(tmp_path, upstream=registry.url) as proxy:
        for what in names:
            done = run_test(what, proxy.url)
            assert (done.returncode, done.stdout) == (0, f"passed: {what}\n"), done.stderr


def test_helm_test_passes_where_every_tag_is_revalidated(
    registry: Registry, tmp_path: Path
) -> None:
    with Proxy(tmp_path, upstream=registry.url, settings={"tags": {"ttl": 0}}) as proxy:
        done = run_test("hit", proxy.url)
    assert (done.returncode, done.stdout) == (0, "passed: hit\n"), done.stderr


def test_helm_test_follows_the_redirect_to_a_bucket(registry: Registry, tmp_path: Path) -> None:
    with Gateway(tmp_path / "gateway") as gateway:
        settings = {"blobs": gateway.settings(deliver="redirect")}
        with Proxy(tmp_path / "proxy", upstream=registry.url, settings=settings) as proxy:
            assert run_test("pull", proxy.url).stdout == "passed: pull\n"
            layer = next(iter(images.oci_index().children[0].blobs))
            url = f"{proxy.url}/v2/{CARGO}/blobs/{layer}"
            eventually(lambda: ask(url).status == 307, "it is not in the bucket")
            done = run_test("pull", proxy.url)
            assert (done.returncode, done.stdout) == (0, "passed: pull\n"), done.stderr


def test_helm_test_fails_where_something_is_wrong(registry: Registry, tmp_path: Path) -> None:
    """A registry in the proxy's place has no cache; and an image may not be there."""
    assert "no hit" in run_test("hit", registry.url).stderr
    assert "404" in run_test("pull", registry.url, f"{CARGO}:absent").stderr
    settings = {"conversion": {"accept_missing": "stored"}}
    with Proxy(tmp_path, upstream=registry.url, settings=settings) as proxy:
        assert "without Accept it is" in run_test("legacy", proxy.url).stderr
