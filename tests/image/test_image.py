"""The Dockerfile's steps, executed, and what comes out of them, running."""

from __future__ import annotations

import re
import shutil
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests import tools
from tests.kit import images
from tests.kit.image_build import Buildah, Container
from tests.kit.locks import pins
from tests.kit.raw_http import ask
from tests.kit.registry import Registry
from tests.kit.stand_in import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.image_build import Image

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT: Final = Path(__file__).parents[2]
APPLICATION: Final = "opt/lighterage"
# Bytes on top of the base, unpacked: a dependency that doubles the image should be noticed.
LARGEST: Final = 110_000_000
# PEP 552: compiled from a source that is never looked at again.
UNCHECKED: Final = 0b01
# Seconds until a supervisor must know that a worker serves, who may do so a moment before.
READY: Final = 60.0
# Of packages that the lock has for other systems and other Pythons only.
ELSEWHERE: Final = {"async-timeout"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built once."""
    tools.require_root("buildah")
    tools.require("stand-in")
    directory = tmp_path_factory.mktemp("buildah")
    yield Buildah(directory).build()
    shutil.rmtree(directory)


def test_both_bases_are_pinned_by_digest() -> None:
    bases = re.findall(
        r"^ARG (?:BUILD|RUNTIME)=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert len(bases) == 2
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", base) for base in bases)


def test_it_says_who_runs_what_and_what_it_is(image: Image) -> None:
    configuration = image.configuration
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", configuration["User"])
    assert configuration["Entrypoint"] == ["/opt/lighterage/bin/lighterage"]
    assert configuration["Cmd"] == ["serve"]
    assert configuration["StopSignal"] == "SIGTERM"
    assert "5000/tcp" in configuration["ExposedPorts"]
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in configuration["Labels"].items()
    }
    assert labels["licenses"] == "Apache-2.0"
    assert labels["revision"] == "tested"
    assert labels["base.name"] == "localhost/runtime"
    assert labels.keys() >= {"title", "description", "version", "created"}


def test_it_has_what_the_lock_names_and_the_proxy(image: Image) -> None:
    installed = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in (
            folder.name.removesuffix(".dist-info").rsplit("-", 1)
            for folder in (image.root / APPLICATION).glob("*.dist-info")
        )
    }
    locked = {
        name: version
        for name, (version, _) in pins("requirements.lock").items()
        if name not in ELSEWHERE
    }
    assert installed == {
        **locked,
        "lighterage": image.configuration["Labels"]["org.opencontainers.image.version"],
    }


def test_it_is_small_and_has_no_shell(image: Image) -> None:
    files = [path for path in (image.root / APPLICATION).rglob("*") if path.is_file()]
    assert sum(path.lstat().st_size for path in files) < LARGEST
    assert not [name for name in ("sh", "bash", "dash") if (image.root / "usr/bin" / name).exists()]


def test_everything_is_compiled_and_nobody_but_root_can_change_it(image: Image) -> None:
    sources = list((image.root / APPLICATION).rglob("*.py"))
    assert sources
    for source in sources:
        tag = f"cpython-{PYTHON.replace('.', '')}"
        compiled = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
        assert struct.unpack("<I", compiled.read_bytes()[4:8]) == (UNCHECKED,)
    for path in (image.root / APPLICATION).rglob("*"):
        status = path.lstat()
        assert status.st_uid == 0
        assert path.is_symlink() or not status.st_mode & 0o022


def test_the_volume_may_be_written_by_the_image_s_user_and_by_group_0(image: Image) -> None:
    status = (image.root / "var/lib/lighterage").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (65532, 0, 0o770)


@pytest.mark.parametrize(
    ("user", "arguments"),
    [("65532:65532", ()), ("1234567:0", ()), ("999:999", ("--workers=2",))],
    ids=["its-own", "openshift", "workers"],
)
def test_it_serves_as_any_user_from_a_root_that_cannot_be_written(
    image: Image, tmp_path: Path, user: str, arguments: tuple[str, ...]
) -> None:
    content = images.oci_index()
    with Registry(tmp_path / "registry") as registry:
        registry.push("library/cargo", "1", content)
        began = time.monotonic()
        arguments = (f"--upstream={registry.url}", *arguments)
        container = Container(image, tmp_path / "container", user=user, arguments=arguments)
        with container:
            started = time.monotonic() - began
            manifest = ask(
                f"http://127.0.0.1:{container.port}/v2/library/cargo/manifests/1",
                headers=[("Accept", "*/*")],
            )
            assert manifest.body == content.manifest
            wait_until_ready(container)
            assert container.stop() == 0
    print(f"as {user}: answers after {started:.2f} s")  # noqa: T201 -- for `pytest -s`
    kept = {path.relative_to(container.data).parts[0] for path in container.data.rglob("*")}
    assert {"blobs", "signing-key.pem"} <= kept
    assert {f"{p.stat().st_uid}:{p.stat().st_gid}" for p in container.data.rglob("*")} == {user}


def wait_until_ready(container: Container) -> None:
    """Ask as the kubelet does, for `READY` seconds at most."""
    deadline = time.monotonic() + READY
    while (ready := ask(f"http://127.0.0.1:{container.admin_port}/readyz")).status != 200:
        assert time.monotonic() < deadline, ready.body
        time.sleep(0.05)
