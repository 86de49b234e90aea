"""`make release`: build the image for every machine, pack the chart, push and sign both.

python -m release REGISTRY/PREFIX --key cosign.key
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from proxy import __version__
from release.build import MACHINES, ROOT, Source, build_arguments
from release.layout import Layout
from release.provenance import bill_of_materials, provenance
from release.publish import (
    CYCLONEDX,
    SLSA,
    Destination,
    Programs,
    Publisher,
    PublishError,
    pack_chart,
    run,
)
from tests import tools

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Make a release; 1 if a program fails, whose words are printed."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("prefix", help="where to, as registry.example.org/team")
    parser.add_argument("--key", required=True, help="cosign's key: a file, or a KMS URI")
    parser.add_argument("--plain-http", action="store_true", help="a registry without TLS")
    parser.add_argument("--buildah", default="buildah", help="the program, with options of its own")
    parser.add_argument(
        "--build", action="append", default=[], help="an option for buildah build; {machine} in it"
    )
    parser.add_argument("--revision", help="what the image is made of; by default git's commit")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="lighterage-release-") as directory:
            said = release(given, Path(directory))
    except PublishError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(said, indent=2) + "\n")
    return 0


def release(given: argparse.Namespace, directory: Path) -> dict[str, object]:
    """Build, push, sign and attest; the digests of what is in the registry then."""
    source = Source(
        __version__,
        given.revision or _commit(),
        int(os.environ.get("SOURCE_DATE_EPOCH") or _time()),
    )
    programs = Programs(*(tools.find(name) or Path(name) for name in ("skopeo", "helm", "cosign")))
    to = Destination(given.prefix.rstrip("/"), given.plain_http)
    publisher = Publisher(programs, to, given.key, os.environ)
    buildah = given.buildah.split()
    saved: dict[str, Path] = {}
    containers: dict[str, str] = {}
    for machine in MACHINES:
        name = f"localhost/lighterage-release-{machine}"
        more = [option.format(machine=machine) for option in given.build]
        run([*buildah, *build_arguments(source, machine, name, *more)], os.environ)
        saved[machine] = directory / machine
        run([*buildah, "push", name, f"dir:{saved[machine]}"], os.environ)
        command = [*buildah, "from", "--quiet", "--pull-never", f"--arch={machine}", name]
        containers[machine] = run(command, os.environ).strip()
    layout = Layout(directory / "layout")
    made = layout.add_index(saved.values(), source.version)
    publisher.push_image(layout.directory, made, source.version)
    statement = directory / "provenance.json"
    statement.write_bytes(provenance(source, run([*buildah, "--version"], os.environ).strip()))
    for machine, image in made.images.items():
        root = run([*buildah, "mount", containers[machine]], os.environ).strip()
        bill = directory / f"{machine}.cdx.json"
        bill.write_bytes(bill_of_materials(source, Path(root), image.digest))
        run([*buildah, "rm", containers[machine]], os.environ)
        publisher.attest(image.digest, CYCLONEDX, bill)
        publisher.attest(image.digest, SLSA, statement)
    chart = publisher.push_chart(pack_chart(programs.helm, ROOT / "helm", directory, source.epoch))
    return {
        "image": f"{to.image}@{made.index.digest}",
        "images": {machine: image.digest for machine, image in made.images.items()},
        "chart": f"{to.charts}/lighterage@{chart}",
    }


def _commit() -> str:
    return _git("rev-parse", "HEAD")


def _time() -> str:
    return _git("log", "-1", "--format=%ct")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
