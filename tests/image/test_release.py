"""`make release` into a registry of this machine, and what can be had and verified from there."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from proxy import __version__
from release.layout import oci_config
from tests import tools
from tests.kit import images
from tests.kit.image_build import ISOLATION, SOURCE
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry
from tests.kit.stand_in import MACHINES, NATIVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.image_build import Buildah, Image

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT: Final = Path(__file__).parents[2]
PASSWORD: Final = {"COSIGN_PASSWORD": "of the test's key"}
TEAM: Final = "team"
OCI: Final = "application/vnd.oci.image"
UNLOGGED: Final = ("--insecure-ignore-tlog=true", "--allow-http-registry")


class Released:
    """What `make release` has said, the key that verifies it, and where it can be pulled from."""

    def __init__(self, said: dict[str, Any], key: Path, registry: str, proxy: str) -> None:
        self.said = said
        self.key = key
        self.places = {"the registry": registry, "the proxy": proxy}

    def digest(self, name: str) -> str:
        """Of the index, or of the chart's manifest."""
        return str(self.said[name]).partition("@")[2]

    def cosign(self, command: str, *arguments: str) -> str:
        """Verify something; what cosign prints. It must succeed."""
        program = tools.require("cosign")
        return run([program, command, f"--key={self.key}", *UNLOGGED, *arguments])


def run(command: list[str | Path], **environ: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **PASSWORD, **environ},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def released(
    builder: Buildah, built: dict[str, Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Released]:
    """A release, made of the sources of `built`, in a registry with a proxy in front of it."""
    assert built
    for tool in ("skopeo", "helm"):
        tools.require(tool)
    directory = tmp_path_factory.mktemp("release")
    run([tools.require("cosign"), "generate-key-pair", f"--output-key-prefix={directory}/key"])
    options = [
        option if "BUILDPLATFORM" in option else option.replace(NATIVE, "{machine}")
        for option in builder.arguments(NATIVE)
    ]
    with (
        Registry(directory / "registry") as registry,
        Proxy(directory / "proxy", upstream=registry.url) as proxy,
    ):
        address = registry.url.removeprefix("http://")
        said = run(
            [
                *(
                    "make",
                    "--no-print-directory",
                    "release",
                    f"REGISTRY={address}/{TEAM}",
                    f"KEY={directory}/key.key",
                ),
                "ARGS="
                + " ".join(
                    [
                        "--plain-http",
                        f"--revision={SOURCE.revision}",
                        f"--buildah='{' '.join(builder.command)}'",
                        *(f"--build={option}" for option in options),
                    ]
                ),
            ],
            SOURCE_DATE_EPOCH=str(SOURCE.epoch),
            **ISOLATION,
        )
        places = (address, f"127.0.0.1:{proxy.port}")
        yield Released(json.loads(said[said.index("{") :]), directory / "key.pub", *places)


def manifest(place: str, repository: str, reference: str) -> dict[str, Any]:
    answer = ask(
        f"http://{place}/v2/{TEAM}/{repository}/manifests/{reference}",
        headers=[("Accept", f"{OCI}.index.v1+json"), ("Accept", f"{OCI}.manifest.v1+json")],
    )
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


@pytest.mark.parametrize("place", ["the registry", "the proxy"])
def test_an_index_of_both_machines(released: Released, built: dict[str, Image], place: str) -> None:
    """Of the very bytes that another build of the same sources has made."""
    index = manifest(released.places[place], "lighterage", __version__)
    assert index["annotations"]["org.opencontainers.image.version"] == __version__
    assert "org.opencontainers.image.source" not in index["annotations"]
    by_machine = {each["platform"]["architecture"]: each for each in index["manifests"]}
    assert by_machine.keys() == MACHINES.keys()
    for machine, image in built.items():
        assert by_machine[machine]["digest"] == released.said["images"][machine]
        found = manifest(released.places[place], "lighterage", by_machine[machine]["digest"])
        assert found["config"]["digest"] == images.digest(oci_config(image.config))
        assert [each["mediaType"] for each in found["layers"]] == [f"{OCI}.layer.v1.tar+gzip"] * 4


@pytest.mark.parametrize("place", ["the registry", "the proxy"])
def test_image_and_chart_are_signed_by_their_digests(released: Released, place: str) -> None:
    at = f"{released.places[place]}/{TEAM}"
    named = {
        f"{at}/lighterage:{__version__}": released.digest("image"),
        f"{at}/charts/lighterage:{__version__}": released.digest("chart"),
        **{f"{at}/lighterage@{each}": each for each in released.said["images"].values()},
    }
    for reference, digest in named.items():
        verified = json.loads(released.cosign("verify", reference))
        assert verified[0]["critical"]["image"]["docker-manifest-digest"] == digest


def test_the_image_keeps_its_health_check(released: Released) -> None:
    place = released.places["the proxy"]
    found = manifest(place, "lighterage", released.said["images"][NATIVE])
    address = f"http://{place}/v2/{TEAM}/lighterage/blobs/{found['config']['digest']}"
    config = json.loads(ask(address).body)["config"]
    assert config["Healthcheck"]["Test"][-1] == "health"
    assert "Hostname" not in config


def test_another_key_verifies_nothing(released: Released, tmp_path: Path) -> None:
    cosign = tools.require("cosign")
    run([cosign, "generate-key-pair", f"--output-key-prefix={tmp_path}/other"])
    image = f"{released.places['the registry']}/{TEAM}/lighterage:{__version__}"
    done = subprocess.run(
        [cosign, "verify", f"--key={tmp_path}/other.pub", *UNLOGGED, image],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "no matching signatures" in done.stderr


@pytest.mark.parametrize("place", ["the registry", "the proxy"])
@pytest.mark.parametrize("machine", MACHINES)
def test_each_image_has_a_bill_of_materials_and_a_provenance(
    released: Released, place: str, machine: str
) -> None:
    digest = released.said["images"][machine]
    image = f"{released.places[place]}/{TEAM}/lighterage@{digest}"
    bill = statement(released, "cyclonedx", image)
    assert bill["subject"][0]["digest"]["sha256"] == digest.partition(":")[2]
    named = {each["purl"].partition("@")[0] for each in bill["predicate"]["components"]}
    assert {"pkg:pypi/aiohttp", "pkg:pypi/lighterage", "pkg:deb/debian/libssl3t64"} <= named
    built_from = statement(released, "slsaprovenance1", image)["predicate"]["buildDefinition"]
    revisions = [each["digest"].get("gitCommit") for each in built_from["resolvedDependencies"]]
    assert SOURCE.revision in revisions
    assert built_from["externalParameters"]["version"] == __version__


def statement(released: Released, kind: str, image: str) -> dict[str, Any]:
    """The in-toto statement about the image, whose signature is verified."""
    said = released.cosign("verify-attestation", f"--type={kind}", image)
    return dict(json.loads(base64.b64decode(json.loads(said.splitlines()[0])["payload"])))


@pytest.mark.parametrize("place", ["the registry", "the proxy"])
def test_the_chart_can_be_pulled_and_names_the_version(
    released: Released, place: str, tmp_path: Path
) -> None:
    chart = f"oci://{released.places[place]}/{TEAM}/charts/lighterage"
    version = f"--version={__version__}"
    helm = tools.require("helm")
    run([helm, "pull", "--plain-http", version, chart, "--untar", f"--destination={tmp_path}"])
    described = yaml.safe_load((tmp_path / "lighterage/Chart.yaml").read_text())
    assert (described["version"], described["appVersion"]) == (__version__, __version__)
