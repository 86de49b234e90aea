"""What would keep `serve` from starting with settings that are valid: files, ports, extras.

`check-config` and `serve` both ask here, so that one never says "valid" where the other refuses.
Nothing is created, and nobody is contacted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.runtime import access_files, directories
from proxy.runtime.addresses import find_same_ports, find_taken_ports
from proxy.runtime.setting_files import SettingFiles, check_signing_key, file_settings, read_file
from proxy.runtime.wrong_setting import Wrong
from proxy.wiring.blob_store import missing_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config import Settings

# Secrets that are read whenever they are needed: they may come later, so the proxy starts without.
_READ_LATER: Final = frozenset(
    {
        "password_file",
        "token_file",
        "bearer_file",
        "docker_config_file",
        "sentinel_password_file",
        "access_key_id_file",
        "secret_access_key_file",
        "access_key_file",
    }
)


def find_wrong(settings: Settings, *, ports_are_ours: bool = False) -> Iterator[Wrong]:
    """What `serve` would refuse to start for.

    `ports_are_ours`: a proxy with these addresses runs already, so that they are not free.
    """
    yield from _extras(settings)
    yield from _directories(settings)
    files = SettingFiles()
    for place, path in file_settings(settings):
        if place[-1] not in _READ_LATER:
            yield from files.check(place, path)
    yield from _default_keys(settings)
    yield from _audit(settings)
    yield from find_same_ports(settings)
    if not ports_are_ours:
        yield from find_taken_ports(settings)


def find_unreadable(settings: Settings) -> Iterator[Wrong]:
    """Secrets that cannot be read at the moment: the proxy starts, and warns."""
    for place, path in file_settings(settings):
        if place[-1] in _READ_LATER and isinstance(found := read_file(path), str):
            yield Wrong(place, found)


def _extras(settings: Settings) -> Iterator[Wrong]:
    missing = missing_extra(settings)
    if missing is not None:
        yield Wrong(("blobs", "store"), missing)


def _directories(settings: Settings) -> Iterator[Wrong]:
    remedy = "choose another directory with data or --data"
    unusable = directories.why_unwritable(settings.data, remedy)
    unusable = unusable or directories.why_not_local(settings.data, remedy)
    if unusable is not None:
        yield Wrong(("data",), unusable)
    if settings.blobs.path is not None:
        remedy = "choose another directory with blobs.path or LIGHTERAGE_BLOBS__PATH"
        unusable = directories.why_unwritable(settings.blobs.path, remedy)
        if unusable is not None:
            yield Wrong(("blobs", "path"), unusable)


def _default_keys(settings: Settings) -> Iterator[Wrong]:
    """The keys that the proxy has made itself, where the settings name no other ones."""
    path = settings.data / "signing-key.pem"
    if settings.conversion.signing_key_file is None and path.exists():
        content = read_file(path)
        if isinstance(content, str):
            yield Wrong(("data",), content)
        else:
            yield from check_signing_key(("data",), path, content)
    path = settings.data / "token-key"
    access = settings.access
    if access.token_key_file is None and not access.is_open and path.exists():
        content = read_file(path)
        if isinstance(content, str):
            yield Wrong(("data",), content)
        elif mistake := access_files.find_mistake("token_key_file", path, content):
            yield Wrong(("data",), mistake)


def _audit(settings: Settings) -> Iterator[Wrong]:
    path = settings.access.audit.file
    if path is not None and (mistake := access_files.find_unwritable(path)) is not None:
        yield Wrong(("access", "audit", "file"), mistake)
