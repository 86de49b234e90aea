"""Whether an upstream takes our login: a warning for the operator as long as it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_log = structlog.get_logger()


class LoginWatch:
    """One upstream's login. Each change is logged once, and `warnings` have what is wrong now."""

    def __init__(self, name: str, warnings: MutableMapping[str, str]) -> None:
        """`name` is the upstream's."""
        self._name = name
        self._warnings = warnings
        self._key = f"login.{name}"
        self._problem: str | None = None
        # In one word: unused, accepted, refused or unreadable.
        self.state = "unused"

    def record_accepted(self) -> None:
        """The registry has answered a request with the login."""
        self.state = "accepted"
        if self._problem is not None:
            self._problem = None
            self._warnings.pop(self._key, None)
            _log.info("upstream.login_accepted", upstream=self._name)

    def record_refused(self, message: str) -> None:
        """The registry or its token server does not know the login."""
        self.state = "refused"
        self._warn("upstream.login_refused", f"{message}; correct credentials of {self._name}")

    def record_unreadable(self, message: str) -> None:
        """A file with the login cannot be read."""
        self.state = "unreadable"
        self._warn("upstream.login_unreadable", message)

    def _warn(self, event: str, message: str) -> None:
        if self._problem != message:
            self._problem = message
            self._warnings[self._key] = message
            _log.warning(event, upstream=self._name, message=message)
