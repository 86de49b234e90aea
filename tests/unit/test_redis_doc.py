"""The settings in docs/redis.md are good, and are what they are said to be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import yaml

from proxy.config import RedisSettings, Settings

TEXT: Final = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
SETTINGS: Final = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_its_settings_are_good() -> None:
    alone, watched, cluster = (
        Settings.model_validate(yaml.safe_load(settings)).manifests.redis for settings in SETTINGS
    )
    assert alone.url[0].startswith("rediss://")
    assert watched.service
    assert watched.sentinels[0].port == 26379
    assert cluster.cluster
    assert len(cluster.url) > 1


def test_it_states_the_timeouts() -> None:
    standard = RedisSettings()
    assert f"`timeout` ({1000 * standard.timeout:g} ms)" in TEXT
    assert f"`connect_timeout` ({1000 * standard.connect_timeout:g} ms)" in TEXT
