"""The files that settings name: certificates, keys, secrets. Nothing of their content is shown."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.config import Section
from proxy.oci.schema1.libtrust import SigningKey
from proxy.runtime import access_files
from proxy.runtime.wrong_setting import Wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.runtime.wrong_setting import Place

# The least length in bytes of a secret that several proxies share.
_SHORTEST: Final = {"hmac_key_file": 32, "secret_file": 16}


def file_settings(section: Section, above: Place = ()) -> Iterator[tuple[Place, Path]]:
    """Every setting that names a file, wherever it is."""
    for name in type(section).model_fields:
        yield from _files_in(getattr(section, name), (*above, name))


def _files_in(value: object, place: Place) -> Iterator[tuple[Place, Path]]:
    if isinstance(value, Section):
        yield from file_settings(value, place)
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _files_in(below, (*place, key))
    elif isinstance(value, tuple):
        for number, below in enumerate(value):
            yield from _files_in(below, (*place, number))
    elif isinstance(value, Path) and str(place[-1]).endswith("_file"):
        yield place, value


def read_file(path: Path) -> bytes | str:
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


class SettingFiles:
    """Checks files; a certificate when its key has been checked, too."""

    def __init__(self) -> None:
        self._certificates: dict[Place, Path] = {}

    def check(self, place: Place, path: Path) -> Iterator[Wrong]:
        """What is wrong with the file at `place`."""
        content = read_file(path)
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
            yield from check_signing_key(place, path, content)
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


def check_signing_key(place: Place, path: Path, content: bytes) -> Iterator[Wrong]:
    """Whether the content of `path` is a key for schema 1."""
    try:
        SigningKey.load(content)
    except ValueError:
        yield Wrong(
            place,
            f"{path} is not a P-256 private key in PEM; make one with: "
            f"openssl ecparam -name prime256v1 -genkey -noout -out {path}",
        )
