"""The settings in docs/redis.md are good, and are what they are said to be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import yaml

from proxy.catalog import generation, write_behind
from proxy.config import RedisSettings, Settings
from proxy.manifests import stored_page
from proxy.stores.redis import cache

PROXY: Final = Path(__file__).parents[2] / "proxy"
TEXT: Final = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
SETTINGS: Final = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_its_settings_are_good() -> None:
    alone, watched, cluster, keyed = (
        Settings.model_validate(yaml.safe_load(settings)).manifests.redis for settings in SETTINGS
    )
    assert alone.url[0].startswith("rediss://")
    assert watched.service
    assert watched.sentinels[0].port == 26379
    assert cluster.cluster
    assert len(cluster.url) > 1
    assert keyed.hmac_key_file


def test_it_states_the_timeouts() -> None:
    standard = RedisSettings()
    assert f"`timeout` ({1000 * standard.timeout:g} ms)" in TEXT
    assert f"`connect_timeout` ({1000 * standard.connect_timeout:g} ms)" in TEXT


def test_it_states_how_much_may_be_pending() -> None:
    assert f"At most {write_behind._LIMIT // 2**20} MiB are pending" in TEXT


def test_its_table_has_every_key_that_is_written() -> None:
    """The beginnings of the keys, where they are written."""
    documented = set(re.findall(r"^\| `([a-z]+)", TEXT, re.MULTILINE))
    sources = [*(PROXY / "catalog").glob("*.py"), PROXY / "upstream/health/rate_limit.py"]
    written = {
        beginning
        for source in sources
        for beginning in re.findall(r'f"([a-z]+):\{', source.read_text())
    }
    assert documented == written | {generation.KEY}
    assert f"`{cache._PREFIX}`" in TEXT


def test_it_states_how_many_pages_a_repository_has() -> None:
    tags, referrers = 1 + stored_page._TAG_SLOTS, stored_page._REFERRER_SLOTS
    assert f"{tags} slots for pages of tags and {referrers} for pages of referrers" in TEXT
