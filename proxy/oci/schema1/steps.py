"""The steps of a schema 1 image: each with its layer, and a chain of ids from the base upwards.

The rules are those of containers/image (manifest/docker_schema1.go, `fixManifestLayers`), which
reads as Go does. What two parsers could read differently is refused, and so is a broken chain.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.errors import ConversionRefused, ManifestInvalid, RefusalReason
from proxy.oci.document import Document, parse, spellings
from proxy.oci.schema1 import gojson, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.oci.manifest import Schema1
    from proxy.oci.reference import Digest

_ID: Final = re.compile(r"[a-f0-9]{64}")
_READ: Final = frozenset(
    {"author", "comment", "container_config", "created", "id", "parent", "throwaway"}
)
# What the config says besides: in another letter case it would say it twice.
_WRITTEN: Final = frozenset({"architecture", "history", "os", "rootfs"})


_HISTORY_ENTRY: Final = spellings("v1Compatibility")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the image's history. `members` are the texts of its v1Compatibility's values.

    A `throwaway` step has made no layer; its `layer` stands for nothing. `created` has Go's
    spelling.
    """

    layer: Digest
    members: Mapping[str, str]
    id: str
    parent: str
    created: str
    author: str
    comment: str
    created_by: str
    throwaway: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """The steps, oldest first, and the architecture that the manifest states, or ""."""

    steps: tuple[Step, ...]
    architecture: str

    @property
    def layers(self) -> tuple[Digest, ...]:
        """The layers that the image is made of, base first."""
        return tuple(step.layer for step in self.steps if not step.throwaway)


def read_chain(manifest: Schema1) -> Chain:
    """Read the steps; ConversionRefused if they are no whole chain, or cannot be read."""
    try:
        document = parse(manifest.raw)
        texts = _compatibilities(document, len(manifest.layers))
        steps = [_read(*pair) for pair in zip(manifest.layers, texts, strict=True)]
    except ManifestInvalid as error:
        raise ConversionRefused(error.message, RefusalReason.HISTORY) from None
    except ValueError as error:
        raise ConversionRefused(str(error), RefusalReason.HISTORY) from None
    except RecursionError:
        raise ConversionRefused("its history is nested too deeply", RefusalReason.HISTORY) from None
    architecture = document.get("architecture")
    return Chain(
        _without_repetitions(steps[::-1]), architecture if isinstance(architecture, str) else ""
    )


def _compatibilities(document: Document, layers: int) -> list[str]:
    """The texts of the history's entries, newest first: one for each of its layers."""
    history = document.get("history")
    if not isinstance(history, list) or not history:
        raise ValueError("it has no history")
    if len(history) != layers:
        raise ValueError(f"its history has {len(history)} steps, and it has {layers} layers")
    return [_compatibility(entry) for entry in history]


def _compatibility(entry: object) -> str:
    if not isinstance(entry, Document):
        raise ValueError("an entry of its history is not an object")  # noqa: TRY004
    entry.refuse_ambiguous(_HISTORY_ENTRY)
    text = entry.get("v1Compatibility")
    if not isinstance(text, str):
        raise ValueError("an entry of its history has no v1Compatibility")  # noqa: TRY004
    # Unpaired surrogates are no text.
    text.encode()
    return text


def _read(layer: Digest, text: str) -> Step:
    members = _members(text, "v1Compatibility")
    step = Step(
        layer=layer,
        members=members,
        id=_string(members, "id"),
        parent=_string(members, "parent"),
        created=_time(members.get("created", gojson.NULL)),
        author=_string(members, "author"),
        comment=_string(members, "comment"),
        created_by=" ".join(_command(members.get("container_config", gojson.NULL))),
        throwaway=gojson.boolean(members.get("throwaway", gojson.NULL), otherwise=False),
    )
    if not _ID.fullmatch(step.id):
        raise ValueError(f"{step.id[:80]!r} in its history is not an id of 64 hexadecimal digits")
    return step


def _members(text: str, where: str) -> dict[str, str]:
    """The members of an object; ValueError if one that is read here is misspelt or occurs twice."""
    try:
        pairs = list(gojson.members(text))
    except ValueError:
        raise ValueError(f"a {where} in its history is not a JSON object") from None
    counts = Counter(gojson.fold(key) for key, _ in pairs)
    for key, _ in pairs:
        name = gojson.fold(key)
        if name in _READ | _WRITTEN and (key != name or counts[name] > 1):
            raise ValueError(f"a {where} in its history has {key!r} twice or misspelt")
    return dict(pairs)


def _string(members: Mapping[str, str], key: str) -> str:
    return gojson.string(members.get(key, gojson.NULL), "")


def _time(text: str) -> str:
    if text == gojson.NULL:
        return rfc3339.ZERO
    gojson.string(text, "")
    return rfc3339.normal(text[1:-1])


def _command(container_config: str) -> list[str]:
    """The `Cmd` of a container's config: nothing if it is missing or null, as Go reads it."""
    if container_config == gojson.NULL:
        return []
    commands = [
        value
        for key, value in gojson.members(container_config)
        if gojson.fold(key) == "cmd" and value != gojson.NULL
    ]
    return [gojson.string(part, "") for part in gojson.elements(commands[-1])] if commands else []


def _without_repetitions(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The chain, base first, of neighbours with one id only the one nearer the base."""
    if steps[0].parent:
        raise ConversionRefused("its base has a parent", RefusalReason.HISTORY)
    chain = [steps[0]]
    seen = {steps[0].id}
    for step in steps[1:]:
        below = chain[-1]
        if step.id == below.id:
            continue
        if step.id in seen:
            raise ConversionRefused(
                f"the id {step.id} occurs twice in its history", RefusalReason.HISTORY
            )
        if step.parent != below.id:
            raise ConversionRefused(
                f"the parent of {step.id} in its history is {step.parent[:80] or 'missing'}, "
                f"and {below.id} is below it",
                RefusalReason.HISTORY,
            )
        seen.add(step.id)
        chain.append(step)
    return tuple(chain)
