"""A certificate is renewed under a running proxy, as cert-manager and the kubelet do it."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e import inside
from tests.kit import load
from tests.kit.certificates import pem
from tests.kit.processes import LOOPBACK, Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.e2e

# What ends a test that hangs, in seconds.
TAKEN_OVER: Final = 60.0


def place(directory: Path, private: bytes, certificate: bytes) -> None:
    """Put both files in their place, in two steps."""
    for name, content in (("tls.key", private), ("tls.crt", certificate)):
        file = directory / f"new-{name}"
        file.write_bytes(content)
        file.rename(directory / name)


def shown(proxy: Proxy) -> str:
    """The certificate that a new connection sees."""
    return ssl.get_server_certificate((LOOPBACK, proxy.port))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as it holds."""
    deadline = time.monotonic() + TAKEN_OVER
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("workers", [1, 2], ids=["alone", "workers"])
async def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(
    tmp_path: Path, workers: int
) -> None:
    (private, old), (renewed, new), (other, _) = pem(), pem(), pem()
    place(tmp_path, private, old)
    files = {"certificate_file": f"{tmp_path}/tls.crt", "key_file": f"{tmp_path}/tls.key"}
    with Proxy(tmp_path / "proxy", settings={"tls": files}, workers=workers) as proxy:

        async def all_log(event: str, times: int) -> None:
            async def logged() -> bool:
                return len(inside.log(proxy, f"certificate.{event}")) >= times

            await until(logged)

        async def warned(*, of: bool) -> None:
            async def said() -> bool:
                answer = await load.get(proxy.admin_port, "/readyz")
                assert answer.status == 200
                return ("certificate" in json.loads(answer.body)["warnings"]) is of

            await until(said)

        await inside.all_serve(proxy)
        assert shown(proxy) == old.decode()

        place(tmp_path, renewed, new)
        await all_log("adopted", workers)
        assert shown(proxy) == new.decode()
        await warned(of=False)

        # Who looked between the two files has refused them before.
        refused = len(inside.log(proxy, "certificate.refused"))
        place(tmp_path, other, old)
        await all_log("refused", refused + workers)
        assert shown(proxy) == new.decode()
        await warned(of=True)

        place(tmp_path, private, old)
        await all_log("adopted", 2 * workers)
        assert shown(proxy) == old.decode()
        await warned(of=False)
