"""The arguments of the `lighterage serve` that a container runs, for commands beside it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from proxy.cli.group import from_arguments
from proxy.cli.serve import serve

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMAND_LINE: Final = Path("/proc/1/cmdline")
# Of `serve`, but not among the settings.
_OTHERS: Final = frozenset({"config", "upstream", "log"})


def serving_arguments(file: Path = _COMMAND_LINE) -> tuple[Path | None, dict[str, Any]]:
    """The settings file and the settings that the first process was given as arguments.

    None and nothing, unless the first process is `lighterage serve`, or starts it as an init does.
    """
    try:
        command = file.read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return None, {}
    given = _after_serve(command)
    if given is None:
        return None, {}
    with serve.make_context("serve", list(given), resilient_parsing=True) as context:
        named = context.params
    config = named.get("config")
    return config, from_arguments(
        **{name: value for name, value in named.items() if name not in _OTHERS}
    )


def _after_serve(command: Sequence[str]) -> Sequence[str] | None:
    """What follows `lighterage serve` in a command line; None if it is another one."""
    for place, (program, name) in enumerate(pairwise(command)):
        if Path(program).name == "lighterage" and name == "serve":
            return command[place + 2 :]
    return None
