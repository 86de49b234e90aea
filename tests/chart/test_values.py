"""Whatever is given, helm renders what Kubernetes takes, or the chart says what is wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import kubernetes_validate  # type: ignore[import-untyped]  # it has none
import pytest
import yaml

from tests.chart import generated
from tests.chart.chart import CASES, CHART, REGISTRY, REQUIRED, helm, render
from tests.chart.test_chart import NEWEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What helm prints of a refusal by the schema, and by a template of refusals.
REFUSED: Final = re.compile(
    r"values don't meet the specifications|\(lighterage/templates/configmap.yaml:1:4\): \n"
)


def every_value() -> Iterator[tuple[str, object]]:
    """Each value's path and default; sections are values, too."""
    ahead = list(yaml.safe_load(generated.VALUES.read_text()).items())
    for path, value in ahead:
        yield path, value
        if isinstance(value, dict):
            ahead += ((f"{path}.{key}", below) for key, below in value.items())


def nested(path: str, value: object) -> dict[str, Any]:
    """The values that have only `value` at `path`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    """Add `values`, section by section."""
    for key, value in values.items():
        if isinstance(value, dict) and key in into:
            merge(into[key], value)
        else:
            into[key] = value


def complaint(tmp_path: Path, case: str, path: str) -> str | None:
    """What is wrong with what helm says where the value at `path` is null."""
    values = {"image": {"registry": REGISTRY}, **nested(path, None)}
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    done = helm("template", CHART, *(f"--values={each}" for each in (*CASES[case], file)))
    return None if done.returncode == 0 or REFUSED.search(done.stderr) else done.stderr


@pytest.mark.parametrize("case", ["everything", "nodes"])
def test_any_section_may_be_null(case: str, tmp_path: Path) -> None:
    """Helm takes that as: no default, either."""
    found = {
        path: complaint(tmp_path, case, path)
        for path, value in every_value()
        if isinstance(value, (dict, list)) and not path.startswith("image.")
    }
    assert len(found) > 50
    assert not {path: said for path, said in found.items() if said}


# Of objects that somebody else has made.
NAMES: Final = (
    *("access.clientCaSecret", "access.htpasswd.existingSecret", "access.tokenKey.existingSecret"),
    *("adminService.existingSecret", "existingConfigMap", "peers.secret.existingSecret"),
    *("priorityClassName", "redis.existingSecret", "redis.hmacKey.existingSecret"),
    *("redis.tlsSecret", "serviceAccount.name", "signingKey.existingSecret"),
    *("storage.bucket.existingSecret", "storage.existingClaim", "tls.existingSecret"),
)


@pytest.mark.parametrize(
    "name", ["Capital", "two words", "a: b", "- a", "{{ .Values }}", "a" * 254]
)
def test_a_name_that_kubernetes_does_not_take_is_refused(name: str) -> None:
    options = [f"--set-json={path}={json.dumps(name)}" for path in NAMES]
    done = helm("template", CHART, *REQUIRED, *options)
    assert done.returncode != 0
    for path in NAMES:
        assert f"at '/{path.replace('.', '/')}'" in done.stderr


@pytest.mark.parametrize("name", ["123", "true"])
def test_a_name_that_yaml_reads_as_something_else_stays_a_name(name: str) -> None:
    options = [
        f"--set-string={path}={name}" for path in ("tls.existingSecret", "serviceAccount.name")
    ]
    options += [
        f"--set-string={path}={name}" for path in ("existingConfigMap", "priorityClassName")
    ]
    options.append(f"--set-string=global.imagePullSecrets[0]={name}")
    done = helm("template", name, CHART, *REQUIRED, f"--namespace={name}", *options)
    assert done.returncode == 0, done.stderr
    for found in filter(None, yaml.safe_load_all(done.stdout)):
        assert found["metadata"]["namespace"] == name
        assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == name
        assert kubernetes_validate.validate(found, NEWEST, strict=True) == NEWEST


def test_a_name_of_another_chart_is_refused_with_what_to_write(tmp_path: Path) -> None:
    """All that are used are named at once."""
    names = generated.other_names()
    values: dict[str, Any] = {}
    for path in names:
        merge(values, nested(path, {"a": 1}))
    merge(values, {"image": {"registry": REGISTRY}})
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    done = helm("template", CHART, f"--values={file}")
    assert done.returncode != 0
    for path, said in names.items():
        called, without = f"{path} is called {said} in this chart.", f"{path}: {said}. Remove it."
        assert called in done.stderr or without in done.stderr, done.stderr


def test_no_value_is_called_as_in_another_chart() -> None:
    values = {path for path, _ in every_value()}
    assert not values & generated.other_names().keys()


def test_what_others_are_called_here_is_there() -> None:
    """Every path in an answer, as far as it is one of the chart's own values."""
    values = {path for path, _ in every_value()}
    sections = {path.partition(".")[0] for path in values} - {"config", "credentials", "nodes"}
    for said in generated.other_names().values():
        for path in re.findall(r"\b[a-z]\w+(?:\.\w+)+\b", said):
            if path.partition(".")[0] in sections:
                assert path in values, said


@pytest.mark.parametrize(
    ("case", "kind", "right", "wrong"),
    [
        ("default", "StatefulSet", "OnDelete", "Recreate"),
        ("nodes", "DaemonSet", "OnDelete", "Recreate"),
        ("bucket", "Deployment", "Recreate", "OnDelete"),
    ],
)
def test_a_strategy_that_the_workload_does_not_have_is_refused(
    case: str, kind: str, right: str, wrong: str
) -> None:
    assert render(*CASES[case], updateStrategy__type=right).of(kind, component="proxy")
    files = [f"--values={file}" for file in CASES[case]]
    done = helm("template", CHART, *REQUIRED, *files, f"--set=updateStrategy.type={wrong}")
    assert done.returncode != 0
    assert f"a {kind}, which has no strategy {wrong}. Set it to RollingUpdate or {right}." in (
        done.stderr
    )
