"""Processes that are nobody's children any more.

The first process of a container inherits them, and each stays in the process table until it is
waited for: what a probe or somebody with a shell in the container has left behind.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_EVERY: Final = 5.0


def reap_orphans(ours: Callable[[], Collection[int]] = tuple) -> None:
    """From now on wait for orphans that have ended, if this is the first process; needs a loop.

    `ours` are the processes that somebody else waits for.
    """
    if os.getpid() == 1:
        _reap(ours)


def _reap(ours: Callable[[], Collection[int]]) -> None:
    asyncio.get_running_loop().call_later(_EVERY, _reap, ours)
    children = ours()
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in children:
                return
            os.waitpid(ended.si_pid, 0)
