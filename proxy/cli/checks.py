"""What `serve` and `check-config` find wrong with settings beyond their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cli.group import fail

if TYPE_CHECKING:
    from proxy.config import Loaded, Settings


def refuse_wrong(loaded: Loaded, *, ports_are_ours: bool = False) -> None:
    """End the command if the proxy could not start with these settings."""
    from proxy.runtime.preflight import find_wrong  # noqa: PLC0415 -- see the package's docstring

    found = list(find_wrong(loaded.settings, ports_are_ours=ports_are_ours))
    if found:
        fail("\n".join(loaded.refusal(*wrong) for wrong in found))


def warnings_of(loaded: Loaded) -> list[str]:
    """A sentence for each secret without which the proxy would start all the same."""
    from proxy.runtime.preflight import find_unreadable  # noqa: PLC0415

    return [loaded.refusal(*wrong) for wrong in find_unreadable(loaded.settings)]


def is_running(settings: Settings) -> bool:
    """Whether a proxy answers at the admin listener of these settings."""
    from proxy.cli.admin_client import RemoteError, address_of, ask  # noqa: PLC0415

    try:
        return "warnings" in ask(address_of(settings), "/readyz", refused_is_answer=True)
    except RemoteError:
        return False
