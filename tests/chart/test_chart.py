"""The chart is what helm, Kubernetes and its own documentation say that it should be."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

import kubernetes_validate  # type: ignore[import-untyped]  # it has none
import pytest
import yaml

from proxy import __version__
from tests import tools
from tests.chart import generated
from tests.chart.chart import (
    CASES,
    CHART,
    PRESETS,
    PRIVILEGED,
    REGISTRY,
    REQUIRED,
    WORKLOADS,
    helm,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METADATA: Final = yaml.safe_load((CHART / "Chart.yaml").read_text())
OLDEST: Final = METADATA["kubeVersion"].removeprefix(">=").removesuffix(".0-0")
NEWEST: Final = METADATA["annotations"]["lighterage/newest-kubernetes"]
# Of operators, which bring their own schemas.
FOREIGN: Final = {
    *("GrafanaDashboard", "HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"),
}


def test_the_chart_is_of_the_same_version_as_the_proxy() -> None:
    assert METADATA["appVersion"] == METADATA["version"] == __version__


def test_its_icon_is_the_file_beside_it() -> None:
    """There is no published address that it could be fetched from."""
    kind, _, content = METADATA["icon"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b64decode(content) == (CHART / "icon.svg").read_bytes()


def test_its_images_are_those_that_its_metadata_names() -> None:
    named = yaml.safe_load(METADATA["annotations"]["artifacthub.io/images"])
    pods = render(redis__bundled__enabled="true").pods().values()
    images = {
        container["image"].removeprefix(f"{REGISTRY}/")
        for pod in pods
        for container in pod["containers"]
    }
    assert {image["image"] for image in named} == images


@pytest.mark.parametrize("case", CASES)
def test_helm_lint_has_nothing_to_say(case: str) -> None:
    done = helm("lint", "--strict", CHART, *(f"--values={file}" for file in CASES[case]))
    assert done.returncode == 0, done.stdout
    assert not [
        line for line in done.stdout.splitlines() if "[WARNING]" in line or "[ERROR]" in line
    ]


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_every_object(case: str, kubernetes: str) -> None:
    rendered = render(*CASES[case], kubernetes=kubernetes)
    ours = [found for found in rendered.objects if found["kind"] not in FOREIGN]
    assert {found["kind"] for found in ours} >= {"ConfigMap", "Service"}
    for found in ours:
        assert kubernetes_validate.validate(found, kubernetes, strict=True) == kubernetes
    names = [(found["kind"], found["metadata"]["name"]) for found in rendered.objects]
    assert len(names) == len(set(names))


def test_the_validator_would_notice() -> None:
    (service,) = (s for s in render().of("Service") if s["metadata"]["name"].endswith("admin"))
    service["spec"]["prots"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, NEWEST, strict=True)


@pytest.mark.parametrize("case", [case for case in CASES if case not in PRIVILEGED])
def test_every_pod_is_restricted(case: str) -> None:
    """As Kubernetes' pod security standard of that name has it, without a token, with requests."""
    pods = render(*CASES[case], initContainers="null", extraContainers="null").pods()
    assert pods
    for pod in pods.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        volumes = {kind for volume in pod["volumes"] for kind in volume} - {"name"}
        assert volumes <= {"configMap", "emptyDir", "projected", "persistentVolumeClaim"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]
            assert not [port for port in container.get("ports", []) if "hostPort" in port]


def test_what_configures_nodes_has_no_more_rights_than_it_needs() -> None:
    """The node's network, one of its directories, and the user who owns that."""
    pods = render(*CASES["configure"]).pods()
    for pod in (pod for name, pod in pods.items() if not name.endswith("-configure")):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert "hostNetwork" not in pod
    pod = pods["harbour-lighterage-configure"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["hostNetwork"] is True
    assert not {"hostPID", "hostIPC"} & pod.keys()
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume] == [
        "/etc/containerd/certs.d"
    ]


