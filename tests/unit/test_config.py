"""The settings: what they are by default, who is stronger, and what a mistake is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from pydantic import BaseModel

from proxy.config import Settings, SettingsError, load, schema
from proxy.oci.reference import mirrors_of
from tests.kit.json_schema import accepts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SHIPPED: Final = Path(__file__).parents[2] / "config" / "lighterage.yaml"
HUB: Final = {"url": "https://registry-1.docker.io", "default": True}


def given(environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
    """From the environment and the arguments only."""
    return load(environ=environ or {}, arguments=arguments)


def mistake(environ: Mapping[str, str] | None = None, **arguments: Any) -> str:
    with pytest.raises(SettingsError) as raised:
        given(environ, **arguments)
    return str(raised.value)


# The shipped file


def test_the_shipped_file_states_the_defaults() -> None:
    assert load(SHIPPED, environ={}) == Settings() == load(environ={})


def test_the_shipped_file_states_every_setting() -> None:
    assert _stated(yaml.safe_load(SHIPPED.read_bytes())) >= set(_places(Settings()))


def _places(section: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, dict):
            for key, below in value.items():
                yield from _places(below, f"{prefix}{name}.{key}.")
        elif isinstance(value, BaseModel):
            yield from _places(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _stated(document: dict[str, Any], prefix: str = "") -> set[str]:
    places: set[str] = set()
    for key, value in document.items():
        below = _stated(value, f"{prefix}{key}.") if isinstance(value, dict) else set()
        places |= below or {prefix + key}
    return places


# Who is stronger


def test_a_file_is_weaker_than_secrets_than_the_environment_than_arguments(tmp_path: Path) -> None:
    file, secrets = tmp_path / "lighterage.yaml", tmp_path / "secrets"
    file.write_text(
        "tags: {ttl: 1s, stale_if_error: 1d}\nconversion: {max_children: 1}\nworkers: 1"
    )
    secrets.mkdir()
    (secrets / "tags__ttl").write_text("2s\n")
    (secrets / "conversion__max_children").write_text("2\n")
    (secrets / "workers").write_text("2")
    environ = {
        "LIGHTERAGE_SECRETS_DIR": str(secrets),
        "LIGHTERAGE_CONVERSION__MAX_CHILDREN": "3",
        "LIGHTERAGE_WORKERS": "3",
    }
    settings = load(file, environ=environ, arguments={"workers": 4})
    assert settings.tags.stale_if_error == 86400
    assert settings.tags.ttl == 2
    assert settings.conversion.max_children == 3
    assert settings.workers == 4


def test_a_secret_completes_what_the_file_says(tmp_path: Path) -> None:
    """As Kubernetes mounts it: links, a directory of its own, and a newline at the end."""
    file, secrets = tmp_path / "lighterage.yaml", tmp_path / "secrets"
    lent = {"username": "robot"}
    file.write_text(json.dumps({"upstreams": {"docker.io": {**HUB, "credentials": lent}}}))
    (secrets / "..data").mkdir(parents=True)
    (secrets / "..data" / "password").write_text("[s3cr3t\n")
    (secrets / "upstreams__docker.io__credentials__password").symlink_to("..data/password")
    environ = {"LIGHTERAGE_SECRETS_DIR": str(secrets), "LIGHTERAGE_LISTEN": "127.0.0.1:5000"}
    settings = load(file, environ=environ)
    credentials = settings.upstreams["docker.io"].credentials
    assert credentials is not None
    assert (credentials.username, credentials.password) == ("robot", "[s3cr3t")
    assert "s3cr3t" not in repr(settings)


def test_a_login_alone_completes_docker_hub() -> None:
    environ = {
        "LIGHTERAGE_LISTEN": "127.0.0.1:5000",
        "LIGHTERAGE_UPSTREAMS__DOCKER.IO__CREDENTIALS__USERNAME": "robot",
        "LIGHTERAGE_UPSTREAMS__DOCKER.IO__CREDENTIALS__PASSWORD": "s3cr3t",
    }
    hub = given(environ).upstreams["docker.io"]
    assert (hub.url, hub.default, hub.aliases) == (HUB["url"], True, ("index.docker.io",))
    assert hub.credentials is not None


def test_docker_hub_is_not_the_default_beside_one_that_is() -> None:
    upstreams = {"docker.io": {}, "quay.io": {"url": "https://quay.io", "default": True}}
    assert given(upstreams=upstreams).default_upstream == "quay.io"


def test_json_in_the_environment() -> None:
    environ = {"LIGHTERAGE_CONVERSION__PLATFORMS": '["linux/arm64", "linux/arm/v7"]'}
    assert [str(x) for x in given(environ).conversion.platforms] == ["linux/arm64", "linux/arm/v7"]
    assert "starts like JSON" in mistake({"LIGHTERAGE_CONVERSION__PLATFORMS": "[linux/arm64"})


def test_a_single_upstream_is_the_default() -> None:
    assert given(upstreams={"quay.io": {"url": "https://quay.io"}}).default_upstream == "quay.io"
    environ = {"LIGHTERAGE_UPSTREAMS__QUAY.IO__URL": "https://quay.io"}
    assert given(environ).upstreams["quay.io"].default
    upstreams = {"quay.io": {"url": "https://quay.io", "default": False}}
    assert "0 are" in mistake(upstreams=upstreams)
    chosen = load(
        environ={},
        arguments={"upstreams": {"quay.io": {"url": "https://quay.io"}}},
        upstream="http://127.0.0.1:5001",
    )
    assert chosen.upstreams.keys() == {"127.0.0.1:5001"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LIGHTERAGE_WORKRES", "did you mean LIGHTERAGE_WORKERS?"),
        ("LIGHTERAGE_TAG__TTL", "did you mean LIGHTERAGE_TAGS__TTL?"),
        ("LIGHTERAGE_CONFGI", "did you mean LIGHTERAGE_CONFIG?"),
        ("LIGHTERAGE_ZZZZZZZZ", "variables are called LIGHTERAGE_GROUP__SETTING"),
        ("LIGHTERAGE_ADMIN_SERVICE_HOST", "set enableServiceLinks: false"),
        ("LIGHTERAGE_ADMIN_PORT_5080_TCP_ADDR", "set enableServiceLinks: false"),
    ],
)
def test_a_variable_that_is_no_setting_is_a_mistake(name: str, hint: str) -> None:
    sentence = mistake({name: "1"})
    assert sentence.startswith(f"{name}: there is no such setting; ")
    assert hint in sentence


@pytest.mark.parametrize(
    "name",
    [
        "LIGHTERAGE_PORT",
        "LIGHTERAGE_SERVICE_HOST",
        "LIGHTERAGE_SERVICE_PORT_REGISTRY",
        "LIGHTERAGE_PORT_5000_TCP",
        "LIGHTERAGE_CONFIG",
        "TAGS__TTL",
    ],
)
def test_what_kubernetes_puts_into_the_environment_is_not_for_us(name: str) -> None:
    assert given({name: "tcp://10.96.0.10:5000"}) == Settings()


# --upstream


def test_upstream_takes_the_place_of_the_default_one_and_its_login(tmp_path: Path) -> None:
    file = tmp_path / "lighterage.yaml"
    lent = {"username": "robot", "password": "s3cr3t"}
    quay = {"url": "https://quay.io", "realms": ["auth.quay.io"]}
    hub = {**HUB, "aliases": ["index.docker.io"], "credentials": lent}
    file.write_text(json.dumps({"upstreams": {"docker.io": hub, "quay.io": quay}}))
    settings = load(file, environ={}, upstream="http://127.0.0.1:5001/")
    assert settings.default_upstream == "127.0.0.1:5001"
    assert settings.upstreams.keys() == {"127.0.0.1:5001", "quay.io"}
    chosen = settings.upstreams["127.0.0.1:5001"]
    assert (chosen.url, chosen.credentials, chosen.aliases) == ("http://127.0.0.1:5001", None, ())
    assert settings.upstreams["quay.io"].realms == ("auth.quay.io",)


def test_upstream_takes_the_place_of_a_login_for_docker_hub() -> None:
    environ = {
        "LIGHTERAGE_UPSTREAMS__DOCKER.IO__CREDENTIALS__USERNAME": "robot",
        "LIGHTERAGE_UPSTREAMS__DOCKER.IO__CREDENTIALS__PASSWORD": "s3cr3t",
    }
    settings = load(environ=environ, upstream="http://127.0.0.1:5001")
    assert settings.upstreams.keys() == {"127.0.0.1:5001"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "registry.example",
        "ftp://x",
        "https://user:s3cr3t@x",
        "https://x/path",
        "https://x?s3cr3t",
    ],
)
def test_what_is_no_url_of_a_registry_is_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match=r"an upstream's url is http\(s\)://HOST") as raised:
        load(environ={}, upstream=url)
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize(
    "where",
    ["registry:port", "registry:99999", "registry:0", ":5000", "[::1", "a,b", "a%2Fb", "ü..x"],
)
def test_a_registry_and_a_proxy_are_at_a_host_and_a_port_that_there_may_be(where: str) -> None:
    """Otherwise the first one who pulls would find out."""
    for wrong in ({"url": f"https://{where}"}, {"proxy": f"http://robot:geheim@{where}"}):
        upstream = {"url": "https://registry", "default": True, **wrong}
        with pytest.raises(SettingsError) as raised:
            load(None, arguments={"upstreams": {"example": upstream}}, environ={})
        assert f"upstreams.example.{next(iter(wrong))}: " in str(raised.value)
        assert "geheim" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://LOCALHOST:5001", "https://Registry.Example"])
def test_a_host_has_no_letter_case(url: str) -> None:
    assert load(environ={}, upstream=url).default_upstream == url.partition("://")[2].lower()


def test_an_internationalized_host_is_encoded() -> None:
    url = "https://Ümlaut.example:5000/"
    endpoint = {"url": url, "default": True, "realms": ["ümlaut.example", "X"]}
    chosen = given(upstreams={"x": endpoint})
    upstream = chosen.upstreams["x"]
    assert upstream.url == "https://xn--mlaut-jva.example:5000"
    assert upstream.realms == ("xn--mlaut-jva.example", "X")


def test_a_mirror_stands_in_for_its_registry_and_is_not_waited_for_long() -> None:
    mirrors = [{"url": "https://mirror.example"}, {"url": "https://other.example", "tags": "never"}]
    hub = given(upstreams={"docker.io": {**HUB, "mirrors": mirrors}}).upstreams["docker.io"]
    assert [mirror.tags for mirror in hub.mirrors] == ["when_down", "never"]
    for mirror in hub.mirrors:
        assert mirror.answer_timeout < hub.answer_timeout
        assert mirror.idle_timeout < hub.idle_timeout


def test_no_upstream_can_be_named_like_the_mirrors_of_another() -> None:
    sentence = mistake(upstreams={mirrors_of("docker.io"): HUB})
    assert "is not a valid name" in sentence


def test_an_upstream_without_a_name_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="is not a valid name"):
        load(environ={}, upstream="http://[::1]:5001")


# Credentials and access


LENT: Final = {"docker.io": {**HUB, "credentials": {"username": "robot", "password": "s3cr3t"}}}


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:5000", "[::]:5000", "10.0.0.1:5000", "127.evil.example:5"]
)
def test_a_public_listener_with_credentials_needs_consent(listen: str) -> None:
    sentence = mistake(listen=listen, upstreams=LENT)
    assert "would pull with the credentials for docker.io" in sentence
    assert "access.allow_anonymous: true" in sentence
    assert "s3cr3t" not in sentence
    allowed = given(listen=listen, upstreams=LENT, access={"allow_anonymous": True})
    assert allowed.upstreams["docker.io"].credentials is not None


@pytest.mark.parametrize(
    "identity",
    [
        {"certificate_file": "/tls.crt", "key_file": "/tls.key"},
        {"proxy": "http://robot:s3cr3t@proxy.example:3128"},
        {
            "mirrors": [
                {"url": "https://mirror.example", "proxy": "http://robot:s3cr3t@proxy.example:3128"}
            ]
        },
    ],
    ids=["certificate", "login at a proxy", "login at a mirror's proxy"],
)
def test_a_certificate_and_a_login_at_a_proxy_are_lent_too(identity: dict[str, object]) -> None:
    upstreams = {"docker.io": {**HUB, **identity}}
    sentence = mistake(listen="0.0.0.0:5000", upstreams=upstreams)
    assert "would pull with the credentials for docker.io" in sentence
    assert "s3cr3t" not in sentence
    assert given(listen="127.0.0.1:5000", upstreams=upstreams).listen.is_loopback


@pytest.mark.parametrize(
    ("url", "is_clear"),
    [
        ("http://registry.example:5000", True),
        ("http://10.1.2.3", True),
        ("https://registry.example", False),
        ("http://127.0.0.1:5000", False),
        ("http://[::1]:5000", False),
        ("http://localhost:5000", False),
    ],
)
def test_a_login_over_plain_http_to_another_host_is_in_the_clear(url: str, is_clear: bool) -> None:  # noqa: FBT001 -- a column
    login = {"username": "me", "password": "s3cr3t"}
    with_login = given(
        listen="127.0.0.1:5000",
        upstreams={"docker.io": {"url": url, "default": True, "credentials": login}},
    )
    without = given(listen="127.0.0.1:5000", upstreams={"docker.io": {"url": url, "default": True}})
    assert with_login.upstreams["docker.io"].sends_login_in_the_clear is is_clear
    assert not without.upstreams["docker.io"].sends_login_in_the_clear


def test_an_http_proxy_without_a_login_lends_nothing() -> None:
    upstreams = {"docker.io": {**HUB, "proxy": "http://proxy.example:3128"}}
    assert given(listen="0.0.0.0:5000", upstreams=upstreams).upstreams["docker.io"].proxy


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:5000", "127.8.9.10:5000", "[::1]:5000", "localhost:1"]
)
def test_this_machine_may_have_them(listen: str) -> None:
    assert given(listen=listen, upstreams=LENT).listen.is_loopback


def test_a_password_comes_from_one_place(tmp_path: Path) -> None:
    for lent in (
        {"username": "x"},
        {"username": "x", "password": "s3cr3t", "password_file": str(tmp_path)},
    ):
        upstreams = {"docker.io": {**HUB, "credentials": lent}}
        sentence = mistake(listen="127.0.0.1:1", upstreams=upstreams)
        assert "give either password_file or password" in sentence
        assert "s3cr3t" not in sentence


# The schema


SCHEMA: Final = schema()


def test_the_schema_accepts_the_shipped_file() -> None:
    shipped = yaml.safe_load(SHIPPED.read_bytes())
    assert accepts(SCHEMA, shipped, SCHEMA)
    assert accepts(SCHEMA, {}, SCHEMA)


@pytest.mark.parametrize(
    "right",
    [
        {
            "upstreams": {
                "x-y.z:5000": {"url": "http://x:5000/", "prefix": "/hub/a_b/", "default": True}
            }
        },
        {
            "listen": "127.0.0.1:5000",
            "upstreams": {
                "x": {"url": "https://x", "proxy": "http://u:p@proxy:3128", "default": True}
            },
        },
        {"upstreams": {"x": {"url": "https://x", "connect_timeout": "0.5s", "default": True}}},
        {"upstreams": {"x": {"url": "https://x", "connect_timeout": "0m1.5s"}}},
        {"blobs": {"max_size": "100Gi"}, "tags": {"ttl": "1h30m"}},
        {
            "upstreams": {
                "x": {
                    "url": "https://x",
                    "default": True,
                    "mirrors": [{"url": "https://y", "tags": "never"}, {"url": "https://z"}],
                }
            }
        },
        {
            "manifests": {
                "store": "redis",
                "redis": {"url": "redis://a:1,redis://:p@b:2/0", "cluster": True},
            }
        },
        {"manifests": {"store": "redis", "redis": {"url": ["unix:///run/redis.sock?db=1"]}}},
        {"blobs": {"max_size": "5.5 GiB"}, "budget": {"reserve": "100%"}, "limits": {"spool": "9"}},
    ],
)
def test_the_schema_accepts_what_the_proxy_does(right: dict[str, Any]) -> None:
    assert accepts(SCHEMA, right, SCHEMA)
    load(environ={}, arguments=right)


@pytest.mark.parametrize(
    "wrong",
    [
        {"listen": "nowhere"},
        {"tags": {"ttl": "soon"}},
        {"tags": {"tll": 1}},
        {"blobs": {"max_size": "10GB"}},
        {"conversion": {"mixed": "sometimes"}},
        {"conversion": {"platform": "linux"}},
        {"upstreams": {"x": {}}},
        {"upstreams": {"x": {"url": 5}}},
        {"upstreams": {"x": {"url": "quay.io"}}},
        {"upstreams": {"x": {"url": "https://quay.io/v2"}}},
        {"upstreams": {"x": {"url": "https://x", "prefix": "Hub"}}},
        {"upstreams": {"x": {"url": "https://x", "tags": "never"}}},
        {"upstreams": {"x": {"url": "https://x", "mirrors": [{"url": "https://y", "tags": "no"}]}}},
        {"upstreams": {"x": {"url": "https://x", "proxy": "https://proxy:3128"}}},
        {"upstreams": {"x": {"url": "https://x", "connect_timeout": 0}}},
        {"upstreams": {"x": {"url": "https://x", "connect_timeout": "0.0s"}}},
        {"upstreams": {"x": {"url": "https://x", "connect_timeout": "0m0s"}}},
        {"blobs": {"max_size": "5.5"}},
        {"budget": {"reserve": "101%"}},
        {"manifests": {"store": "redis", "redis": {"url": "http://redis:6379"}}},
        {"manifests": {"store": "redis", "redis": {"url": ["redis://a", "b"]}}},
    ],
)
def test_the_schema_accepts_no_mistake(wrong: dict[str, Any]) -> None:
    assert not accepts(SCHEMA, wrong, SCHEMA)


def test_the_schema_states_the_defaults_as_they_are_written() -> None:
    sections = [SCHEMA, *SCHEMA["$defs"].values()]
    stated = [x for section in sections for x in section.get("properties", {}).values()]
    assert len([x for x in stated if "default" in x]) > 40
    for setting in stated:
        assert "default" not in setting or accepts(setting, setting["default"], SCHEMA), setting
