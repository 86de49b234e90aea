"""The commands that serve nothing, as a person or a script runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from proxy import __version__
from tests.e2e import odd_images
from tests.kit import images
from tests.kit.oracle import Conversion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.kit.images import Content
    from tests.kit.oracle import Oracle

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")
ROOT: Final = Path(__file__).parents[2]
NAMED: Final = ("--name", "cargo/hold", "--tag", "V1.0_a-B")


def run(
    *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """`lighterage ARGUMENTS`, to its end, with nothing but `environment` set."""
    return subprocess.run(
        [LIGHTERAGE, *arguments],
        env={**(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )


def refusal(*arguments: str | Path) -> str:
    """The one line that says why `lighterage ARGUMENTS` fails."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.endswith(b"\n")
    [line] = done.stderr.decode().splitlines()
    return line


def files(directory: Path, content: Content, config: bytes | None = None) -> tuple[Path, Path]:
    """An image in a file for its manifest and one for its config."""
    directory.mkdir(exist_ok=True)
    named = json.loads(content.manifest)["config"]["digest"]
    (directory / "manifest.json").write_bytes(content.manifest)
    (directory / "config.json").write_bytes(content.blobs[named] if config is None else config)
    return directory / "manifest.json", directory / "config.json"


def case(content: Content, config: Path) -> Conversion:
    """The same question to the oracle."""
    layers = [layer["digest"] for layer in json.loads(content.manifest)["layers"]]
    return Conversion(config.read_bytes(), layers, NAMED[1], NAMED[3])


@pytest.mark.parametrize(
    "content",
    [images.docker(), images.docker_with_empty_steps(), images.oci(), images.oci_undeclared()],
)
def test_convert_writes_what_distribution_makes(
    program: Oracle, tmp_path: Path, content: Content
) -> None:
    """Byte for byte, without a newline at its end; signed, libtrust verifies it."""
    manifest, config = files(tmp_path, content)
    command = ("convert", manifest, "--config", config, "--to", "v2s1", *NAMED)
    unsigned, signed = run(*command, "--unsigned"), run(*command)
    [payload] = program.convert([case(content, config)])
    assert (unsigned.returncode, unsigned.stdout, unsigned.stderr) == (0, payload, b"")
    assert (signed.returncode, signed.stderr) == (0, b"")
    assert program.verify(signed.stdout) == images.digest(unsigned.stdout)


def test_convert_fails_where_distribution_does(program: Oracle, tmp_path: Path) -> None:
    """With exit status 1 and a line, whatever stands in the config."""
    outcomes = set()
    for number, odd in enumerate(odd_images.broken_images(seed=11, count=12)):
        layers = [images.layer({"srv/cargo": layer.encode()}) for layer in odd.layers]
        content = images.image(images.DOCKER, layers)
        manifest, config = files(tmp_path / str(number), content, odd.config)
        command = ("convert", manifest, "--config", config, "--to", "v2s1", *NAMED, "--unsigned")
        [expected] = program.convert([case(content, config)])
        if isinstance(expected, bytes):
            assert run(*command).stdout == expected
        else:
            assert "cannot convert" in refusal(*command)
        outcomes.add(type(expected))
    assert len(outcomes) == 2, "the cases show nothing"


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (images.oci().manifest.replace(b"tar+gzip", b"tar+zstd"), "tar+zstd"),
        (images.oci().manifest[:-1], "JSON"),
        (b"no\nmanifest\n", "JSON"),
        (images.oci_index().manifest, "it needs"),
        (
            b'{"artifactType":"x\\n\\u001b[31my\\u2028z",' + images.oci().manifest[1:],
            r"x\n\x1b[31my\u2028z",
        ),
    ],
    ids=["zstd layers", "cut off", "two lines", "an index alone", "several lines in a member"],
)
def test_a_refusal_to_convert_is_one_line(tmp_path: Path, manifest: bytes, reason: str) -> None:
    file, config = files(tmp_path, images.oci())
    file.write_bytes(manifest)
    assert reason in refusal("convert", file, "--config", config, "--to", "v2s1", *NAMED)


def test_convert_says_what_it_needs(tmp_path: Path) -> None:
    manifest, config = files(tmp_path, images.oci())
    command = ("convert", manifest, "--to", "v2s1", *NAMED)
    assert "--config" in refusal(*command)
    assert "key" in refusal(*command, "--config", config, "--key", config)


def test_convert_to_a_full_disk_is_one_line(tmp_path: Path) -> None:
    manifest, config = files(tmp_path, images.oci())
    command: list[str | Path] = [LIGHTERAGE, "convert", manifest, "--config", config]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, "--to", "v2s1", *NAMED],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    [line] = done.stderr.decode().splitlines()
    assert "No space left on device" in line


def test_version() -> None:
    done = run("version")
    assert (done.returncode, done.stdout) == (0, f"lighterage {__version__}\n".encode())


def test_config_schema_is_a_closed_json_schema() -> None:
    done = run("config-schema")
    schema = json.loads(done.stdout)
    assert done.returncode == 0
    assert schema["additionalProperties"] is False
    assert {"listen", "upstreams", "conversion"} <= schema["properties"].keys()


def test_check_config_takes_the_shipped_file() -> None:
    done = run("check-config", "--config", ROOT / "config" / "lighterage.yaml")
    assert (done.returncode, done.stderr) == (0, b"")


def test_check_config_names_what_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "lighterage.yaml"
    file.write_text("tags: {tll: 60s}\n")
    assert "tags.tll: there is no such setting; did you mean 'ttl'?" in refusal(
        "check-config", "--config", file
    )


def test_check_config_reads_the_environment_as_serve_does() -> None:
    done = run("check-config", environment={"LIGHTERAGE_BLOBS__MAX_SIZE": "much"})
    assert done.returncode == 1
    assert b"blobs.max_size" in done.stderr


def test_serve_refuses_to_lend_credentials_to_everybody(tmp_path: Path) -> None:
    """Unless it is told to; and `check-config` says the same."""
    upstream = {
        "url": "http://127.0.0.1:9",
        "default": True,
        "credentials": {"username": "pilot", "password": "harbour"},
    }
    settings = {"listen": "0.0.0.0:0", "data": str(tmp_path), "upstreams": {"docker.io": upstream}}
    file = tmp_path / "lighterage.yaml"
    file.write_text(json.dumps(settings))
    for command in ("serve", "check-config"):
        line = refusal(command, "--config", file)
        assert "access.allow_anonymous: true" in line
        assert "harbour" not in line
    file.write_text(json.dumps({**settings, "access": {"allow_anonymous": True}}))
    assert run("check-config", "--config", file).returncode == 0
