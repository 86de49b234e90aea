"""Rules of access that change under a running proxy: what was decided before holds no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.config import Settings
from tests.kit import images
from tests.kit.access import basic, bearer, htpasswd
from tests.kit.proxy import Proxy, push
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.kit.proxy import Answer

IMAGE: Final = images.docker("closed")
NAME: Final = "team/app"
PATHS: Final = ("manifests/1", f"manifests/{IMAGE.digest}", f"blobs/{next(iter(IMAGE.blobs))}")
ANN: Final = basic("ann", "anchor")
BOB: Final = basic("bob", "bollard")
CLOSED: Final = [{"match": "docker.io/team/*", "mode": "basic", "users": ["ann"]}]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        push(upstream, NAME, "1", IMAGE)
        upstream.require_users({("ann", "upstream"): ("team/*",)}, public=("team/*",))
        yield upstream


@pytest.fixture
def users(tmp_path: Path) -> Path:
    return htpasswd(tmp_path / "htpasswd", {"ann": "anchor", "bob": "bollard"})


def change(proxy: Proxy, **access: Any) -> None:
    """Apply other settings of access, as the reload does."""
    changed = {**proxy.settings.model_dump(), "access": access}
    proxy.services.adopt(Settings.model_validate(changed))


async def pull(proxy: Proxy, header: str = "") -> list[Answer]:
    headers = {"Authorization": header} if header else {}
    return [await proxy.get(f"/v2/{NAME}/{path}", Accept="*/*", **headers) for path in PATHS]


async def statuses(proxy: Proxy, header: str = "") -> set[int]:
    return {answer.status for answer in await pull(proxy, header)}


async def test_the_first_rule_closes_what_was_open_and_cached(proxy: Proxy, users: Path) -> None:
    for _ in range(2):
        assert await statuses(proxy) == {200}
    change(proxy, htpasswd_file=users, rules=CLOSED)
    assert await statuses(proxy) == {401}
    assert await statuses(proxy, BOB) == {403}
    for header in (ANN, await bearer(proxy, "ann", "anchor")):
        for answer in await pull(proxy, header):
            assert answer.status == 200
            assert answer.headers["Cache-Control"].startswith("private")


async def test_a_removed_rule_opens_what_was_closed(proxy: Proxy, users: Path) -> None:
    change(proxy, htpasswd_file=users, rules=CLOSED)
    assert await statuses(proxy, ANN) == {200}
    change(proxy)
    for answer in await pull(proxy):
        assert answer.status == 200
        assert "private" not in answer.headers.get("Cache-Control", "")
    assert (await proxy.get("/token")).status == 404


async def test_users_and_groups_change(proxy: Proxy, users: Path) -> None:
    change(proxy, htpasswd_file=users, rules=CLOSED)
    token = await bearer(proxy, "ann", "anchor")
    assert await statuses(proxy, token) == await statuses(proxy, ANN) == {200}
    grouped = [{"match": "docker.io/team/*", "mode": "basic", "groups": ["crew"]}]
    change(proxy, htpasswd_file=users, rules=grouped, groups={"crew": ["bob"]})
    assert await statuses(proxy, token) == await statuses(proxy, ANN) == {403}
    assert await statuses(proxy, BOB) == {200}
    change(proxy, htpasswd_file=users, rules=grouped, groups={"crew": ["ann"]})
    assert await statuses(proxy, token) == {200}, "a token from before is still one of its user"


async def test_another_mode(proxy: Proxy, users: Path) -> None:
    change(proxy, mode="upstream")
    assert await statuses(proxy) == {200}, "the registry lets everybody"
    change(proxy, mode="deny", rules=[])
    assert await statuses(proxy) == {403}
    change(proxy, htpasswd_file=users, mode="basic")
    assert await statuses(proxy) == {401}


async def test_a_file_that_cannot_be_used_changes_nothing(
    proxy: Proxy, users: Path, tmp_path: Path
) -> None:
    change(proxy, htpasswd_file=users, rules=CLOSED)
    bad = tmp_path / "bad"
    bad.write_text("ann:plain")
    with pytest.raises(ValueError, match=r"access.htpasswd_file .*/bad: line 1: its hash"):
        change(proxy, htpasswd_file=bad, mode="basic")
    with pytest.raises(FileNotFoundError):
        change(proxy, htpasswd_file=tmp_path / "none", mode="basic")
    assert await statuses(proxy) == {401}
    assert await statuses(proxy, ANN) == {200}


async def test_other_users_of_another_file(proxy: Proxy, users: Path, tmp_path: Path) -> None:
    change(proxy, htpasswd_file=users, mode="basic")
    assert await statuses(proxy, ANN) == {200}
    others = htpasswd(tmp_path / "others", {"ann": "other"})
    token = await bearer(proxy, "ann", "anchor")
    change(proxy, htpasswd_file=others, mode="basic")
    assert await statuses(proxy, ANN) == {401}
    assert await statuses(proxy, token) == {401}
    assert await statuses(proxy, basic("ann", "other")) == {200}
