"""The base class of every group of settings, and what is raised for wrong ones."""

from __future__ import annotations

from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError


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

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: object, info: ValidationInfo) -> object:
        """`true` is no 1."""
        if isinstance(value, bool) and info.field_name is not None:
            field = cls.model_fields[info.field_name]
            has_own_rule = any(isinstance(each, BeforeValidator) for each in field.metadata)
            if not has_own_rule and int in _kinds(field.annotation):
                raise PydanticCustomError("int_type", "a whole number is needed")
        return value


def _kinds(annotation: object) -> set[object]:
    is_union = get_origin(annotation) in {Union, UnionType}
    return set(get_args(annotation)) if is_union else {annotation}
