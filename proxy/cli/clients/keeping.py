"""Keeps a client's files as long as the process runs: `client-config --keep`."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

import click

from proxy.cli.clients.installed import unreachable
from proxy.cli.group import warn

if TYPE_CHECKING:
    from types import FrameType

    from proxy.cli.clients.files import ProxyAddress
    from proxy.cli.clients.owned import OwnedFiles

# Seconds between two looks at the proxy that does not answer yet, and at files that are there.
_UNTIL_IT_ANSWERS: Final = 1.0
_BETWEEN_LOOKS: Final = 10.0


class _EndedError(Exception):
    """A signal to end was received."""


def keep(owned: OwnedFiles, at: ProxyAddress) -> None:
    """Write the files when the proxy answers, and remove them when a signal ends this process.

    Meanwhile files that are missing or changed are written again. What an earlier process of the
    same owner could not remove, because it was killed, is taken over first. OSError if that fails.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        owned.adopt()
        _wait_for(at)
        _look_again_and_again(owned)
    except _EndedError:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for path in owned.remove():
            click.echo(f"removed: {path}")


def _wait_for(at: ProxyAddress) -> None:
    said = ""
    while (reason := unreachable(at)) is not None:
        if reason != said:
            said = reason
            warn(f"{reason}; no file is written before")
        time.sleep(_UNTIL_IT_ANSWERS)


def _look_again_and_again(owned: OwnedFiles) -> None:
    said: set[str] = set()
    while True:
        sentences = {f"{path} is somebody else's, and stays as it is" for path in owned.foreign()}
        try:
            for path in owned.write():
                click.echo(f"{'written' if path.exists() else 'removed'}: {path}")
        except OSError as error:
            sentences.add(f"{error.filename} cannot be written: {error.strerror}")
        for sentence in sorted(sentences - said):
            warn(sentence)
        said = sentences
        time.sleep(_BETWEEN_LOOKS)


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _EndedError
