"""A pod of the chart on this machine: its files in a directory, its command with paths mapped."""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.chart.chart import WORKLOADS
from tests.kit.certificates import pem
from tests.kit.processes import LOOPBACK, Program, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.chart.chart import Rendered

_COMMAND: Final = Path(sys.executable).with_name("lighterage")
# Where the pod mounts things, and where they are here.
_MOUNTS: Final = {"/etc/lighterage": "etc", "/run/lighterage": "run", "/var/lib/lighterage": "data"}


class Pod(Program):
    """The proxy's container: rendered settings, Secrets with something in them, its arguments."""

    name = "pod"

    def __init__(
        self,
        rendered: Rendered,
        directory: Path,
        secrets: Mapping[str, str],
        *,
        settings: str | None = None,
    ) -> None:
        """`secrets` says what is in files whose path ends so; the others get what they need.

        `settings` is what a ConfigMap of the user's has.
        """
        self.directory = directory
        self.port, self.admin_port, self._peer_port = free_port(), free_port(), free_port()
        workload = rendered.one(*WORKLOADS, component="proxy")
        self._pod = workload["spec"]["template"]["spec"]
        self._container = next(c for c in self._pod["containers"] if c["name"] == "lighterage")
        for mount in _MOUNTS.values():
            (directory / mount).mkdir(parents=True)
        self.settings = directory / "etc/lighterage.yaml"
        self.settings.write_text(self.mapped(rendered.settings if settings is None else settings))
        self._write_secrets(rendered, secrets)
        listen = {5000: self.port, 5080: self.admin_port}
        arguments = [self.mapped(argument) for argument in self._container["args"]]
        for inside, outside in listen.items():
            pattern = rf"(?<==)(0\.0\.0\.0|\[::\]):{inside}$"
            arguments = [re.sub(pattern, f"{LOOPBACK}:{outside}", one) for one in arguments]
        super().__init__(
            [_COMMAND, *arguments],
            directory=directory,
            listens=tuple(listen.values()),
            environment=self.environment,
        )

    @property
    def environment(self) -> dict[str, str]:
        """What the container sets; its address is the one of this machine that all have."""
        found: dict[str, str] = {}
        for each in self._container["env"]:
            if "valueFrom" in each:
                assert each["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
                found[each["name"]] = LOOPBACK
            else:
                value = self.mapped(each["value"])
                found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda name: found[name[1]], value)
        return found

    def mapped(self, text: str) -> str:
        """With this machine's paths, and a free port for other replicas."""
        for inside, here in _MOUNTS.items():
            text = text.replace(inside, str(self.directory / here))
        return re.sub(r"(0\.0\.0\.0|\[::\]):5001", f"{LOOPBACK}:{self._peer_port}", text)

    def _write_secrets(self, rendered: Rendered, secrets: Mapping[str, str]) -> None:
        private, certificate = pem()
        made = {
            found["metadata"]["name"]: {
                key: b64decode(value) for key, value in found["data"].items()
            }
            for found in rendered.of("Secret")
        }
        projected = [v["projected"] for v in self._pod["volumes"] if v["name"] == "secrets"]
        for source in (source for volume in projected for source in volume["sources"]):
            secret: dict[str, Any] = source["secret"]
            for item in secret["items"]:
                file = self.directory / "run" / item["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                given = next((v for end, v in secrets.items() if item["path"].endswith(end)), None)
                if given is not None:
                    file.write_text(given)
                elif secret["name"] in made:
                    file.write_bytes(made[secret["name"]][item["key"]])
                elif file.suffix == ".crt":
                    file.write_bytes(certificate)
                elif file.suffix in {".key", ".pem"}:
                    file.write_bytes(private)
                elif file.name == "peer-secret":
                    file.write_text("a secret that replicas share")
                else:
                    file.write_text("cargo")
