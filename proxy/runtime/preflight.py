"""What would keep `serve` from starting with settings that are valid: files, ports, extras.

`check-config` and `serve` both ask here, so that one never says "valid" where the other refuses.
Nothing is created, and nobody is contacted.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from proxy.config import Address, Section
from proxy.oci.schema1.libtrust import SigningKey
from proxy.runtime import access_files, directories
from proxy.wiring.blob_store import missing_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config import Settings

Place: TypeAlias = tuple[str | int, ...]

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
# The least length in bytes of a secret that several proxies share.
_SHORTEST: Final = {"hmac_key_file": 32, "secret_file": 16}
_ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared, not bound


class Wrong(NamedTuple):
    """A setting, and what is wrong with it."""

    place: Place
    message: str


def find_wrong(settings: Settings, *, ports_are_ours: bool = False) -> Iterator[Wrong]:
    """What `serve` would refuse to start for.

    `ports_are_ours`: a proxy with these addresses runs already, so that they are not free.
    """
    yield from _extras(settings)
    yield from _directories(settings)
    files = _Files()
    for place, path in _file_settings(settings):
        if place[-1] not in _READ_LATER:
            yield from files.check(place, path)
    yield from _default_keys(settings)
    yield from _audit(settings)
    yield from _same_ports(settings)
    if not ports_are_ours:
        for place, address in _addresses(settings):
            yield from _bind(place, address)


def find_unreadable(settings: Settings) -> Iterator[Wrong]:
    """Secrets that cannot be read at the moment: the proxy starts, and warns."""
    for place, path in _file_settings(settings):
        if place[-1] in _READ_LATER and isinstance(found := _read(path), str):
            yield Wrong(place, found)


def _extras(settings: Settings) -> Iterator[Wrong]:
    missing = missing_extra(settings)
    if missing is not None:
        yield Wrong(("blobs", "store"), missing)


# Directories


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


# Files


def _file_settings(section: Section, above: Place = ()) -> Iterator[tuple[Place, Path]]:
    """Every setting that names a file, wherever it is."""
    for name in type(section).model_fields:
        yield from _files_in(getattr(section, name), (*above, name))


def _files_in(value: object, place: Place) -> Iterator[tuple[Place, Path]]:
    if isinstance(value, Section):
        yield from _file_settings(value, place)
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _files_in(below, (*place, key))
    elif isinstance(value, tuple):
        for number, below in enumerate(value):
            yield from _files_in(below, (*place, number))
    elif isinstance(value, Path) and str(place[-1]).endswith("_file"):
        yield place, value


def _read(path: Path) -> bytes | str:
    """The content, or why there is none, as a sentence."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return f"there is no file {path}"
    except IsADirectoryError:
        return f"{path} is a directory, and no file"
    except PermissionError:
        return f"uid {os.geteuid()} may not read {path}{_owner(path)}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return content if content.strip() else f"{path} is empty"


