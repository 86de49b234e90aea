"""The settings in docs/object-storage.md are good, and its numbers are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import yaml

from proxy.config import Settings
from proxy.stores.bucket import blobs, bucket, calls, known_objects, object_reader

TEXT: Final = (Path(__file__).parents[2] / "docs" / "object-storage.md").read_text()
SETTINGS: Final = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
POLICIES: Final = re.findall(r"^```json\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
MIB: Final = 2**20


def test_its_settings_are_good() -> None:
    amazon, elsewhere, google, azure = (
        Settings.model_validate(yaml.safe_load(settings)).blobs for settings in SETTINGS
    )
    assert (amazon.store, amazon.s3.bucket, amazon.s3.endpoint) == ("s3", "example-images", None)
    assert elsewhere.s3.public_endpoint == "https://images.example.org"
    assert google.gcs.bucket
    assert azure.azure.place == "images"


def test_its_policies_are_json() -> None:
    lifecycle, rights = map(json.loads, POLICIES)
    assert [rule["Filter"]["Prefix"] for rule in lifecycle["Rules"]] == ["blobs/", "again/", ""]
    assert "s3:ListBucket" in {statement["Action"] for statement in rights["Statement"][:1]}


def test_it_states_the_limits() -> None:
    words = " ".join(TEXT.split())
    assert f"good for {blobs._URL_LIFETIME / 60:g} minutes" in words
    assert f"in parts of {bucket._PART // MIB} MiB, two at a time, four blobs at once" in words
    assert (bucket._PARTS_AT_ONCE, blobs._UPLOADS) == (2, 4)
    assert f"a `GET` for each {object_reader._MAX_PART // MIB} MiB" in words
    assert f"hold {blobs._READ_AHEAD_LIMIT // MIB} MiB of what is next" in words
    assert f"up to {blobs._SMALL // MIB} MiB" in words
    assert f"a look-up may take {bucket._TIMEOUT:g} s" in words
    assert known_objects._LOOK_TTL == calls._LOG_INTERVAL == 60
