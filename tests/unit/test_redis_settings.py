"""What may be said of where Redis is, and what is missing when it is not enough."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config import Address, RedisSettings, SettingsError, load


def redis(**given: Any) -> RedisSettings:
    manifests = {"store": "redis", "redis": given}
    return load(environ={}, arguments={"manifests": manifests}).manifests.redis


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://redis:6379/0",
        "redis://:p%2Fw@10.0.0.1:6379/12",
        "redis://[::1]:6379",
        "rediss://user:password@redis.example:6380",
        "unix:///run/redis/redis.sock",
        "unix://:password@/run/redis.sock?db=3",
    ],
)
def test_a_url(url: str) -> None:
    assert redis(url=url).url == (url,)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis",
        "redis:6379",
        "redis://",
        "http://redis",
        "redis://redis:port",
        "redis://redis:70000",
        "redis://redis/name",
        "redis://redis?socket_timeout=60",
        "redis://:p/w@redis",
        "rediss://redis?ssl_cert_reqs=none",
        "unix://run/redis.sock",
        "unix:///run/redis.sock?decode_responses=True",
    ],
)
def test_what_is_no_url_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match=r"manifests\.redis.* redis://HOST") as raised:
        redis(url=url)
    assert "p/w" not in str(raised.value)


def test_the_nodes_of_a_cluster_are_a_list_or_have_commas() -> None:
    nodes = ("redis://a:1", "redis://b:2")
    assert redis(url=list(nodes), cluster=True).url == nodes
    assert redis(url="redis://a:1, redis://b:2", cluster=True).url == nodes
    assert redis(url="redis://:x,y@a:1", cluster=True).url == ("redis://:x,y@a:1",)


def test_sentinels_are_addresses() -> None:
    chosen = redis(sentinels=["a:26379", "[::1]:26380"], service="mymaster", tls=True)
    assert chosen.sentinels == (Address("a", 26379), Address("::1", 26380))


def test_the_environment_is_enough() -> None:
    environ = {
        "LIGHTERAGE_MANIFESTS__STORE": "redis",
        "LIGHTERAGE_MANIFESTS__REDIS__SENTINELS": '["a:1", "b:2"]',
        "LIGHTERAGE_MANIFESTS__REDIS__SERVICE": "mymaster",
    }
    assert load(environ=environ).manifests.redis.service == "mymaster"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "set redis.url, or redis.sentinels and redis.service"),
        ({"sentinels": ["a:1"]}, "sentinels and service"),
        ({"service": "mymaster"}, "sentinels and service"),
        ({"url": "redis://a", "sentinels": ["b:1"], "service": "m"}, "either url or sentinels"),
        ({"cluster": True}, "no url of one of its nodes"),
        ({"url": "redis://a,redis://b"}, "cluster: true"),
        ({"url": "redis://a,rediss://b", "cluster": True}, "all begin with"),
        ({"url": "unix:///a", "cluster": True}, "all begin with"),
        ({"url": "redis://a/1", "cluster": True}, "only database 0"),
        ({"url": "redis://a", "ca_file": "ca.pem"}, "begins with rediss://"),
        ({"url": "redis://a", "tls": True}, "begins with rediss://"),
        ({"sentinels": ["a:1"], "service": "m", "ca_file": "ca.pem"}, "tls: true"),
        ({"url": "rediss://a", "key_file": "key.pem"}, "are used together"),
        ({"url": "redis://a", "password": "p", "password_file": "f"}, "either password_file or"),
        ({"url": "redis://a", "username": "u"}, "needs a password_file"),
        ({"url": "redis://u:p@a", "password_file": "f"}, "so does password or password_file"),
        ({"url": "redis://a", "timeout": 0}, "it must be more than 0"),
    ],
)
def test_what_is_missing_or_too_much_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        redis(**given)
    assert said in str(raised.value)


def test_redis_that_would_not_be_used_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="set store: redis"):
        load(environ={}, arguments={"manifests": {"redis": {"url": "redis://a"}}})


def test_passwords_are_not_shown() -> None:
    shown = repr(redis(url="redis://:secret@a")) + repr(redis(url="redis://a", password="secret"))
    assert "secret" not in shown
