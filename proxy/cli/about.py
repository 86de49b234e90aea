"""The program itself: `version` and `completion`."""

from __future__ import annotations

import json
from typing import Final

import click
from click.shell_completion import get_completion_class

from proxy import __version__
from proxy.cli.group import AS_JSON, COMPLETION_VARIABLE, main

_SHELLS: Final = ("bash", "zsh", "fish")


@main.command()
@AS_JSON
def version(*, as_json: bool) -> None:
    """Print the version."""
    click.echo(json.dumps({"version": __version__}) if as_json else f"lighterage {__version__}")


@main.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the completion of commands and options for SHELL.

    \b
    bash:  eval "$(lighterage completion bash)"   in ~/.bashrc
    zsh:   eval "$(lighterage completion zsh)"    in ~/.zshrc, after compinit
    fish:  lighterage completion fish > ~/.config/fish/completions/lighterage.fish
    """  # noqa: D301 -- click reads the backspace as "do not wrap this paragraph"
    chosen = get_completion_class(shell)
    assert chosen is not None  # noqa: S101 -- click knows all of _SHELLS
    made = chosen(main, {}, "lighterage", COMPLETION_VARIABLE)
    # `source` would run bash to ask for its version, which need not be installed here.
    click.echo(made.source_template % made.source_vars())
