"""What an operator should know of the settings and the data directory, in the log and /readyz."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from proxy.stores.disk.old_format import describe_old_format
from proxy.wiring.endpoints import endpoint_name

if TYPE_CHECKING:
    from proxy.config import Settings
    from proxy.web.admin.readiness import Readiness

_log = structlog.get_logger()


def warn_of_settings(settings: Settings, readiness: Readiness) -> None:
    """Say what an operator should know before anything goes wrong."""
    _warn_of_old_format(settings, readiness)
    _warn_of_plain_logins(settings, readiness)


def _warn_of_old_format(settings: Settings, readiness: Readiness) -> None:
    if (old_format := describe_old_format(settings.data)) is not None:
        readiness.warnings["data_directory"] = old_format
        _log.warning("data.old_format", message=old_format)


def _warn_of_plain_logins(settings: Settings, readiness: Readiness) -> None:
    for name, upstream in settings.upstreams.items():
        for endpoint in (upstream, *upstream.mirrors):
            if endpoint.sends_login_in_the_clear:
                message = (
                    f"the login for {endpoint_name(endpoint)} is sent over plain HTTP, where "
                    "anybody on the way can read it; use an https:// url"
                )
                readiness.warnings[f"plain_login.{name}"] = message
                _log.warning("upstream.plain_login", upstream=name, message=message)
