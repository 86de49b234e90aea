"""The Go program in `tests/oracle`, which has distribution's and libtrust's own code in it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.tools import GOPATH, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SOURCE: Final = Path(__file__).parents[1] / "oracle"
# Seconds: the first build compiles a good part of Go's standard library.
_BUILD: Final = 300
_ANSWER: Final = 60


def build(folder: Path) -> Oracle:
    """Compile the oracle into `folder`. Where Go or a source is missing, the test cannot go on."""
    go = require("go")
    require("distribution")
    require("libtrust")
    program = folder / "oracle"
    # Debian's sources are laid out for GOPATH, and nothing is to be downloaded.
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPATH": str(GOPATH),
        "GOTOOLCHAIN": "local",
    }
    command: list[str | Path] = [go, "build", "-o", program, "."]
    subprocess.run(command, cwd=_SOURCE, env=environment, check=True, timeout=_BUILD)
    return Oracle(program)


class Rejected(Exception):  # noqa: N818 -- an answer like any other
    """The oracle's no, in its own words."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """One question: what schema 1 manifest is this?"""

    config: bytes
    layers: Sequence[str]
    name: str
    tag: str

    def line(self) -> bytes:
        """As the oracle reads it."""
        config = base64.b64encode(self.config).decode()
        case = {
            "config": config,
            "name": self.name,
            "tag": self.tag,
            "layers": list(self.layers),
        }
        return json.dumps(case).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Oracle:
    """The compiled program."""

    program: Path

    def convert(self, cases: Iterable[Conversion]) -> list[bytes | Rejected]:
        """The canonical payload that distribution makes of each case, or why it makes none."""
        answers = self._ask(b"".join(case.line() for case in cases), "convert").splitlines()
        return [_payload(json.loads(answer)) for answer in answers]

    def sign(self, payload: bytes, key: Path) -> bytes:
        """`payload` as libtrust signs it, with the PEM key in the file `key`."""
        return self._ask(payload, "sign", str(key))

    def verify(self, body: bytes) -> str:
        """The payload's digest, if libtrust can read `body` and every signature is right."""
        return self._ask(body, "verify").decode().strip()

    def _ask(self, question: bytes, *arguments: str) -> bytes:
        run = subprocess.run(
            [self.program, *arguments],
            input=question,
            capture_output=True,
            check=False,
            timeout=_ANSWER,
        )
        if run.returncode:
            raise Rejected(run.stderr.decode().strip())
        return run.stdout


def _payload(answer: dict[str, str]) -> bytes | Rejected:
    if "error" in answer:
        return Rejected(answer["error"])
    return base64.b64decode(answer["payload"])
