"""Types of settings: durations in seconds, sizes in bytes, shares, addresses, platforms."""

from __future__ import annotations

import re
from ipaddress import ip_address
from math import isfinite
from typing import Annotated, Final, Self, TypeGuard

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from proxy.oci.platform import Platform

_DURATIONS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
# With or without a B, as Kubernetes writes them.
_SIZES: Final = {"": 1, **_BINARY, **{f"{unit}B": size for unit, size in _BINARY.items()}}
_SIZE: Final = rf"(\d+|\d+\.\d+(?=\s*\w))\s*({'|'.join(_SIZES)})"
_UNITS: Final = "ms|s|m|h|d"
# Later values are slips of the keyboard, and more than what they are compared with can hold.
_LONGEST_DAYS: Final = 36500
_LARGEST_TEBIBYTES: Final = 2**20
_PART: Final = rf"\d+(\.\d+)?\s*({_UNITS})"
_PARTS: Final = rf"{_PART}(\s*{_PART})*"


def _duration(value: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(_PARTS, text):
        parts = re.findall(rf"(\d+(?:\.\d+)?)\s*({_UNITS})", text)
        sizes = [_DURATIONS[unit] for _, unit in parts]
        if sizes != sorted(set(sizes), reverse=True):
            raise ValueError("each unit of a duration is there once, the largest first: 1h30m")
        value = sum(float(number) * _DURATIONS[unit] for number, unit in parts)
    elif re.fullmatch(r"\d+(\.\d+)?", text):
        value = float(text)
    if not _is_number(value):
        raise ValueError(
            "a duration is a number with ms, s, m, h or d after it, such as 90s or 1h30m"
        )
    if value > _LONGEST_DAYS * _DURATIONS["d"]:
        raise ValueError(f"a duration is at most {_LONGEST_DAYS}d")
    return value


def _size(value: object) -> object:
    if isinstance(value, str) and (found := re.fullmatch(_SIZE, value.strip())):
        value = int(float(found[1]) * _SIZES[found[2]])
    if not _is_number(value):
        raise ValueError(
            "a size is in bytes, or a number with KiB, MiB, GiB or TiB after it, such as 100GiB"
        )
    if value > _LARGEST_TEBIBYTES * 2**40:
        raise ValueError(f"a size is at most {_LARGEST_TEBIBYTES}TiB")
    return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _share(value: object) -> object:
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())):
        return float(found[1]) / 100
    if not _is_number(value) and not isinstance(value, str):
        raise ValueError("a share is a number from 0 to 1, or such as 10%")
    return value


def _address(value: object) -> object:
    if isinstance(value, Address):
        return value
    host, colon, port = str(value).rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 -- TCP's
        raise ValueError("an address is HOST:PORT, such as 0.0.0.0:5000 or [::]:5000")
    return Address(host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port))  # noqa: S104 -- the meaning of an empty host


class Address(tuple[str, int]):
    """An address to listen on: a host and a TCP port."""

    __slots__ = ()

    def __new__(cls, host: str, port: int) -> Self:
        """A host and a TCP port."""
        return super().__new__(cls, (host, port))

    @property
    def host(self) -> str:
        """A name or an IP address, without brackets."""
        return self[0]

    @property
    def port(self) -> int:
        """The port; the system chooses one for 0."""
        return self[1]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __getnewargs__(self) -> tuple[str, int]:
        """Support pickle, with which a supervisor sends the settings to its workers."""
        return self.host, self.port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    Field(ge=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": f"^{_PARTS}$"},
            ]
        }
    ),
]
Bytes = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {
                    "type": "string",
                    "pattern": rf"^(\d+|\d+(\.\d+)?\s*({'|'.join(filter(None, _SIZES))}))$",
                },
            ]
        }
    ),
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    Field(ge=0, le=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^(100|\d{1,2}(\.\d+)?)\s*%$"},
            ]
        }
    ),
]
Listen = Annotated[
    Address,
    BeforeValidator(_address),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^.*:\d{1,5}$"}),
]

# Greater than 0. The pattern has no look-ahead, because helm's regular expressions have none.
_MORE_THAN_NOTHING: Final = (
    rf"^(0+(\.0+)?\s*({_UNITS})\s*)*(0*[1-9]\d*(\.\d+)?|0+\.0*[1-9]\d*)\s*({_UNITS})(\s*{_PART})*$"
)
Timeout = Annotated[
    Seconds,
    Field(gt=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {
                    "type": "string",
                    "pattern": _MORE_THAN_NOTHING,
                },
            ]
        }
    ),
]


def _platform(value: object) -> object:
    return Platform.parse(value) if isinstance(value, str) else value


PlatformName = Annotated[
    Platform,
    BeforeValidator(_platform),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^[^/]+/[^/]+(/[^/]+)?$"}),
]
