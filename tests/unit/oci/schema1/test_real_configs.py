"""v2s2 to schema 1 and back: what real images are made of stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.oci.layer import LayerFacts
from proxy.oci.manifest import Schema1
from proxy.oci.reference import Digest
from proxy.oci.schema1.build import from_image
from proxy.oci.schema1.to_image import layers_to_measure, to_image
from tests.kit.real_configs import CONFIGS

# What schema 1 has for a step that says nothing of when it was created, as Go has it.
NEVER = "0001-01-01T00:00:00Z"


def test_there_are_forty() -> None:
    assert len(CONFIGS) == 40


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_diff_ids_and_history_come_back(name: str) -> None:
    given = CONFIGS[name]
    count = sum(not entry.get("empty_layer") for entry in given["history"])
    layers = [Digest.of(f"{name}, layer {number}".encode()) for number in range(count)]
    diff_ids = [Digest.of(layer.encode()) for layer in layers]
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    source = json.dumps({**given, "rootfs": rootfs}, ensure_ascii=False).encode()

    old = from_image(source, layers, name="a", tag="b")
    assert isinstance(old, Schema1)
    known = dict(zip(layers, diff_ids, strict=True))
    facts = [
        LayerFacts(layer, 10, known[layer], 20, is_gzip=True)
        for layer in layers_to_measure(old, ())
    ]
    made = to_image(old, facts)
    after = json.loads(made.blobs[0].raw)

    assert [layer["digest"] for layer in json.loads(made.manifest.raw)["layers"]] == layers
    assert after.pop("rootfs") == rootfs
    assert after.pop("history") == [*map(lower, given["history"][:-1]), newest(given)]
    assert after == {member: value for member, value in given.items() if member != "history"}


def lower(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry below the newest: whole, but for what is empty."""
    return {"created": NEVER, **{name: value for name, value in entry.items() if value}}


def newest(config: dict[str, Any]) -> dict[str, Any]:
    """The newest entry: only what the config itself says."""
    entry = {"created": config.get("created", NEVER).replace("+00:00", "Z")}
    if "author" in config:
        entry["author"] = config["author"]
    if "container_config" in config:
        entry["created_by"] = " ".join(config["container_config"]["Cmd"])
    if config["history"][-1].get("empty_layer"):
        entry["empty_layer"] = True
    return entry
