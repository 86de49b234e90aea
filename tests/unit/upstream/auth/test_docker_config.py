"""Logins out of what docker, podman and Kubernetes write."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from proxy.upstream.auth.credentials import Credentials, CredentialsError
from proxy.upstream.auth.docker_config import credentials_for


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def file(**auths: Any) -> str:
    return json.dumps({"auths": auths, "credsStore": "ignored", "currentContext": "x"})


@pytest.mark.parametrize(
    ("key", "hosts"),
    [
        ("quay.io", ("quay.io",)),
        ("QUAY.io", ("Quay.io",)),
        ("https://quay.io", ("quay.io",)),
        ("https://quay.io/v2/", ("quay.io",)),
        ("registry.example:5000", ("registry.example:5000",)),
        ("by.name", ("address.example", "by.name")),
        ("https://index.docker.io/v1/", ("registry-1.docker.io", "docker.io")),
        ("index.docker.io/v1/", ("docker.io",)),
        ("docker.io", ("registry-1.docker.io",)),
    ],
)
def test_a_login_is_found_by_every_name_of_the_registry(key: str, hosts: tuple[str, ...]) -> None:
    others = {"other.example": auth("other:one"), "quay.io/org": auth("a:part")}
    found = credentials_for(hosts, file(**{**others, key: auth("robot:with:colons")}))
    assert found == Credentials("robot", "with:colons")


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        (auth("robot:secret\0\0"), Credentials("robot", "secret")),
        (auth("röbot:pässword"), Credentials("röbot", "pässword")),
        ({"username": "robot", "password": "secret"}, Credentials("robot", "secret")),
        ({**auth("robot:a"), "username": "x", "password": "b"}, Credentials("robot", "a")),
        (
            {**auth("0000:"), "identitytoken": "long"},
            Credentials("0000", "long", identity=True),
        ),
        ({"identitytoken": "long"}, Credentials("", "long", identity=True)),
    ],
)
def test_a_login(login: dict[str, Any], expected: Credentials) -> None:
    assert credentials_for(["quay.io"], file(**{"quay.io": login})) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ("s3cr3t", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it has no auths"),
        ('{"auths": ["s3cr3t"]}', "it has no auths"),
        (file(), "it has no login for quay.io or name"),
        (file(**{"docker.io": auth("s3cr3t:s3cr3t")}), "it has no login for quay.io or name"),
        (file(**{"quay.io/org": auth("s3cr3t:s3cr3t")}), "it has no login for"),
        (file(**{"quay.io": "s3cr3t"}), "it has no login for"),
        (file(**{"quay.io": {}}), "it has a login with nothing in it"),
        (file(**{"quay.io": {"username": "s3cr3t"}}), "it has a login with nothing in it"),
        (file(**{"quay.io": {"auth": "s3cr3t!"}}), "in Base64"),
        (file(**{"quay.io": {"auth": ["s3cr3t"]}}), "in Base64"),
        (file(**{"quay.io": auth("s3cr3t")}), "in Base64"),
        (file(**{"quay.io": {"username": 1, "password": "s3cr3t"}}), "it has a login that is no"),
    ],
)
def test_a_file_without_the_login_is_refused_and_not_quoted(text: str, reason: str) -> None:
    with pytest.raises(CredentialsError, match=reason) as caught:
        credentials_for(["quay.io", "name"], text)
    assert "s3cr3t" not in str(caught.value)
