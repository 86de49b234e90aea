"""Whether clients can decode the config that is made of a step: its members have the right types.

docker, containerd and containers/image decode a config into structs, and fail at the first member
of another type. So such an image would be converted, and then be of no use to anybody.

(moby image/image.go and api/types/container/config.go)
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused, RefusalReason
from proxy.oci.schema1 import gojson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Check = Callable[[object], bool]

_CONTAINERS: Final = ("config", "container_config")


def check_types(members: Mapping[str, str]) -> None:
    """ConversionRefused if a member has a type that no client decodes.

    `members` are the texts of the values; null is no value, as in Go. `os` and `architecture` are
    not looked at: there is a default for them.
    """
    for path, value, (is_right, type_name) in _values_to_check(members):
        if value is not None and not is_right(value):
            raise ConversionRefused(
                f"its {path} is not {type_name}, so no client could read its config",
                RefusalReason.CONFIG,
            )


def _values_to_check(members: Mapping[str, str]) -> Iterator[tuple[str, object, tuple[Check, str]]]:
    """Each member that clients decode, with its value and what that has to be."""
    for key, text in members.items():
        name = gojson.fold(key)
        if name in _CONTAINERS:
            value = _decode(text)
            yield key, value, _OBJECT
            for inner, wanted in value if isinstance(value, _Object) else ():
                if check := _OF_CONTAINERS.get(gojson.fold(inner)):
                    yield f"{key}.{inner}", wanted, check
        elif check := _OF_IMAGES.get(name):
            yield key, _decode(text), check


class _Object(list[tuple[str, object]]):
    """The members of an object, in order, duplicates included."""


def _decode(text: str) -> object:
    """The value of valid JSON; numbers stay text, because they may be huge."""
    return json.loads(text, object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number)


class _Number:
    """A number of any size."""

    def __init__(self, _: str) -> None:
        pass


def _is_list_of_texts(value: object) -> bool:
    return type(value) is list and all(each is None or isinstance(each, str) for each in value)


def _is_command(value: object) -> bool:
    # Docker takes a text for a list of one.
    return isinstance(value, str) or _is_list_of_texts(value)


def _is_mapping_of_texts(value: object) -> bool:
    return isinstance(value, _Object) and all(
        text is None or isinstance(text, str) for _, text in value
    )


_TEXT: Final = (lambda value: isinstance(value, str), "a string")
_SWITCH: Final = (lambda value: isinstance(value, bool), "true or false")
_OBJECT: Final = (lambda value: isinstance(value, _Object), "an object")
_TEXTS: Final = (_is_list_of_texts, "a list of strings")
_COMMAND: Final = (_is_command, "a list of strings")
_TEXTS_BY_NAME: Final = (_is_mapping_of_texts, "an object of strings")

# By their names in lower case.
_OF_IMAGES: Final[Mapping[str, tuple[Check, str]]] = {
    **dict.fromkeys(("container", "docker_version", "os.version", "variant"), _TEXT),
    "os.features": _TEXTS,
}
_OF_CONTAINERS: Final[Mapping[str, tuple[Check, str]]] = {
    **dict.fromkeys(("hostname", "domainname", "user", "image", "workingdir"), _TEXT),
    **dict.fromkeys(("macaddress", "stopsignal"), _TEXT),
    **dict.fromkeys(("attachstdin", "attachstdout", "attachstderr"), _SWITCH),
    **dict.fromkeys(("tty", "openstdin", "stdinonce", "argsescaped", "networkdisabled"), _SWITCH),
    **dict.fromkeys(("exposedports", "volumes", "healthcheck"), _OBJECT),
    **dict.fromkeys(("env", "onbuild"), _TEXTS),
    **dict.fromkeys(("cmd", "entrypoint", "shell"), _COMMAND),
    "labels": _TEXTS_BY_NAME,
}
