"""What a value of the settings may be, and what a mistake is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from proxy.config import Address, Settings, SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HUB: Final = {"url": "https://registry-1.docker.io", "default": True}


def given(environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
    """From the environment and the arguments only."""
    return load(environ=environ or {}, arguments=arguments)


def mistake(environ: Mapping[str, str] | None = None, **arguments: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        given(environ, **arguments)
    return str(raised.value)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"tags": {"tll": 1}}, "tags.tll: there is no such setting; did you mean 'ttl'?"),
        ({"tag": {}}, "tag: there is no such setting; did you mean 'tags'?"),
        (
            {"upstreams": {"x": {"url": "http://x", "default": True, "urls": 1}}},
            "upstreams.x.urls: there is no such setting; did you mean 'url'?",
        ),
        (
            {"upstreams": {"x": {**HUB, "credentials": {"user": "", "password": ""}}}},
            "upstreams.x.credentials.user: there is no such setting; did you mean 'username'?",
        ),
        ({"admin": {"q": 1}}, "admin.q: there is no such setting; known here: "),
    ],
)
def test_an_unknown_key_is_told_the_nearest_one(arguments: dict[str, Any], sentence: str) -> None:
    assert sentence in mistake(**arguments)


def test_an_unknown_key_is_found_in_every_source(tmp_path: Path) -> None:
    sentence = "tags.tll: there is no such setting; did you mean 'ttl'?"
    file, secrets = tmp_path / "lighterage.yaml", tmp_path / "secrets"
    file.write_text("tags: {tll: 1s}")
    secrets.mkdir()
    (secrets / "tags__tll").write_text("1s")
    with pytest.raises(SettingsError) as raised:
        load(file, environ={})
    assert str(raised.value) == f"{file}:1:8: {sentence}"
    assert mistake({"LIGHTERAGE_TAGS__TLL": "1s"}) == f"LIGHTERAGE_TAGS__TLL: {sentence}"
    from_secret = mistake({"LIGHTERAGE_SECRETS_DIR": str(secrets)})
    assert from_secret == f"the secret {secrets / 'tags__tll'}: {sentence}"


def test_every_mistake_is_a_line() -> None:
    lines = mistake(listen="nowhere", tags={"ttl": "soon"}, workers=0).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["--listen", "--workers", "tags.ttl"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"tags: {", ":1:8: a value is missing, or a bracket is not closed"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"tags: {ttl: 2026-13-45}", ":1:13: this value is not what its form"),
        (b"tags: {ttl: !!int ''}", ":1:13: this value"),
        (b"tags: {ttl: !!bool x}", ":1:13: this value"),
        (b"tags: {ttl: !!timestamp x}", ":1:13: this value"),
        (b"tags: " + 5000 * b"[", "too many brackets"),
        (b"tags: {ttl: " + 5000 * b"9" + b"}", ":1:13: this value"),
        (b"- a", ":1:1: settings are 'key: value'"),
        (b"tags: soon", "tags: "),
        (b"!!python/object:os.system {}", ":1:1: tags such as !!python"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "lighterage.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=sentence):
        load(file, environ={})


def test_a_file_that_is_empty_or_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert load(tmp_path / "empty", environ={}) == Settings()
    with pytest.raises(SettingsError, match="there is no settings file"):
        load(tmp_path / "missing", environ={})


def test_a_secret_that_cannot_be_read_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "tags__ttl").write_bytes(b"s3cr3t\xff")
    sentence = mistake({"LIGHTERAGE_SECRETS_DIR": str(tmp_path)})
    assert "tags__ttl" in sentence
    assert "s3cr3t" not in sentence


def test_upstreams_have_clear_names() -> None:
    x, y = {"url": "http://x", "default": True}, {"url": "http://y"}
    assert "exactly one upstream must be the default; 0 are" in mistake(upstreams={"y": y, "z": y})
    assert "2 are" in mistake(upstreams={"x": x, "y": {**y, "default": True}})
    assert "'x' names two upstreams" in mistake(upstreams={"x": x, "y": {**y, "aliases": ["x"]}})
    assert "'UPPER' is not a valid name" in mistake(upstreams={"UPPER": x})
    assert "'../x' has a slash" in mistake(upstreams={"x": {**x, "aliases": ["../x"]}})
    assert "upstreams: " in mistake(upstreams={})


# Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("60s", 60),
        ("1.5h", 5400),
        ("5 m", 300),
        ("30d", 2_592_000),
        ("1h30m", 5400),
        ("1d 12h", 129_600),
        ("7", 7),
        (7, 7),
        (0, 0),
    ],
)
def test_a_duration(text: object, seconds: float) -> None:
    assert given(tags={"ttl": text}).tags.ttl == seconds


@pytest.mark.parametrize(
    "text", ["soon", "1 minute", "1h30", "1h 30", "-1s", "s", "inf", "nan", True, [], ""]
)
def test_what_is_no_duration(text: object) -> None:
    assert "tags.ttl: a duration is " in mistake(tags={"ttl": text})


def test_a_duration_is_not_negative_or_endless() -> None:
    for seconds in (-1, float("inf"), float("nan")):
        assert "tags.ttl: " in mistake(tags={"ttl": seconds})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        (1024, 1024),
        ("1KiB", 1024),
        ("1.5 MiB", 1_572_864),
        ("50GiB", 50 * 2**30),
        ("2TiB", 2 * 2**40),
        ("100Gi", 100 * 2**30),
        ("1.5 Ki", 1536),
    ],
)
def test_a_size(text: object, size: int) -> None:
    assert given(blobs={"max_size": text}).blobs.max_size == size


@pytest.mark.parametrize("text", ["10GB", "big", "-1", "1.5", "", "KiB", True])
def test_what_is_no_size(text: object) -> None:
    assert "blobs.max_size: a size is " in mistake(blobs={"max_size": text})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:5000", Address("0.0.0.0", 5000)),
        (":5000", Address("0.0.0.0", 5000)),
        ("[::]:5000", Address("::", 5000)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_an_address(text: str, address: Address) -> None:
    assert given(listen=text).listen == address


@pytest.mark.parametrize("text", ["5000", 5000, "localhost", "localhost:", "x:65536", "x:http", ""])
def test_what_is_no_address(text: object) -> None:
    assert "listen: an address is HOST:PORT" in mistake(listen=text)


def test_an_address_is_written_as_it_is_read() -> None:
    for text in ("[::1]:5000", "127.0.0.1:5000"):
        assert str(given(listen=text).listen) == text
