"""Writes clients' files, and compares them with those that are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from proxy.cli.clients.mark import without_mark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.cli.clients.files import ClientFile, ProxyAddress

_TIMEOUT = 5.0


class NotOurFileError(Exception):
    """A file is there already, and says something else; the message says which."""


def write(files: list[ClientFile], root: Path) -> list[Path]:
    """Write the files below `root`; their paths. OSError, or NotOurFileError before any is written.

    A file of JSON keeps its other members.
    """
    texts = {path_below(root, file): _combine(path_below(root, file), file) for file in files}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(texts)


def differences(files: list[ClientFile], root: Path) -> Iterator[str]:
    """A sentence for each file below `root` that is not as it should be."""
    for file in files:
        path = path_below(root, file)
        try:
            there = path.read_text()
        except FileNotFoundError:
            yield f"there is no file {path}"
        except (OSError, ValueError) as error:
            yield f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
        else:
            if not _contains(without_mark(there), file):
                yield f"{path} says something else"


def unreachable(at: ProxyAddress) -> str | None:
    """Why no registry answers at the proxy's address; None if one does."""
    request = Request(f"{at.url}/v2/")  # noqa: S310 -- http or https, see ProxyAddress
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT) as answer:
            headers = answer.headers
    except HTTPError as error:
        with error:
            headers = error.headers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"no registry answers at {at.url}: {getattr(reason, 'strerror', None) or reason}"
    if "Docker-Distribution-Api-Version" not in headers:
        return f"what answers at {at.url} is no registry"
    return None


def path_below(root: Path, file: ClientFile) -> Path:
    """Where the file is if `root` is the root directory."""
    return root / file.path.lstrip("/")


def _combine(path: Path, file: ClientFile) -> str:
    try:
        there = path.read_text()
    except FileNotFoundError:
        return file.text
    if _contains(there, file):
        return there
    members, wanted = _members(there), _members(file.text)
    if members is None or wanted is None:
        raise NotOurFileError(f"{path} is there already, and says something else; remove it first")
    for name, value in wanted.items():
        kept = members.get(name, [])
        if not isinstance(kept, list):
            raise NotOurFileError(f"{path} has a member {name} that is not a list; remove it first")
        members[name] = [*value, *(each for each in kept if each not in value)]
    return json.dumps(members, indent=2) + "\n"


def _contains(there: str, file: ClientFile) -> bool:
    """Whether the file that is there says what `file` does; of JSON it may say more."""
    members, wanted = _members(there), _members(file.text)
    if members is None or wanted is None:
        return there == file.text
    return all(
        isinstance(members.get(name), list) and set(value) <= set(members[name])
        for name, value in wanted.items()
    )


def _members(text: str) -> dict[str, Any] | None:
    """The members of a JSON object; None if the text is none."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
