"""Debian's docker-registry (distribution 2.8.2) on a loopback port: upstream, oracle and peer."""

from __future__ import annotations

import base64
import itertools
import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from tests import tools
from tests.kit.processes import LOOPBACK, Program, ProgramError, free_port
from tests.kit.raw_http import ask

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.images import Content
    from tests.kit.token_server import TokenServer

# The one account of a registry with `account=True`.
USERNAME: Final = "pilot"
PASSWORD: Final = "harbour"
_HTPASSWD: Final = f"{USERNAME}:$2y$05$abcdefghijklmnopqrstuuZ9hITkhSjgdPh1azpD9e5XbVlHeIfui\n"

_ACCESS: Final = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d{3}) (?P<sent>\d+)'
)
# A request of ours that shows how far the access log is; not counted.
_MARK: Final = "/v2/?mark="
_MARKED_WITHIN: Final = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """A line of the access log; `path` has the query, `sent` counts the body's bytes."""

    method: str
    path: str
    status: int
    sent: int = field(default=0, compare=False)


class Registry(Program):
    """A real registry, which converts v2s2 to schema 1 for clients that send no `Accept`.

    With `schema1` it also stores schema 1; with `remote` it is distribution's own pull-through
    mode in front of that URL; with `account` it wants `USERNAME` and `PASSWORD`; with `tokens` it
    wants one of theirs, and nothing can be pushed. `program` is another release's.
    """

    name = "docker-registry"

    def __init__(
        self,
        directory: Path,
        *,
        schema1: bool = True,
        remote: str = "",
        account: bool = False,
        tokens: TokenServer | None = None,
        program: Path | None = None,
    ) -> None:
        """Everything that it keeps is in `directory`, and stays there when it stops."""
        self.port = free_port()
        self._account = account
        self._marks = itertools.count()
        self._forgotten = 0
        directory.mkdir(parents=True, exist_ok=True)
        configuration: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "warn", "fields": {"service": "registry"}},
            "storage": {
                "filesystem": {"rootdirectory": str(directory / "storage")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": self.host, "secret": "not one"},
            "compatibility": {"schema1": {"enabled": schema1}},
        }
        if remote:
            configuration["proxy"] = {"remoteurl": remote}
        if account:
            htpasswd = directory / "htpasswd"
            htpasswd.write_text(_HTPASSWD)
            configuration["auth"] = {"htpasswd": {"realm": "harbour", "path": str(htpasswd)}}
        if tokens is not None:
            configuration["auth"] = {"token": tokens.settings(directory)}
        file = directory / "registry.yaml"
        file.write_text(json.dumps(configuration))  # JSON is YAML
        super().__init__(
            [program or tools.require("docker-registry"), "serve", file],
            directory=directory,
            listens=(self.port,),
        )

    @property
    def host(self) -> str:
        """`HOST:PORT`, as it stands in an image's name."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self.host}"

    def push(self, repository: str, tag: str, content: Content) -> str:
        """Put `content` there, blobs first; the manifest's digest."""
        self._push(repository, tag, content)
        return content.digest

    def requests(self) -> list[Request]:
        """Every request since `forget`, or since the first start, in the order of their ends."""
        if self.running:
            self._wait_for_the_log()
        lines = self.output.read_bytes()[self._forgotten :].decode(errors="replace")
        found = (
            Request(line["method"], line["path"], int(line["status"]), int(line["sent"]))
            for line in _ACCESS.finditer(lines)
        )
        return [request for request in found if not request.path.startswith(_MARK)]

    def forget(self) -> None:
        """Leave out of `requests` whatever was asked so far."""
        if self.running:
            self._wait_for_the_log()
        self._forgotten = self.output.stat().st_size

    def _push(self, repository: str, reference: str, content: Content) -> None:
        for child in content.children:
            self._push(repository, child.digest, child)
        for digest, blob in content.blobs.items():
            start = self._ask("POST", f"/v2/{repository}/blobs/uploads/", expected=202)
            separator = "&" if "?" in start else "?"
            self._ask("PUT", f"{start}{separator}digest={digest}", blob, expected=201)
        self._ask(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            content.manifest,
            content_type=content.media_type,
            expected=201,
        )

    def _ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        expected: int,
        content_type: str = "application/octet-stream",
    ) -> str:
        """The `Location` of the answer, which must have the `expected` status."""
        headers = [("Content-Type", content_type)]
        if self._account:
            account = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
            headers.append(("Authorization", f"Basic {account}"))
        answer = ask(urljoin(self.url, target), method=method, headers=headers, body=body)
        if answer.status != expected:
            raise ProgramError(f"{method} {target}: {answer.status} {answer.body.decode()}")
        return str(answer.headers["Location"])

    def _wait_for_the_log(self) -> None:
        mark = f"{_MARK}{next(self._marks)} "
        ask(f"{self.url}{mark.rstrip()}")
        deadline = time.monotonic() + _MARKED_WITHIN
        while mark.encode() not in self.output.read_bytes():
            if time.monotonic() > deadline:
                raise ProgramError("the registry does not write its access log")
            time.sleep(0.005)
