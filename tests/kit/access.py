"""Logins for tests: an htpasswd file, headers, and tokens of the proxy under test."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import bcrypt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.kit.proxy import Proxy

# As cheap as bcrypt can be: tests do not wait for hashes.
_ROUNDS: Final = 4


def htpasswd(path: Path, users: Mapping[str, str], *, rounds: int = _ROUNDS) -> Path:
    """Write USER:HASH lines for these passwords."""
    lines = [
        f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()}\n"
        for user, password in users.items()
    ]
    path.write_text("".join(lines))
    return path


def basic(username: str, password: str) -> str:
    """An `Authorization` header."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


async def bearer(
    proxy: Proxy, username: str = "", password: str = "", *, scope: str = "repository:x:pull"
) -> str:
    """An `Authorization` header with a token that the proxy gives to this login, or to nobody."""
    headers = {"Authorization": basic(username, password)} if username else {}
    answer = await proxy.get(f"/token?service=x&scope={quote(scope)}", **headers)
    assert answer.status == 200, answer.body
    return f"Bearer {json.loads(answer.body)['token']}"
