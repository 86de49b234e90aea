"""What all commands share: the group, common options, settings, failure and exit statuses."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Never, NoReturn

import click

from proxy import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config import Loaded, Settings

# Exit statuses besides 0, which includes warnings.
FAILED: Final = 1
# A command that is used wrongly, or nothing of the name that was given.
USAGE: Final = 2
# `scrub` found damage; for `status`, the proxy is not ready.
NOT_WELL: Final = 3


COMPLETION_VARIABLE: Final = "_LIGHTERAGE_COMPLETE"


class _File(click.ParamType[Path]):
    """A file that exists."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        try:
            if path.is_dir():
                self.fail(f"{path} is a directory, and no file", param, ctx)
            if not path.exists():
                self.fail(f"there is no file {path}", param, ctx)
        except OSError as error:
            self.fail(f"{path} cannot be read: {error.strerror}", param, ctx)
        return path


FILE = _File()
CONFIG = click.option(
    "--config",
    type=FILE,
    envvar="LIGHTERAGE_CONFIG",
    show_envvar=True,
    help="Settings as YAML.",
)
DATA = click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Commands(click.Group):
    """The commands. What is wrong with a command line is a line that begins with `lighterage:`."""

    def main(self, *args: Any, **extra: Any) -> Never:
        """Run the command line, or the arguments given first, and exit."""
        given = args[0] if args else extra.pop("args", None)
        extra.pop("prog_name", None)
        self._main_shell_completion(extra, "lighterage", COMPLETION_VARIABLE)
        arguments = list(sys.argv[1:] if given is None else given)
        try:
            with self.make_context("lighterage", arguments, **extra) as context:
                self.invoke(context)
                context.exit()
        except click.exceptions.Exit as end:
            sys.exit(end.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(USAGE)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "lighterage"
            fail(f"{_usage_sentence(error)}\nsee: {path} --help", USAGE)
        except click.ClickException as error:
            fail(error.format_message())
        except click.Abort:
            click.echo("", err=True)
            sys.exit(FAILED)
        except BrokenPipeError:
            # `| head` has closed the pipe.
            sys.stdout = None
            sys.exit(FAILED)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one name the nearest."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = [name for name, command in self.commands.items() if not command.hidden]
            near = difflib.get_close_matches(args[0], known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


def _usage_sentence(error: click.UsageError) -> str:
    match error:
        case click.NoSuchOption():
            near = f"; did you mean {error.possibilities[0]}?" if error.possibilities else ""
            return f"there is no option {error.option_name}{near}"
        case click.MissingParameter() if error.param is not None:
            return f"{_name(error.param)} is missing"
        case click.BadParameter(param=click.Parameter(type=click.IntRange() as allowed) as number):
            return f"{_name(number)}: {_range_sentence(error.message, allowed)}"
        case click.BadParameter() if error.param is not None:
            return f"{_name(error.param)}: {error.message.rstrip('.')}"
        case _:
            return error.format_message().rstrip(".")


def _range_sentence(message: str, allowed: click.IntRange) -> str:
    if "not in the range" not in message:
        return "a whole number is needed"
    most = "" if allowed.max is None else f", and at most {allowed.max}"
    return f"it must be at least {allowed.min}{most}"


def _name(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return parameter.human_readable_name
    return max(parameter.opts, key=len)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lighterage", message="%(prog)s %(version)s")
def main() -> None:
    """Lighterage: a caching pull-through proxy for container registries."""


def load(config: Path | None, **arguments: Any) -> Settings:
    """Load a settings file, overridden by `arguments`; end the command if they are invalid."""
    return load_with_origins(config, **arguments).settings


def load_with_origins(config: Path | None, **arguments: Any) -> Loaded:
    """The same, and where each setting was said."""
    from proxy import config as settings  # noqa: PLC0415 -- slow to import

    return read(lambda: settings.read(config, arguments=arguments))


def read(source: Callable[[], Loaded]) -> Loaded:
    """Call `source`; end the command if the settings are invalid."""
    from proxy.config import SettingsError  # noqa: PLC0415

    try:
        return source()
    except SettingsError as error:
        fail(str(error))


def from_arguments(
    *,
    listen: str | None = None,
    admin_listen: str | None = None,
    redis: str | None = None,
    data: Path | None = None,
    peer_listen: str | None = None,
    peers: str | None = None,
    peer_secret_file: Path | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """The settings that the given arguments name."""
    given: dict[str, Any] = {"listen": listen, "data": data, "workers": workers}
    if admin_listen is not None:
        given["admin"] = {"listen": admin_listen}
    if redis is not None:
        given["manifests"] = {"store": "redis", "redis": {"url": redis}}
    replicas = {"listen": peer_listen, "discover": peers, "secret_file": peer_secret_file}
    given["peers"] = {key: value for key, value in replicas.items() if value is not None} or None
    return {key: value for key, value in given.items() if value is not None}


def fail(message: str, status: int = FAILED) -> NoReturn:
    """End the command with `status` and `message` on standard error."""
    for line in message.splitlines():
        click.echo(f"lighterage: {line}", err=True)
    sys.exit(status)


def warn(message: str) -> None:
    """Print a warning on standard error; the command goes on."""
    for line in message.splitlines():
        click.echo(f"lighterage: warning: {line}", err=True)
