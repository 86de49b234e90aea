"""What is wrong with the files that access control reads and writes, each with a remedy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from proxy.access.htpasswd import Htpasswd
from proxy.access.passwords import MAX_FILE
from proxy.access.service_accounts import parse_keys
from proxy.access.tokens import TokenKeys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _users(content: bytes) -> None:
    if len(content) > MAX_FILE:
        raise ValueError(f"it has more than {MAX_FILE} bytes")
    Htpasswd.parse(content.decode())


def _token_keys(content: bytes) -> None:
    TokenKeys.parse(content.decode())


# What reads a setting's file, with a remedy if that fails.
_READ: Final[dict[str, tuple[Callable[[bytes], object], str]]] = {
    "htpasswd_file": (_users, "write a line with: lighterage htpasswd USER"),
    "token_key_file": (_token_keys, "make a key with: openssl rand -hex 32"),
    "jwks_file": (
        parse_keys,
        "for a cluster's own service accounts: kubectl get --raw /openid/v1/jwks",
    ),
}


def is_read(setting: str) -> bool:
    """Whether the file that this setting names is one of access control's."""
    return setting in _READ


def find_mistake(setting: str, path: Path, content: bytes) -> str | None:
    """What is wrong with the content of a file; it quotes nothing of it. None if it is good."""
    read, remedy = _READ[setting]
    try:
        read(content)
    except UnicodeDecodeError:
        return f"{path} is not UTF-8"
    except ValueError as error:
        return f"{path}: {error}; {remedy}"
    return None


def find_unwritable(path: Path) -> str | None:
    """Why nothing can be appended to a file, which need not exist; None if it can."""
    remedy = "choose another file, or change its owner"
    if path.is_dir():
        return f"{path} is a directory, and no file"
    if path.exists():
        return None if os.access(path, os.W_OK) else f"uid {os.geteuid()} may not write {path}"
    directory = path.absolute().parent
    if not directory.is_dir():
        return f"there is no directory {directory}; make it, or choose another file"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"uid {os.geteuid()} may not make files in {directory}; {remedy}"
    return None
