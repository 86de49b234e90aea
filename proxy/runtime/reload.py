"""Reloads the settings while the proxy runs: which changes are applied, and which need a restart.

An invalid file changes nothing. A file that is only half written is read again two seconds later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from proxy.config import Settings, SettingsError, SettingsUnreadableError
from proxy.kit.watched_files import entry
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.config import ServeArguments
    from proxy.web.admin.readiness import Readiness

_log = structlog.get_logger()

# The sections that are applied, besides each upstream's `offline`. Others need a restart, and
# `access.audit` does.
LIVE: Final = ("tags", "negative_cache", "budget", "access")
_WARNING: Final = "settings"


class SettingsReload:
    """Watches the sources of the settings for one process."""

    def __init__(
        self,
        arguments: ServeArguments,
        running: Settings,
        *,
        adopt: Callable[[Settings], None],
        readiness: Readiness,
    ) -> None:
        """`running` are the settings in use. `adopt` applies all live settings at once.

        OSError or ValueError of it is for a file that cannot be used: then none has been applied.
        """
        self._arguments = arguments
        self._running = running
        self._adopt = adopt
        self._readiness = readiness
        self._seen: object = None
        self._reason: str | None = None
        self._has_secrets = entry(arguments.secrets) is not None

    async def look(self) -> None:
        """Read the sources if the file or the secrets are other ones than last time.

        A source that cannot be read at the moment is read again at the next look.
        """
        path = self._arguments.path
        if path is None:
            return
        # Taken before reading: the next look notices a change that happens meanwhile.
        found = entry(path), entry(self._arguments.secrets)
        if found == self._seen:
            return
        try:
            settings = await asyncio.to_thread(self._read, path)
        except SettingsUnreadableError as error:
            self._seen = None
            if str(error) != self._reason:
                self._refuse(str(error))
        except SettingsError as error:
            self._seen = found
            self._refuse(str(error))
        else:
            self._seen = found
            self._take(settings, self._reason)

    def _read(self, path: Path) -> Settings:
        if _is_empty(path):
            # A file that is being written; it does not mean the defaults.
            raise SettingsError(f"{path} is empty")
        settings = self._arguments.load()
        # Checked after reading: the directory may be removed meanwhile.
        if self._has_secrets and entry(self._arguments.secrets) is None:
            raise SettingsUnreadableError(
                f"the secrets directory {self._arguments.secrets} is gone"
            )
        return settings

    def _refuse(self, reason: str) -> None:
        self._reason = reason
        metrics.SETTINGS_REFUSED.set(1)
        self._readiness.warnings[_WARNING] = f"the settings were not taken over: {reason}"
        _log.error("settings.refused", reason=reason)

    def _take(self, settings: Settings, reason: str | None) -> None:
        """Apply the settings; `reason` is why they were refused last time."""
        adopted = _with_live_sections(settings, self._running)
        if adopted != self._running:
            try:
                self._adopt(adopted)
            except (OSError, ValueError) as error:
                # A file that they name may come later than they do.
                self._seen = None
                if str(error) != reason:
                    self._refuse(str(error))
                return
        self._reason = None
        metrics.SETTINGS_REFUSED.set(0)
        self._readiness.warnings.pop(_WARNING, None)
        if adopted != self._running:
            _log.info("settings.adopted", sections=_differing(adopted, self._running))
            self._running = adopted
        if waiting := _differing(settings, adopted):
            self._readiness.warnings[_WARNING] = (
                f"changed settings that need a restart: {', '.join(waiting)}"
            )
            _log.warning("settings.restart_needed", sections=waiting)


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


def _with_live_sections(new: Settings, running: Settings) -> Settings:
    update: dict[str, Any] = {name: getattr(new, name) for name in LIVE}
    update["access"] = new.access.model_copy(update={"audit": running.access.audit})
    update["upstreams"] = {
        name: upstream.model_copy(update={"offline": new.upstreams.get(name, upstream).offline})
        for name, upstream in running.upstreams.items()
    }
    return running.model_copy(update=update)


def _differing(new: Settings, old: Settings) -> list[str]:
    """The names of the sections that differ."""
    found = [
        name
        for name in Settings.model_fields
        # A supervisor replaces port 0 by the port that the system chose.
        if getattr(new, name) != getattr(old, name) and (name != "listen" or new.listen.port)
    ]
    is_audit = new.access == old.access.model_copy(update={"audit": new.access.audit})
    return ["access.audit" if name == "access" and is_audit else name for name in found]
