"""`lighterage htpasswd`: a user's line for `access.htpasswd_file`."""

from __future__ import annotations

import sys

import click

from proxy.cli.group import fail, main


@main.command()
@click.argument("user")
def htpasswd(user: str) -> None:
    """Write a line for USER to standard output, for the file that access.htpasswd_file names.

    The password is read from the terminal, or from the first line of standard input.
    """
    from proxy.access.htpasswd import line_for  # noqa: PLC0415 -- see the package's docstring

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        click.echo(line_for(user, password))
    except ValueError as error:
        fail(str(error))
