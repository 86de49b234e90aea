"""An issuer's keys: one request, which gives nobody more than it has to, and a bounded answer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import pytest

from proxy.errors import StoreError
from proxy.upstream.auth import jwks
from proxy.upstream.auth.jwks import JwksUrl
from tests.kit.scripted_session import ScriptedAnswer, ScriptedResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URL: Final = "https://issuer.example/jwks"
KEYS: Final = b'{"keys":[]}'


class Issuer:
    """As much of aiohttp.ClientSession as is used, and what it was asked."""

    def __init__(self) -> None:
        self.answer = ScriptedAnswer(body=KEYS)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.options: dict[str, Any] = {}

    def open(self, **options: Any) -> Self:
        self.options = options
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is connected."""

    @asynccontextmanager
    async def get(
        self, url: str, *, headers: dict[str, str], **options: Any
    ) -> AsyncIterator[ScriptedResponse]:
        self.asked.append((url, headers))
        self.options |= options
        if self.answer.silent:
            await asyncio.Event().wait()
        if self.answer.error is not None:
            raise self.answer.error
        yield ScriptedResponse(self.answer)


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Issuer:
    issuer = Issuer()
    monkeypatch.setattr(aiohttp, "ClientSession", issuer.open)
    return issuer


async def test_the_document_is_what_the_issuer_sends_to_anybody(issuer: Issuer) -> None:
    assert await JwksUrl(URL, tls=None).read() == KEYS
    ((url, headers),) = issuer.asked
    assert url == URL
    assert "Authorization" not in headers
    assert issuer.options["ssl"] is True
    assert issuer.options["allow_redirects"] is False


async def test_our_token_is_read_for_each_request(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    keys = JwksUrl(URL, tls=None, token_file=file)
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        await keys.read()
    assert [headers["Authorization"] for _, headers in issuer.asked] == [
        "Bearer first",
        "Bearer second",
    ]
    file.unlink()
    with pytest.raises(FileNotFoundError):
        await keys.read()
    assert len(issuer.asked) == 2


@pytest.mark.parametrize("status", [204, 302, 401, 403, 404, 500])
async def test_only_200_is_an_answer(issuer: Issuer, status: int) -> None:
    issuer.answer = ScriptedAnswer(status, {"Location": "https://elsewhere.example"}, KEYS)
    with pytest.raises(StoreError, match=f"answered {status}"):
        await JwksUrl(URL, tls=None).read()
    assert len(issuer.asked) == 1


async def test_a_document_without_end_is_refused(issuer: Issuer) -> None:
    issuer.answer = ScriptedAnswer(body=b" " * 256 * 1024)
    assert len(await JwksUrl(URL, tls=None).read()) == 256 * 1024
    issuer.answer = ScriptedAnswer(body=b" " * (256 * 1024 + 1))
    with pytest.raises(StoreError, match="more than 262144 bytes"):
        await JwksUrl(URL, tls=None).read()


@pytest.mark.parametrize(
    "answer",
    [
        ScriptedAnswer(error=aiohttp.ClientError("secret of a library")),
        ScriptedAnswer(error=aiohttp.InvalidURL("secret of a library")),
        ScriptedAnswer(failure=aiohttp.ClientPayloadError("secret of a library")),
        ScriptedAnswer(silent=True),
    ],
)
async def test_a_failure_is_named_by_its_kind_only(
    issuer: Issuer, answer: ScriptedAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if answer.silent:
        monkeypatch.setattr(jwks, "_TIMEOUT", 0.01)
    issuer.answer = answer
    with pytest.raises(StoreError, match="the keys cannot be fetched: ") as raised:
        await JwksUrl(URL, tls=None).read()
    assert "secret" not in str(raised.value)
