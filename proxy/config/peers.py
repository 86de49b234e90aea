"""The settings for several replicas that are one cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from proxy.config.section import Section
from proxy.config.values import Bytes, Listen, Timeout


def _split(value: Any) -> Any:
    return tuple(filter(None, value.replace(",", " ").split())) if isinstance(value, str) else value


Places = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class PeerTlsSettings(Section):
    """What replicas show each other, and which authority they trust."""

    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _all_or_none(self) -> PeerTlsSettings:
        if len({file is None for file in (self.certificate_file, self.key_file, self.ca_file)}) > 1:
            raise ValueError("certificate_file, key_file and ca_file are used together")
        return self


class PeerSettings(Section):
    """Where the other replicas are, and how this one is reached by them."""

    listen: Listen | None = None
    discover: Places = ()
    advertise: Listen | None = None
    zone: str | None = None
    secret_file: Path | None = None
    fan_out: int = Field(default=8, ge=1)
    timeout: Timeout = 2.0
    bandwidth: Annotated[Bytes, Field(ge=2**20)] | None = None
    tls: PeerTlsSettings = PeerTlsSettings()

    @field_validator("discover")
    @classmethod
    def _are_places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place in value:
            host, _, port = place.removeprefix("dns:").rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
                raise ValueError(f"{place!r} is neither dns:NAME:PORT nor HOST:PORT")
        return value

    @model_validator(mode="after")
    def _all_or_none(self) -> PeerSettings:
        given = (self.listen is not None, bool(self.discover), self.secret_file is not None)
        if any(given) and not all(given):
            raise ValueError("listen, discover and secret_file are used together")
        return self
