"""Directories that cannot be the data directory, by Linux's list of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import Settings
from proxy.runtime import directories
from proxy.runtime.directories import network_file_system
from proxy.runtime.preflight import find_wrong

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


def mount(point: str, kind: str) -> str:
    """One line of /proc/self/mountinfo."""
    return f"40 22 0:40 / {point} rw,relatime shared:2 master:1 - {kind} server:/export rw\n"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("nfs", "NFS"),
        ("nfs4", "NFS"),
        ("ceph", "CephFS"),
        ("fuse.ceph-fuse", "CephFS"),
        ("cifs", "SMB"),
        ("smb3", "SMB"),
        ("xfs", None),
        ("overlay", None),
        ("fuse.sshfs", None),
    ],
)
def test_network_file_systems_are_known(kind: str, name: str | None) -> None:
    mounts = ROOT + mount("/srv", kind)
    assert network_file_system(Path("/srv/lighterage"), mounts) == name
    assert network_file_system(Path("/srvother"), mounts) is None


def test_the_nearest_mount_counts_and_the_last_one_there() -> None:
    mounts = ROOT + mount("/srv", "nfs4") + mount("/srv/disk", "ext4")
    assert network_file_system(Path("/srv/disk/data"), mounts) is None
    assert network_file_system(Path("/srv/data"), mounts) == "NFS"
    assert network_file_system(Path("/srv/data"), mounts + mount("/srv", "xfs")) is None


def test_a_space_in_a_mount_point_is_escaped() -> None:
    mounts = ROOT + mount(r"/srv/my\040data", "nfs4")
    assert network_file_system(Path("/srv/my data/x"), mounts) == "NFS"


def test_lines_of_another_form_are_skipped() -> None:
    assert network_file_system(Path("/srv"), "\nnonsense\n1 2 - nfs4 x\n" + ROOT) is None


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that the list of mounts has as NFS: no test can mount a real one."""
    there = tmp_path / "share"
    there.mkdir()
    mounts = tmp_path / "mountinfo"
    mounts.write_text(ROOT + mount(str(there.resolve()), "nfs4"))
    monkeypatch.setattr(directories, "_MOUNTS", mounts)
    return there


def wrong(settings: Settings) -> dict[str, str]:
    """What the check of directories finds, by setting."""
    found = find_wrong(settings, ports_are_ours=True)
    return {".".join(map(str, each.place)): each.message for each in found}


def test_the_data_directory_is_refused_there(on_nfs: Path) -> None:
    assert wrong(Settings(data=on_nfs / "data")) == {
        "data": (
            f"{on_nfs / 'data'} is on NFS, where the index (SQLite) cannot be used safely: use a "
            "local disk or a block volume, and set blobs.path to store only blobs there, or choose "
            "another directory with data or --data"
        )
    }


def test_blobs_may_be_there(on_nfs: Path, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", blobs={"path": on_nfs})  # type: ignore[arg-type]
    assert wrong(settings) == {}


def test_another_system_has_no_such_list(on_nfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "_MOUNTS", on_nfs / "none")
    assert wrong(Settings(data=on_nfs)) == {}
