"""The Dockerfile's steps, executed, and what comes out of them, running."""

from __future__ import annotations

import os
import re
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from proxy import __version__
from tests.image.elf import section_names
from tests.kit import images
from tests.kit.image_build import Container
from tests.kit.locks import pins
from tests.kit.processes import LOOPBACK
from tests.kit.raw_http import ask
from tests.kit.registry import Registry
from tests.kit.stand_in import NATIVE, PYTHON

if TYPE_CHECKING:
    from tests.kit.image_build import Image

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT: Final = Path(__file__).parents[2]
APPLICATION: Final = "opt/lighterage"
# Bytes on top of the base, as gzip packs them: a dependency that adds a tenth is noticed.
LARGEST: Final = 21_600_000
# What an ELF file's header says of its machine, at byte 18.
MACHINES: Final = {"amd64": 62, "arm64": 183}
# PEP 552: compiled from a source that is never looked at again.
UNCHECKED: Final = 0b01
# Seconds until a supervisor must know that a worker serves, who may do so a moment before.
READY: Final = 60.0
# Of packages that the lock has for other systems and other Pythons only.
ELSEWHERE: Final = {"async-timeout"}


@pytest.fixture(scope="module")
def image(built: dict[str, Image]) -> Image:
    """The image that this machine can run."""
    return built[NATIVE]


@pytest.fixture(params=list(MACHINES))
def each(request: pytest.FixtureRequest, built: dict[str, Image]) -> Image:
    """The image for every machine."""
    return built[request.param]


def test_both_bases_are_pinned_by_digest() -> None:
    bases = re.findall(
        r"^ARG (?:BUILD|RUNTIME)=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    assert len(bases) == 2
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", base) for base in bases)


def test_it_says_who_runs_what_and_what_it_is(each: Image) -> None:
    configuration = each.configuration
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", configuration["User"])
    assert configuration["Entrypoint"] == ["/opt/lighterage/bin/lighterage"]
    assert configuration["Cmd"] == ["serve"]
    assert configuration["StopSignal"] == "SIGTERM"
    assert configuration["Volumes"].keys() == {"/var/lib/lighterage"}
    assert configuration["Healthcheck"]["Test"] == ["CMD", *configuration["Entrypoint"], "health"]
    assert "5000/tcp" in configuration["ExposedPorts"]
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in configuration["Labels"].items()
    }
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == __version__
    assert labels["revision"] == "tested"
    assert labels["base.name"].startswith("localhost/runtime")
    assert labels.keys() >= {"title", "description", "created"}
    # There is no published repository that it could name.
    assert "source" not in labels


def test_a_dependency_s_layer_the_volume_and_the_application_are_apart(each: Image) -> None:
    """By a builder that makes one layer of a stage, as by one that makes one of an instruction."""
    base, *ours = each.layers
    assert [layer.below(APPLICATION) for layer in ours] == [True, False, True]
    dependencies, volume, application = ours
    assert any(name.startswith(f"{APPLICATION}/aiohttp/") for name in dependencies.names)
    assert not any(name.startswith(f"{APPLICATION}/proxy/") for name in dependencies.names)
    assert "var/lib/lighterage/" in volume.names
    assert {name.split("/")[2] for name in application.names if name.count("/") > 2} == {
        *("bin", "proxy"),
        f"lighterage-{__version__}.dist-info",
    }
    assert not base.below(APPLICATION)


def test_both_machines_have_the_same_files_each_in_its_own_code(built: dict[str, Image]) -> None:
    """What cannot be run here is known by its content."""
    listed = {}
    for machine, image in built.items():
        root = image.root / APPLICATION
        names = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
        libraries = [path for name, path in names.items() if name.endswith(".so")]
        assert len(libraries) > 10
        for path in (*libraries, image.root / f"usr/bin/python{PYTHON}"):
            assert struct.unpack_from("<H", path.read_bytes(), 18) == (MACHINES[machine],), path
        listed[machine] = {
            re.sub(r"(x86_64|aarch64)-linux-gnu", "MACHINE", name)
            for name in names
            # A library that a wheel brings has a hash in its name; wheels name their licences.
            if not re.search(r"\.libs/|\.dist-info/", name)
        }
        assert image.description["architecture"] == machine
    assert listed["amd64"] == listed["arm64"]


