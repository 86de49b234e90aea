"""The base class of every group of settings."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    ConfigDict,
)


class Section(BaseModel):
    """A group of settings: frozen, and without unknown keys, so that typing errors are found."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
