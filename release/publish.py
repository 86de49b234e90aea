"""Push an index and the chart to a registry, and sign what was pushed, by its digest."""

from __future__ import annotations

import re
import subprocess
import tarfile
from dataclasses import dataclass
from gzip import GzipFile
from io import BytesIO
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from release.layout import Release

_WITHIN: Final = 600.0
CYCLONEDX: Final = "cyclonedx"
SLSA: Final = "slsaprovenance1"


class PublishError(Exception):
    """A program has failed; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs are that publish."""

    skopeo: Path
    helm: Path
    cosign: Path


@dataclass(frozen=True, slots=True)
class Destination:
    """A repository prefix, `registry.example.org/team`, and whether it is spoken to without TLS."""

    prefix: str
    plain_http: bool = False

    @property
    def image(self) -> str:
        """The repository of the image."""
        return f"{self.prefix}/lighterage"

    @property
    def charts(self) -> str:
        """What the chart's repository is below."""
        return f"{self.prefix}/charts"


class Publisher:
    """Pushes to one destination; cosign asks for the key's password, or has `COSIGN_PASSWORD`."""

    def __init__(
        self, programs: Programs, to: Destination, key: str, environment: Mapping[str, str]
    ) -> None:
        """`key` is what cosign takes: a file, or a key of a KMS or a token."""
        self._programs = programs
        self._to = to
        self._key = key
        self._environment = environment

    def push_image(self, layout: Path, release: Release, version: str) -> None:
        """Push the index of a layout and all that it names, with the digests that they have."""
        tls = ("--dest-tls-verify=false",) if self._to.plain_http else ()
        run(
            [
                *(self._programs.skopeo, "--insecure-policy", "copy", "--quiet", "--all"),
                *("--preserve-digests", *tls, f"oci:{layout}:{version}"),
                f"docker://{self._to.image}:{version}",
            ],
            self._environment,
        )
        self._sign(f"{self._to.image}@{release.index.digest}", "--recursive")

    def push_chart(self, packed: Path) -> str:
        """Push the chart; the digest of its manifest."""
        plain = ("--plain-http",) if self._to.plain_http else ()
        command = [self._programs.helm, "push", *plain, packed, f"oci://{self._to.charts}"]
        said = run(command, self._environment)
        found = re.search(r"Digest: (sha256:[0-9a-f]{64})", said)
        if found is None:
            raise PublishError(f"helm push names no digest:\n{said}")
        self._sign(f"{self._to.charts}/lighterage@{found[1]}")
        return found[1]

    def attest(self, digest: str, kind: str, predicate: Path) -> None:
        """Attach a signed statement about the image `digest`; cosign knows the `kind`."""
        self._cosign(
            *("attest", f"--type={kind}", f"--predicate={predicate}"),
            f"{self._to.image}@{digest}",
        )

    def _sign(self, reference: str, *options: str) -> None:
        self._cosign("sign", *options, reference)

    def _cosign(self, command: str, *arguments: str) -> None:
        # Nothing is said to a public log: who wants it there signs with another command.
        plain = ("--allow-http-registry",) if self._to.plain_http else ()
        options = (f"--key={self._key}", "--tlog-upload=false", "--yes", *plain)
        run([self._programs.cosign, command, *options, *arguments], self._environment)


def pack_chart(helm: Path, chart: Path, into: Path, epoch: int) -> Path:
    """Package the chart by helm; its archive has the same bytes each time."""
    said = run([helm, "package", chart, f"--destination={into}"], {})
    packed = into / said.strip().rpartition("/")[2]
    content = BytesIO()
    with (
        tarfile.open(packed) as source,
        GzipFile("", "wb", 9, content, epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as target,
    ):
        for member in sorted(source.getmembers(), key=lambda each: each.name):
            member.mtime = epoch
            target.addfile(member, source.extractfile(member))
    packed.write_bytes(content.getvalue())
    return packed


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """Run a program; all that it says. PublishError if it fails."""
    done = subprocess.run(
        command,
        env=dict(environment) or None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_WITHIN,
        check=False,
    )
    if done.returncode:
        raise PublishError(f"{command[0]} has failed:\n{done.stdout}")
    return done.stdout
