"""Image configs spelt in every way that JSON and Go allow, made from a seed; and broken ones."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Final

from proxy.oci.schema1 import gojson
from tests.kit.oracle import Conversion

# No \b and no \f: Go prints them differently from release 1.22 on.
_CHARACTERS: Final = 'aé<>&/\u2028\u2029\x7f\u0085\ufeff\ufffd\uffff😀日"\\\n\r\t\0\x1f'
_ESCAPES: Final = ("\\ud800", "\\udc00", "\\ud83d\\u0041", "\\ud83d\\ude00", "\\/", "\\u00E9")
_SCALARS: Final = ("0", "-0", "1.0", "1E+2", "12345678901234567890", "1e999", "true", "null")
_TIMES: Final = (
    '"2020-01-02T03:04:05.1200Z"',
    '"2020-01-02T03:04:05+02:00"',
    '"2020-01-02T03:04:05.000-00:00"',
    '"0000-02-29T23:59:59.9999999999Z"',
    "null",
)
_SPACES: Final = ("", "", "", " ", "\r\n\t")
_FRAGMENTS: Final = (
    *("", ",", "}", "]", '"', "\\", " ", "x", "null", "01", "1.", "NaN", "\ufeff", "\x01", "\\u12"),
    *("\\x41", "\\u005f", "\u017f", "\ufb00", "\u212a"),
)
_MEMBERS: Final = (
    *('"a":1', '"a":NaN', '"a":01', '"a":"\n"', '"architecture":5', '"Architecture":null'),
    *('"history":null', '"history":[]', '"history":[{}]', '"History":[null]', '"history":{}'),
    *('"history":[{"empty_layer":true,"Comment":"x"}]', '"history":[{"empty_layer":1}]'),
    *('"history":[{"created":"2021-02-29T00:00:00Z"}]', '"history":[{"created":5}]'),
    *('"history":[{},{},{}]', '"hi\u017ftory":[{},{"empty_layer":true}]', '"hi\\u0073tory":[{}]'),
    *('"rootfs":null', '"rootfs":{}', '"RootFS":{"base_layer":"x"}', '"rootfs":{"diff_ids":["x"]}'),
    *('"rootfs":{"diff_ids":null}', '"rootfs":{"type":5}', '"rootfs":[]'),
)


def images(seed: int, count: int) -> list[Conversion]:
    """Images that distribution converts."""
    random = Random(seed)  # noqa: S311 -- the same ones every time
    return [_image(random) for _ in range(count)]


def broken_images(seed: int, count: int) -> list[Conversion]:
    """Images with something put in the place of something, or said twice; some are right still."""
    random = Random(seed)  # noqa: S311 -- the same ones every time
    return [_broken(random, _image(random)) for _ in range(count)]


def _image(random: Random) -> Conversion:
    steps = [random.choice(("true", "false")) for _ in range(random.randint(1, 5))]
    count = steps.count("false")
    members = [
        (_key(random, "rootfs"), _rootfs(random, count)),
        (_key(random, "history"), _array(random, [_entry(random, step) for step in steps])),
        *_some(random, 4, (_key(random, "architecture"), _string(random))),
        *_some(random, 4, (random.choice(('"id"', '"parent"', '"throwaway"')), _value(random))),
        *_some(random, 1, (_string(random), _value(random))),
    ]
    layers = [f"sha256:{random.randrange(4):064x}" for _ in range(count)]
    name, tag = random.choice((("a", ""), ("docker.io/library/x", "v1.0_x-Y")))
    return Conversion(_shuffled(random, members).encode(), layers, name, tag)


def _broken(random: Random, whole: Conversion) -> Conversion:
    text = whole.config.decode()
    if random.random() < 1 / 2:
        start = random.randrange(len(text))
        end = start + random.randrange(3)
        damaged = text[:start] + random.choice(_FRAGMENTS) + text[end:]
    else:
        also = ",".join(random.choices(_MEMBERS, k=random.randint(1, 3)))
        first = random.random() < 1 / 2
        damaged = f"{{{also},{text[1:]}" if first else f"{text[:-1]},{also}}}"
    return replace(whole, config=damaged.encode())


def _some(random: Random, rarity: int, member: tuple[str, str]) -> list[tuple[str, str]]:
    return [member] if not random.randrange(rarity) else []


def _rootfs(random: Random, count: int) -> str:
    diff_ids = _array(random, [_string(random) for _ in range(count)])
    base = (_key(random, "base_layer"), _string(random))
    kind = (_key(random, "type"), _string(random))
    return _shuffled(random, [(_key(random, "diff_ids"), diff_ids), kind, *_some(random, 4, base)])


def _entry(random: Random, empty: str) -> str:
    members = [
        (_key(random, "empty_layer"), empty),
        *_some(random, 2, (_key(random, "created"), random.choice(_TIMES))),
        *_some(random, 8, ('"unknown"', _value(random))),
    ]
    for name in ("author", "created_by", "comment", "created_by"):
        members += _some(random, 3, (_key(random, name), random.choice((_string(random), "null"))))
    return _shuffled(random, members)


def _key(random: Random, name: str) -> str:
    return f'"{random.choice((name, name, name, name.upper(), name.title()))}"'


def _string(random: Random) -> str:
    text = "".join(random.choices(_CHARACTERS, k=random.choice((0, 1, 3, 8))))
    escape = random.choice(("", "", *_ESCAPES))
    return random.choice((json.dumps, gojson.quote))(text)[:-1] + f'{escape}"'


def _value(random: Random, depth: int = 3) -> str:
    inner = [_value(random, depth - 1) for _ in range(random.randrange(3))] if depth else []
    return random.choice(
        (
            _string(random),
            random.choice(_SCALARS),
            _array(random, inner),
            _object(random, [(_string(random), value) for value in inner]),
        )
    )


def _array(random: Random, elements: list[str]) -> str:
    space = random.choice(_SPACES)
    return f"[{space}" + f"{space},".join(elements) + f"{space}]"


def _object(random: Random, members: list[tuple[str, str]]) -> str:
    space = random.choice(_SPACES)
    return "{" + space + f",{space}".join(f"{key}{space}:{value}" for key, value in members) + "}"


def _shuffled(random: Random, members: list[tuple[str, str]]) -> str:
    return _object(random, random.sample(members, len(members)))
