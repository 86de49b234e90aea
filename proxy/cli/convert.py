"""`lighterage convert`: the converter on files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from proxy.cli.group import FILE, fail, main

# The keys of `proxy.cli.offline_conversion.TARGETS`.
_TARGETS = ("v2s1", "v2s2", "oci", "list", "index")


@main.command()
@click.argument("manifest", type=FILE)
@click.option("--config", type=FILE, help="The image's config blob, needed for v2s1.")
@click.option("--layer", "layers", type=FILE, multiple=True, help="A layer of schema 1.")
@click.option(
    "--write-config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write the config that is made from schema 1.",
)
@click.option("--child", "children", type=FILE, multiple=True, help="A manifest of an index.")
@click.option("--to", "target", type=click.Choice(_TARGETS), required=True)
@click.option("--name", default="", help="The repository's name, inside v2s1.")
@click.option("--tag", default="", help="The tag, inside v2s1.")
@click.option("--key", type=FILE, help="A PEM P-256 key to sign with; a new one by default.")
@click.option("--unsigned", is_flag=True, help="Do not sign v2s1.")
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    default=["linux/amd64", "linux/arm64", "linux/arm/v7"],
    show_default=True,
    help="The platforms of an index to convert.",
)
def convert(manifest: Path, write_config: Path | None, **options: Any) -> None:
    """Convert MANIFEST, a file, and write the result to standard output byte for byte.

    Content that is not given is searched beside MANIFEST, in the layouts of `skopeo copy` to `dir:`
    and `oci:`. From schema 1, v2s2 and oci are made by reading every layer.
    """
    from proxy.cli.offline_conversion import Request, convert_file  # noqa: PLC0415
    from proxy.errors import ConversionRefused, ManifestInvalid  # noqa: PLC0415

    try:
        converted = convert_file(manifest, Request(**options))
    except (ConversionRefused, ManifestInvalid, ValueError) as refusal:
        # The message quotes the manifest, which may contain anything.
        fail(_in_one_line(f"cannot convert {manifest}: {refusal}"))
    try:
        if write_config is not None and converted.config is not None:
            write_config.write_bytes(converted.config)
        sys.stdout.buffer.write(converted.manifest)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # `| head` has closed the pipe: click ends silently
    except OSError as error:
        fail(f"cannot write what was converted: {error.strerror}")


def _in_one_line(text: str) -> str:
    """Escape characters that would break the line, or control the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
