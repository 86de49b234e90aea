"""The chart, as helm renders it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests import tools

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm"
# What is tested as a whole: the defaults, each preset, and everything that can be switched on.
CASES: Final[dict[str, tuple[Path, ...]]] = {
    "default": (),
    "dev": (CHART / "values-dev.yaml",),
    "production": (CHART / "values-production.yaml",),
    "legacy": (CHART / "values-legacy.yaml",),
    "everything": (ROOT / "tests/chart/everything.yaml",),
    "nodes": (ROOT / "tests/chart/nodes.yaml",),
    "bucket": (ROOT / "tests/chart/bucket.yaml",),
    "configure": (ROOT / "tests/chart/configure.yaml",),
}
# Those with pods that need more than pod security `restricted` allows.
PRIVILEGED: Final = {"configure"}
PRESETS: Final = ("default", "dev", "production", "legacy")
_RELEASE: Final = ("harbour", "--namespace=ops")
# What no default can be: where the image is.
REGISTRY: Final = "registry.example.org"
REQUIRED: Final = (f"--set=image.registry={REGISTRY}",)
_PATIENCE: Final = 60.0
# Kubernetes is pedantic about them, and they run containers.
WORKLOADS: Final = ("StatefulSet", "Deployment", "DaemonSet")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects of a release."""

    objects: tuple[dict[str, Any], ...]

    def of(self, *kinds: str, component: str | None = None) -> list[dict[str, Any]]:
        """Those of these kinds, and of this component if one is named."""
        return [
            found
            for found in self.objects
            if found["kind"] in kinds
            and component in {None, found["metadata"]["labels"]["app.kubernetes.io/component"]}
        ]

    def one(self, *kinds: str, component: str | None = None) -> dict[str, Any]:
        """The only one of these kinds."""
        (found,) = self.of(*kinds, component=component)
        return found

    def pods(self) -> dict[str, dict[str, Any]]:
        """The specification of every pod, by the name of what it is in."""
        specifications = {}
        for found in self.of("Pod", *WORKLOADS):
            pod = found if found["kind"] == "Pod" else found["spec"]["template"]
            specifications[found["metadata"]["name"]] = pod["spec"]
        return specifications

    @property
    def settings(self) -> str:
        """The file that the proxy reads."""
        maps = self.of("ConfigMap", component="proxy")
        (text,) = (
            found["data"]["lighterage.yaml"] for found in maps if "lighterage.yaml" in found["data"]
        )
        return str(text)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`helm ARGUMENTS`, to its end; whether it was content is for the caller to say."""
    return subprocess.run(
        [tools.require("helm"), *arguments],
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )


def render(*values: Path, kubernetes: str | None = None, **overriding: str) -> Rendered:
    """A release with these files of values, and with `overriding` as `--set` would have it."""
    options: list[str | Path] = [*REQUIRED, *(f"--values={file}" for file in values)]
    options += [f"--set={path.replace('__', '.')}={value}" for path, value in overriding.items()]
    if kubernetes is not None:
        options.append(f"--kube-version={kubernetes}")
    done = helm("template", *_RELEASE, CHART, *options)
    assert done.returncode == 0, done.stderr
    return Rendered(tuple(filter(None, yaml.load_all(done.stdout, _Strict))))


class _Strict(yaml.SafeLoader):
    """Takes no key twice, as Kubernetes does not."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), node.start_mark
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor("tag:yaml.org,2002:map", _mapping)
