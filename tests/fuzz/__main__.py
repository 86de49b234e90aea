"""Fuzz every parser in `tests/kit/parsers.py`, guided by coverage: `make fuzz SECONDS=600`.

An input's first byte chooses the parser. What fails is written below `.fuzz/`, and
`python -m tests.fuzz FILE` runs it again.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Final

# It has no types, and is not among the dependencies: `make fuzz` installs it.
atheris: Final[Any] = importlib.import_module("atheris")

with atheris.instrument_imports(include=["proxy"]):
    from tests.kit.parsers import PARSERS

_DIRECTORY: Final = Path(".fuzz")
_NAMES: Final = sorted(PARSERS)
_LARGEST: Final = 64 * 1024
# One input may take so many seconds on a busy machine; linear parsers take milliseconds.
_TIMEOUT: Final = 10


def parse_one(data: bytes) -> None:
    """Give the input to the parser that its first byte names."""
    if data:
        PARSERS[_NAMES[data[0] % len(_NAMES)]](data[1:])


def main() -> None:
    """Run libFuzzer, from the seeds of the parsers and what earlier runs have found."""
    corpus = _DIRECTORY / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(_NAMES):
        for index, seed in enumerate(PARSERS[name].seeds):
            (corpus / f"seed-{number}-{index}").write_bytes(bytes([number]) + seed)
    given = sys.argv[1:]
    files = [argument for argument in given if not argument.startswith("-")]
    options = [
        f"-max_len={_LARGEST}",
        f"-timeout={_TIMEOUT}",
        # Longer inputs are tried from early on; the default takes hours to get there.
        "-len_control=5",
        f"-artifact_prefix={_DIRECTORY}/",
        "-print_final_stats=1",
        *given,
        *([] if files else [str(corpus)]),
    ]
    atheris.Setup([sys.argv[0], *options], parse_one)
    atheris.Fuzz()


main()
