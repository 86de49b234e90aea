"""What vouches for an image: how it was built (SLSA), and what is in it (CycloneDX)."""

from __future__ import annotations

import json
import re
from email import message_from_string
from hashlib import sha256
from importlib.metadata import Distribution
from typing import TYPE_CHECKING, Final
from uuid import NAMESPACE_URL, uuid5

from release.build import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from release.build import Source

_APPLICATION: Final = "opt/lighterage"
_PACKAGES: Final = "var/lib/dpkg/status.d"
_LOCKS: Final = ("requirements.lock", "requirements-build.lock")
# Identifiers that stand for this recipe; they need not be addresses of anything.
_BUILD_TYPE: Final = "urn:lighterage:release:buildah:1"
_BUILDER: Final = "urn:lighterage:make-release"


def provenance(source: Source, builder: str) -> bytes:
    """The predicate of an SLSA provenance v1 statement; `builder` is the program's version."""
    bases = re.findall(
        r"^ARG (?:BUILD|RUNTIME)=(\S+)@sha256:(\S+)$",
        (ROOT / "Dockerfile").read_text(),
        re.MULTILINE,
    )
    materials: list[dict[str, object]] = [
        {"uri": "git+local", "digest": {"gitCommit": source.revision}}
    ]
    named = {f"docker://{name}": digest for name, digest in bases}
    for lock in _LOCKS:
        named[f"file:{lock}"] = sha256((ROOT / lock).read_bytes()).hexdigest()
    materials += [{"uri": uri, "digest": {"sha256": digest}} for uri, digest in named.items()]
    return _encode(
        {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "dockerfile": "Dockerfile",
                    "version": source.version,
                    "sourceDateEpoch": source.epoch,
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {"buildah": builder}},
                "metadata": {"invocationId": str(uuid5(NAMESPACE_URL, source.revision))},
            },
        }
    )


def bill_of_materials(source: Source, root: Path, image: str) -> bytes:
    """What is in the image, CycloneDX 1.6: Python's packages, and those of the base.

    `root` is its root file system, and `image` the digest of its manifest.
    """
    components = sorted((*_python(root), *_debian(root)), key=lambda each: each["bom-ref"])
    return _encode(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, image)}",
            "version": 1,
            "metadata": {
                "timestamp": source.created,
                "component": {
                    "type": "container",
                    "bom-ref": image,
                    "name": "lighterage",
                    "version": source.version,
                },
            },
            "components": components,
        }
    )


def _python(root: Path) -> Iterator[dict[str, str]]:
    for directory in (root / _APPLICATION).glob("*.dist-info"):
        package = Distribution.at(directory)
        name = re.sub(r"[-_.]+", "-", package.name).lower()
        yield _component(package.name, package.version, f"pkg:pypi/{name}@{package.version}")


def _debian(root: Path) -> Iterator[dict[str, str]]:
    """As distroless bases list their packages: a file for each."""
    for file in (root / _PACKAGES).glob("*"):
        if file.suffix == ".md5sums":
            continue
        fields = message_from_string(file.read_text())
        name, version, machine = (fields[key] for key in ("Package", "Version", "Architecture"))
        yield _component(name, version, f"pkg:deb/debian/{name}@{version}?arch={machine}")


def _component(name: str, version: str, address: str) -> dict[str, str]:
    purl = address.replace("+", "%2B")
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }


def _encode(content: object) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
