"""What an image says of itself is the same whenever, and wherever, it was built."""

from __future__ import annotations

import json
from typing import Any

from release.layout import oci_config


def built(number: int) -> bytes:
    """As buildah writes it, for a build of many."""
    own = f"{number:012x}"
    entry = {"created": "2023-11-14T22:13:20Z", "created_by": "/bin/sh -c #(nop) COPY dir:a in / "}
    config: dict[str, Any] = {
        "id": own * 5,
        "container": own * 5,
        "parent": f"sha256:{own * 5}",
        "created": "2023-11-14T22:13:20Z",
        "architecture": "amd64",
        "os": "linux",
        "container_config": {"Hostname": own},
        "config": {"Hostname": own, "Cmd": ["serve"], "Labels": {}, "OnBuild": None},
        "history": [
            {**entry, "comment": "made by its makers"},
            {**entry, "comment": f"FROM {own}"},
            {**entry, "comment": "FROM registry.example.org/base", "empty_layer": True},
        ],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:aa", "sha256:bb"]},
    }
    return json.dumps(config).encode()


def test_nothing_of_one_build_is_in_the_config() -> None:
    assert oci_config(built(1)) == oci_config(built(2))


def test_all_that_the_sources_say_stays() -> None:
    config = json.loads(oci_config(built(1)))
    assert config["config"] == {"Cmd": ["serve"]}
    assert len(config["rootfs"]["diff_ids"]) == 2
    assert [entry.get("comment") for entry in config["history"]] == [
        *("made by its makers", None, None),
    ]
    assert config["history"][2]["empty_layer"] is True
    assert all(entry["created_by"] for entry in config["history"])