@pytest.mark.parametrize("case", CASES)
def test_everything_is_labelled_and_selected_by_what_never_changes(case: str) -> None:
    rendered = render(*CASES[case])
    for found in rendered.objects:
        labels = found["metadata"]["labels"]
        if labels["app.kubernetes.io/component"] != "more":
            assert labels["app.kubernetes.io/instance"] == "harbour"
            assert found["metadata"]["namespace"] == "ops"
    for workload in rendered.of(*WORKLOADS):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        selector = workload["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels.items()
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & selector.keys()


def test_another_version_of_the_chart_alone_replaces_no_pod(tmp_path: Path) -> None:
    copy = tmp_path / "chart"
    subprocess.run(["cp", "-r", CHART, copy], check=True)
    file = copy / "Chart.yaml"
    file.write_text(file.read_text().replace("\nversion: ", "\nversion: 9"))
    options = (*REQUIRED, "--show-only=templates/statefulset.yaml")
    one, two = (
        yaml.safe_load(helm("template", "harbour", chart, *options).stdout)
        for chart in (CHART, copy)
    )
    assert one["metadata"]["labels"] != two["metadata"]["labels"]
    assert one["spec"] == two["spec"]


def test_a_number_on_the_command_line_is_as_good_as_one_in_a_file() -> None:
    """Helm reads them as different types."""
    for layout in ("claims", "nodes"):
        rendered = render(
            storage__layout=layout, revisionHistoryLimit="3", redis__bundled__enabled="true"
        )
        limits = [found["spec"]["revisionHistoryLimit"] for found in rendered.of(*WORKLOADS)]
        assert limits == [3, 3]


def test_helm_unittest_passes_every_suite() -> None:
    done = subprocess.run(
        [tools.require("helm-unittest"), "--strict", CHART],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(list(CHART.glob('tests/*_test.yaml')))} passed" in done.stdout


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("image.registry=", "pull somebody else's lighterage from Docker Hub"),
        ("config.tags.tll=3s", "additional properties 'tll' not allowed"),
        ("storage.layout=shared", "set storage.layout to claims, and replicas"),
        ("storage.layout=bucket", "Set config.blobs to {store: s3, s3: {bucket: NAME"),
        ("credentials.docker\\.io.existingSecret=hub", "set config.access.allow_anonymous: true"),
    ],
)
def test_wrong_values_are_refused_with_advice(wrong: str, advice: str) -> None:
    """By helm itself; the suites have the rest."""
    done = helm("template", CHART, *REQUIRED, f"--set={wrong}")
    assert done.returncode != 0
    assert advice in done.stderr


@pytest.mark.parametrize(("condition", "kinds"), [("true", {"StatefulSet"}), ("false", set())])
def test_another_chart_depends_on_it_with_a_condition(
    tmp_path: Path, condition: str, kinds: set[str]
) -> None:
    """Helm leaves the condition among the values, and this chart's schema takes it."""
    (tmp_path / "Chart.yaml").write_text(
        "{apiVersion: v2, name: platform, version: 1.0.0, dependencies:"
        " [{name: lighterage, version: '*', condition: lighterage.enabled}]}"
    )
    shutil.copytree(CHART, tmp_path / "charts/lighterage")
    values = f"lighterage: {{enabled: {condition}, image: {{registry: {REGISTRY}}}}}"
    (tmp_path / "values.yaml").write_text(values)
    done = helm("template", "harbour", tmp_path)
    assert done.returncode == 0, done.stderr
    found = {each["kind"] for each in yaml.safe_load_all(done.stdout) if each}
    assert found & {"StatefulSet"} == kinds


@pytest.mark.parametrize("case", ["default", "legacy"])
def test_what_is_rendered_twice_is_the_same(case: str) -> None:
    """So a release by `helm template` or Argo CD changes nothing by itself."""
    assert render(*CASES[case]) == render(*CASES[case])


def test_every_value_is_set_by_a_suite() -> None:
    """So no switch is without a test that turns it."""
    tests = [
        test
        for file in CHART.glob("tests/*_test.yaml")
        for test in yaml.safe_load(file.read_text())["tests"]
    ]
    turned = {path for test in tests for path in paths(test.get("set", {}))}
    missing = [
        value.path
        for value in generated.values()
        if not any(path == value.path or path.startswith(f"{value.path}.") for path in turned)
    ]
    assert not missing


def test_readme_and_schema_are_those_of_the_values() -> None:
    assert generated.README.read_text() == generated.readme(), "run `make chart`"
    assert generated.SCHEMA.read_text() == generated.schema(), "run `make chart`"


def test_the_schema_knows_exactly_the_values() -> None:
    values = yaml.safe_load(generated.VALUES.read_text())
    schema = json.loads(generated.SCHEMA.read_text())
    assert list(mismatches(values, schema, schema["$defs"])) == []


def test_helm_package_has_what_is_needed_and_no_tests(tmp_path: Path) -> None:
    done = helm("package", CHART, f"--destination={tmp_path}")
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    listed = subprocess.run(["tar", "-tzf", package], capture_output=True, text=True, check=True)
    names = set(listed.stdout.split())
    presets = {f"lighterage/values-{preset}.yaml" for preset in PRESETS if CASES[preset]}
    assert {"lighterage/values.schema.json", "lighterage/README.md"} | presets <= names
    assert "lighterage/templates/tests/pull.yaml" in names
    assert not [name for name in names if name.startswith("lighterage/tests/")]
    linted = helm("lint", "--strict", package)
    assert linted.returncode == 0, linted.stdout


def paths(tree: dict[str, Any], before: str = "") -> Iterator[str]:
    """Every path that a suite's `set` names, whether with dots or with nested mappings."""
    for key, value in tree.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from paths(value, f"{before}{key}.")


def mismatches(
    values: dict[str, Any], schema: dict[str, Any], definitions: dict[str, Any], place: str = ""
) -> Iterator[str]:
    """Paths that only one of the two knows. Below what the schema leaves open all is well."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    properties = schema.get("properties")
    if properties is None or place == "config.":
        return
    for key in values.keys() ^ properties.keys():
        yield f"{place}{key}"
    for key in values.keys() & properties.keys():
        if isinstance(values[key], dict):
            yield from mismatches(values[key], properties[key], definitions, f"{place}{key}.")
