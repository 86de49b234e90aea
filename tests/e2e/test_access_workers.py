"""A changed htpasswd file holds in every worker; tokens of one worker are good in all."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from tests.kit import images
from tests.kit.access import basic, htpasswd
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.e2e

# What a changed password takes at most, and what ends a test that hangs, in seconds.
WITHIN: Final = 5.0
SOON: Final = 60.0
# New connections in a row that reach both workers, but for one time in a million.
MANY: Final = 20
IMAGE: Final = images.docker("of the team")


def test_a_changed_password_holds_in_every_worker(tmp_path: Path) -> None:
    users = htpasswd(tmp_path / "htpasswd", {"ci": "old"})
    with Registry(tmp_path / "registry") as registry:
        registry.push("team/app", "1", IMAGE)
        settings = {
            "upstreams": {"docker.io": {"url": registry.url, "default": True}},
            "access": {"mode": "basic", "htpasswd_file": str(users)},
        }
        with Proxy(tmp_path / "proxy", settings=settings, workers=2) as proxy:

            def status(authorization: str) -> int:
                headers = [("Accept", IMAGE.media_type), ("Authorization", authorization)]
                return ask(f"{proxy.url}/v2/team/app/manifests/1", headers=headers).status

            def token(password: str) -> str:
                url = f"{proxy.url}/token?scope=repository:team/app:pull"
                answer = ask(url, headers=[("Authorization", basic("ci", password))])
                return f"Bearer {json.loads(answer.body)['token']}"

            def replace(old: str, new: str) -> float:
                """How long the old password and its token are good after the change."""
                headers = (token(old), basic("ci", old))
                for header in headers:
                    assert {status(header) for _ in range(MANY)} == {200}
                htpasswd(users, {"ci": new})
                began = time.monotonic()
                for header in headers:
                    while {status(header) for _ in range(MANY)} != {401}:
                        assert time.monotonic() < began + SOON
                return time.monotonic() - began

            # A busy machine may be late once, and is not three times.
            passwords = ["old", "new", "newer", "newest"]
            took, current = SOON, passwords[0]
            for old, current in pairwise(passwords):
                if (took := replace(old, current)) < WITHIN:
                    break
            assert took < WITHIN
            for header in (token(current), basic("ci", current)):
                assert {status(header) for _ in range(MANY)} == {200}
            assert (proxy.data / "token-key").stat().st_mode & 0o077 == 0