def _owner(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f", which belongs to uid {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}"


class _Files:
    """Checks files; a certificate when its key has been checked, too."""

    def __init__(self) -> None:
        self._certificates: dict[Place, Path] = {}

    def check(self, place: Place, path: Path) -> Iterator[Wrong]:
        """What is wrong with the file at `place`."""
        content = _read(path)
        if isinstance(content, str):
            yield Wrong(place, content)
        elif place[-1] == "certificate_file":
            self._certificates[place[:-1]] = path
            if not _has_certificate(path):
                yield Wrong(place, f"{path} has no certificate in PEM")
        elif place[-1] == "key_file" and place[:-1] in self._certificates:
            yield from _pair(place, self._certificates[place[:-1]], path)
        elif str(place[-1]).endswith("ca_file") and not _has_certificate(path):
            yield Wrong(place, f"{path} has no certificate in PEM")
        elif place[-1] == "signing_key_file":
            yield from _signing_key(place, path, content)
        elif access_files.is_read(str(place[-1])):
            mistake = access_files.find_mistake(str(place[-1]), path, content)
            if mistake is not None:
                yield Wrong(place, mistake)
        elif len(content.strip()) < _SHORTEST.get(str(place[-1]), 0):
            yield Wrong(
                place,
                f"the secret in {path} has {len(content.strip())} bytes, and must have at least "
                f"{_SHORTEST[str(place[-1])]}; make one with: openssl rand -hex 32",
            )


def _has_certificate(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        return False
    return True


def _pair(place: Place, certificate: Path, key: Path) -> Iterator[Wrong]:
    if not _has_certificate(certificate):
        return
    asked: list[bool] = []

    def password() -> str:
        asked.append(True)
        return ""

    try:
        # Without `password` it would ask at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password)
    except (OSError, ValueError) as error:
        if asked:
            yield Wrong(place, f"{key} is encrypted; the proxy needs a key without a passphrase")
        elif getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            yield Wrong(place, f"{key} is not the key of the certificate in {certificate}")
        else:
            yield Wrong(place, f"{key} has no private key in PEM")


def _signing_key(place: Place, path: Path, content: bytes) -> Iterator[Wrong]:
    try:
        SigningKey.load(content)
    except ValueError:
        yield Wrong(
            place,
            f"{path} is not a P-256 private key in PEM; make one with: "
            f"openssl ecparam -name prime256v1 -genkey -noout -out {path}",
        )


def _default_keys(settings: Settings) -> Iterator[Wrong]:
    """The keys that the proxy has made itself, where the settings name no other ones."""
    path = settings.data / "signing-key.pem"
    if settings.conversion.signing_key_file is None and path.exists():
        content = _read(path)
        if isinstance(content, str):
            yield Wrong(("data",), content)
        else:
            yield from _signing_key(("data",), path, content)
    path = settings.data / "token-key"
    access = settings.access
    if access.token_key_file is None and not access.is_open and path.exists():
        content = _read(path)
        if isinstance(content, str):
            yield Wrong(("data",), content)
        elif mistake := access_files.find_mistake("token_key_file", path, content):
            yield Wrong(("data",), mistake)


def _audit(settings: Settings) -> Iterator[Wrong]:
    path = settings.access.audit.file
    if path is not None and (mistake := access_files.find_unwritable(path)) is not None:
        yield Wrong(("access", "audit", "file"), mistake)


# Ports


def _addresses(section: Section, above: Place = ()) -> Iterator[tuple[Place, Address]]:
    """Every address that the proxy would listen on: each setting called `listen`."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name == "listen" and isinstance(value, Address):
            yield (*above, name), value
        elif isinstance(value, Section):
            yield from _addresses(value, (*above, name))


def _same_ports(settings: Settings) -> Iterator[Wrong]:
    seen: list[tuple[Place, Address]] = []
    for place, address in _addresses(settings):
        for other, used in seen:
            hosts = {address.host, used.host}
            if (
                address.port
                and address.port == used.port
                and (len(hosts) == 1 or hosts & _ANYWHERE)
            ):
                yield Wrong(
                    place,
                    f"{address} takes the port of {'.'.join(map(str, other))}, {used}; choose "
                    "another port",
                )
        seen.append((place, address))


def _bind(place: Place, address: Address) -> Iterator[Wrong]:
    """Whether the address can be listened on now."""
    name = ".".join(map(str, place))
    flag = {"listen": "--listen", "admin.listen": "--admin-listen"}.get(name)
    remedy = f"choose another one with {' or '.join(filter(None, (name, flag)))}"
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        yield Wrong(place, f"there is no address for the host {address.host}; {remedy}")
        return
    for family, kind, protocol, _, where in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(where)
                # A socket that only has the address would be allowed to share it.
                probe.listen(1)
        except OSError as error:
            yield Wrong(place, f"{_unusable(error, address)}; {remedy}")
            return


def _unusable(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program listens on {address}: stop it"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"uid {os.geteuid()} may not listen on port {address.port}, which is below 1024"
    if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        return f"{address.host} is not an address of this machine"
    return f"{address} cannot be listened on: {error.strerror}"
