"""What vouches for an image is what its readers take: by their libraries and their schemas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import (  # type: ignore[import-untyped]  # it has none
    Parse,
    ParseError,
)
from in_toto_attestation.predicates.provenance.v1 import (  # type: ignore[import-untyped]  # it has none
    provenance_pb2,
)
from packageurl import PackageURL

from release.build import Source
from release.provenance import bill_of_materials, provenance

if TYPE_CHECKING:
    from pathlib import Path

SOURCE: Final = Source("0.1.0", "ab" * 20, 1_700_000_000)
IMAGE: Final = f"sha256:{'cd' * 32}"
# As Debian writes versions: with an epoch, a tilde, and a plus.
PACKAGES: Final = {
    "libstdc++6": "14.2.0-19",
    "tzdata": "1:2026a~rc1-0+deb13u1",
    "media-types": "13",
}
PYTHON: Final = {"PyYAML": "6.0.3", "typing_extensions": "4.16.0", "argon2-cffi": "25.1.0+local.1"}


@pytest.fixture
def bill(tmp_path: Path) -> bytes:
    """Of a root file system with `PACKAGES` and `PYTHON`."""
    packages, application = tmp_path / "var/lib/dpkg/status.d", tmp_path / "opt/lighterage"
    packages.mkdir(parents=True)
    for name, version in PACKAGES.items():
        text = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nDescription: a\n b\n"
        (packages / name).write_text(text)
        (packages / f"{name}.md5sums").write_text("")
    for name, version in PYTHON.items():
        directory = application / f"{name.replace('-', '_')}-{version}.dist-info"
        directory.mkdir(parents=True)
        text = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
        (directory / "METADATA").write_text(text)
    return bill_of_materials(SOURCE, tmp_path, IMAGE)


def test_the_bill_of_materials_is_cyclonedx(bill: bytes) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(bill.decode()) is None
    document = json.loads(bill)
    document["components"][0]["typ"] = "library"
    assert validator.validate_str(json.dumps(document)) is not None


def test_every_package_has_the_address_that_scanners_look_it_up_by(bill: bytes) -> None:
    components = json.loads(bill)["components"]
    found = {PackageURL.from_string(each["purl"]): each for each in components}
    assert {(address.name, address.version) for address in found} == {
        *PACKAGES.items(),
        *((name.lower().replace("_", "-"), version) for name, version in PYTHON.items()),
    }
    for address, component in found.items():
        assert component["purl"] == address.to_string()
        assert component["version"] == address.version
    assert len({each["bom-ref"] for each in components}) == len(components)


def test_the_provenance_is_slsa_s() -> None:
    """By in-toto's own definition, which has no other members."""
    text = provenance(SOURCE, "buildah version 1.28.2")
    read = Parse(text, provenance_pb2.Provenance())
    assert read.build_definition.build_type
    assert read.run_details.builder.id
    materials = read.build_definition.resolved_dependencies
    assert all(each.uri and each.digest for each in materials)
    assert SOURCE.revision in {each.digest.get("gitCommit") for each in materials}
    with pytest.raises(ParseError):
        Parse(text.replace(b'"buildType"', b'"buildKind"'), provenance_pb2.Provenance())


def test_the_same_sources_vouch_in_the_same_bytes(bill: bytes, tmp_path: Path) -> None:
    assert bill_of_materials(SOURCE, tmp_path, IMAGE) == bill
    assert provenance(SOURCE, "x") == provenance(SOURCE, "x")