def test_it_has_what_the_lock_names_and_the_proxy(each: Image) -> None:
    installed = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in (
            folder.name.removesuffix(".dist-info").rsplit("-", 1)
            for folder in (each.root / APPLICATION).glob("*.dist-info")
        )
    }
    locked = {
        name: version
        for name, (version, _) in pins("requirements.lock").items()
        if name not in ELSEWHERE
    }
    assert installed == {
        **locked,
        "lighterage": each.configuration["Labels"]["org.opencontainers.image.version"],
    }


def test_it_is_small_and_has_no_shell(each: Image) -> None:
    size = sum(layer.compressed for layer in each.layers[1:])
    print(f"{each.name}: {size / 1e6:.1f} MB on top of the base")  # noqa: T201 -- for `pytest -s`
    assert size < LARGEST
    assert not [name for name in ("sh", "bash", "dash") if (each.root / "usr/bin" / name).exists()]


def test_it_has_nothing_that_only_a_compiler_a_debugger_or_a_terminal_reads(each: Image) -> None:
    root = each.root / APPLICATION
    assert not [path for path in root.rglob("*") if path.suffix in {".pyi", ".pyx", ".pxd", ".c"}]
    assert not [name for name in ("rich", "pygments") if (root / name).exists()]
    for library in root.rglob("*.so"):
        names = section_names(library.read_bytes())
        assert ".text" in names
        assert not names & {".symtab", ".debug_info", ".strtab"}, library


# What the proxy imports, by each command and in each mode, and what is found only by a call.
EVERYTHING: Final = """\
import importlib, pkgutil, argon2, bcrypt, joserfc.jwe, obstore.store, proxy, yaml
for found in pkgutil.walk_packages(proxy.__path__, "proxy."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
hashed = bcrypt.hashpw(b"a", bcrypt.gensalt(4))
print(hasher.verify(hasher.hash("a"), "a"), bcrypt.checkpw(b"a", hashed))
print(yaml.load("a: 1", yaml.CSafeLoader))
"""


def test_every_module_of_the_proxy_finds_what_it_imports(image: Image, tmp_path: Path) -> None:
    container = Container(image, tmp_path, user="65532:65532")
    done = container.run([f"/usr/bin/python{PYTHON}", "-W", "error", "-c", EVERYTHING])
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True True\n{'a': 1}\n"


def test_everything_is_compiled_and_nobody_but_root_can_change_it(each: Image) -> None:
    sources = list((each.root / APPLICATION).rglob("*.py"))
    assert sources
    for source in sources:
        tag = f"cpython-{PYTHON.replace('.', '')}"
        compiled = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
        assert struct.unpack("<I", compiled.read_bytes()[4:8]) == (UNCHECKED,)
    for path in (each.root / APPLICATION).rglob("*"):
        status = path.lstat()
        assert status.st_uid == 0
        assert path.is_symlink() or not status.st_mode & 0o022


def test_the_volume_may_be_written_by_the_image_s_user_and_by_group_0(each: Image) -> None:
    status = (each.root / "var/lib/lighterage").stat()
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
            check = image.configuration["Healthcheck"]["Test"][1:]
            beside = container.run([*check, f"--admin={LOOPBACK}:{container.admin_port}"])
            assert (beside.returncode, beside.stdout) == (0, "alive\n"), beside.stderr
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


NOT_OURS: Final = (
    "/var/lib/lighterage is not writable by uid 65532 (group 65532): /var/lib/lighterage belongs "
    "to uid 0, group 0, with mode 0755; run chown -R 65532:65532 /var/lib/lighterage (for a "
    "container, on the host: on what is mounted there), run as its owner, or choose another "
    "directory with data or --data"
)
NO_VOLUME: Final = (
    "/var/lib/lighterage is on a read-only file system: mount a volume there that uid 65532 (group "
    "65532) may write, or choose another directory with data or --data"
)


@pytest.mark.parametrize(
    ("mounted", "said"), [(True, NOT_OURS), (False, NO_VOLUME)], ids=["root-s", "none"]
)
def test_without_a_volume_that_it_may_write_it_says_who_it_is_and_what_to_do(
    image: Image,
    tmp_path: Path,
    mounted: bool,  # noqa: FBT001 -- a parameter of the test
    said: str,
) -> None:
    container = Container(image, tmp_path, user="65532:65532", mounted=mounted)
    os.chown(container.data, 0, 0)
    container.data.chmod(0o755)
    done = container.run([*image.command, f"--listen={LOOPBACK}:0"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"lighterage: LIGHTERAGE_DATA: data: {said}\n"
