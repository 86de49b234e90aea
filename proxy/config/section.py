"""The base class of every group of settings, and what is raised for wrong ones."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    ConfigDict,
)


class SettingsError(Exception):
    """The settings are invalid; the message names the place, and says what to do."""


class SettingsUnreadableError(SettingsError):
    """A source cannot be read at the moment; its content may be valid."""


class WrongSetting(ValueError):  # noqa: N818 -- the setting is wrong, not the program
    """What a validator finds wrong with a setting below the group that it validates."""

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


class Section(BaseModel):
    """A group of settings: frozen, and without unknown keys, so that typing errors are found."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
