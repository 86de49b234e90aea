"""The images of a cluster, as archives that containerd imports."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests import tools
from tests.cluster.components import PAUSE
from tests.kit.image_build import Buildah

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT: Final = Path(__file__).parents[2]
REGISTRY: Final = "registry.test"
PROXY: Final = "lighterage"
TAG: Final = "cluster"
REDIS: Final = "redis"
# What the image of the proxy is built from.
_SOURCES: Final = (
    *("Dockerfile", "release/slim.py"),
    *("README.md", "LICENSE", "pyproject.toml", "config", "proxy"),
)
_LOCKS: Final = ("requirements.lock", "requirements-build.lock")
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_KEPT: Final = _ROOT / ".tools/cluster/images"


def pause(program: Path) -> Path:
    """The image of a pod's first container."""
    return _archive("pause", PAUSE, {"pause": program}, ["/pause"])


def redis() -> Path:
    """Redis as this machine has it, with the libraries that it is linked with."""
    program = tools.require("redis-server")
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = [Path(found) for found in re.findall(r"(/\S+) \(0x", listed)]
    files = {"usr/bin/redis-server": program, **{str(each)[1:]: each for each in libraries}}
    return _archive("redis", f"{REGISTRY}/{REDIS}:{TAG}", files, ["/usr/bin/redis-server"])


def proxy() -> Path:
    """The image that the Dockerfile describes, built again when something in it has changed."""
    made_of = hashlib.sha256()
    for path in sorted(_sources()):
        made_of.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes())
    archive = _KEPT / f"{PROXY}-{made_of.hexdigest()[:16]}.tar"
    if not archive.exists():
        tools.require("stand-in")
        _KEPT.mkdir(parents=True, exist_ok=True)
        for older in _KEPT.glob(f"{PROXY}-*"):
            older.unlink()
        with tempfile.TemporaryDirectory(prefix="lighterage-cluster-") as directory:
            builder = Buildah(Path(directory) / "buildah")
            image = builder.build()
            partial = archive.with_suffix(".partial")
            name = f"{REGISTRY}/{PROXY}:{TAG}"
            builder.run("push", image.name, f"docker-archive:{partial}:{name}")
            builder.remove()
            partial.rename(archive)
    return archive


def _sources() -> list[Path]:
    found = [_ROOT / name for name in (*_SOURCES, *_LOCKS)]
    below = [path for each in found for path in each.rglob("*") if each.is_dir()]
    files = [path for path in (*found, *below) if path.is_file()]
    return [path for path in files if "__pycache__" not in path.parts]


def _archive(name: str, image: str, files: Mapping[str, Path], command: list[str]) -> Path:
    """An image of one layer, as `docker save` writes it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", dereference=True) as tar:
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(temporary)
        for path, source in files.items():
            entry = tarfile.TarInfo(path)
            content = source.read_bytes()
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    content = layer.getvalue()
    config = {
        "architecture": _MACHINES[platform.machine()],
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin:/"], "Entrypoint": command, "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]
    members = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": content,
        "manifest.json": json.dumps(manifest).encode(),
    }
    _KEPT.mkdir(parents=True, exist_ok=True)
    archive = _KEPT / f"{name}.tar"
    with tarfile.open(archive, mode="w") as tar:
        for member, data in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return archive
