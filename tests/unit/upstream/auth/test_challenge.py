"""Challenges are read as RFC 9110 writes them, and a realm is vetted before anything is sent."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamInvalid
from proxy.upstream.auth.challenge import (
    MAX_HEADER_LENGTH,
    MAX_PARAMETERS,
    Basic,
    Bearer,
    Challenge,
    choose,
    parse_challenges,
    vet_realm,
)

HUB: Final = "https://registry-1.docker.io"


@pytest.mark.parametrize(
    ("line", "challenges"),
    [
        (
            (
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
                'scope="repository:library/x:pull,push",error="insufficient_scope"'
            ),
            [
                Bearer(
                    "https://auth.docker.io/token",
                    "registry.docker.io",
                    "repository:library/x:pull,push",
                )
            ],
        ),
        ('BEARER  Realm = "https://a/t" , SERVICE = s', [Bearer("https://a/t", "s")]),
        ("bearer realm=https://a/t?x=1,service=s", [Bearer("https://a/t?x=1", "s")]),
        (r'Bearer realm="https://a/t",service="a \"b\", c"', [Bearer("https://a/t", 'a "b", c')]),
        ('BASIC realm="Sonatype Nexus Repository Manager"', [Basic()]),
        ("Basic", [Basic()]),
        ('Basic realm="a, Bearer realm=b"', [Basic()]),
        (
            'Basic realm="x", charset="UTF-8", Bearer realm="https://a"',
            [Basic(), Bearer("https://a")],
        ),
        ('Negotiate, Bearer realm="https://a"', [Bearer("https://a")]),
        ('Negotiate TlRMTVNTUAAB==, Bearer realm="https://a"', [Bearer("https://a")]),
        ('Digest realm="x", nonce="y", Basic realm="z"', [Basic()]),
        (' , Bearer realm="https://a",, service="s",', [Bearer("https://a", "s")]),
        # Said twice: the first holds. Seen twice by two readers: never.
        ('Bearer realm="https://a",realm="https://b"', [Bearer("https://a")]),
        # Seen in the wild: quotation marks that nobody escaped. What came before them is good.
        (
            'Bearer realm="https://a",service="s",error_description="the "x" is bad",scope="no"',
            [Bearer("https://a", "s")],
        ),
        ('Bearer realm="https://a",service="never closed', [Bearer("https://a")]),
        ("Bearer", []),
        ('Bearer service="no realm"', []),
        ('realm="no scheme"', []),
        ("Bearer realm=", []),
        ("", []),
        ('"', []),
        ("é", []),
    ],
)
def test_a_line_is_read(line: str, challenges: list[Challenge]) -> None:
    assert list(parse_challenges([line])) == challenges


def test_several_lines_are_read_in_their_order_and_a_bad_one_spoils_no_other() -> None:
    lines = ['Basic realm="x"', '"', 'Bearer realm="https://a"']
    assert parse_challenges(lines) == (Basic(), Bearer("https://a"))


def test_a_parameter_does_not_run_over_into_the_next_line() -> None:
    assert parse_challenges(['Bearer realm="https://a', 'b"']) == ()


def test_a_thousand_parameters_are_refused() -> None:
    line = "Bearer " + ",".join(f"a{number}=b" for number in range(1000))
    assert len(line) < MAX_HEADER_LENGTH
    with pytest.raises(UpstreamInvalid, match=f"more than {MAX_PARAMETERS} parameters"):
        parse_challenges([line])


def test_as_many_challenges_count_as_parameters() -> None:
    with pytest.raises(UpstreamInvalid, match="parameters"):
        parse_challenges(["Basic"] * (MAX_PARAMETERS + 1))


def test_a_long_header_is_refused_unread() -> None:
    line = 'Bearer realm="https://a/' + "x" * (MAX_HEADER_LENGTH // 2) + '"'
    assert len(parse_challenges([line])) == 1
    with pytest.raises(UpstreamInvalid, match="longer than 8192 bytes"):
        parse_challenges([line, line])


@given(st.lists(st.text(alphabet='Bearer Basic=,"\\ \t.:/é\x00', max_size=60), max_size=4))
def test_any_line_is_read_or_refused(lines: list[str]) -> None:
    try:
        parse_challenges(lines)
    except UpstreamInvalid as error:
        assert "parameters" in error.message  # noqa: PT017 -- both ends are right


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_what_is_quoted_comes_back(text: str) -> None:
    quoted = text.replace("\\", r"\\").replace('"', r"\"")
    assert parse_challenges([f'Bearer realm="https://a",service="{quoted}"']) == (
        Bearer("https://a", text),
    )


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        (HUB, "https://auth.docker.io/token"),
        (HUB, "HTTPS://AUTH.Docker.IO./token"),
        (HUB, "https://docker.io:8443"),
        ("https://quay.io", "https://quay.io/v2/auth"),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth?x=1"),
        ("https://reg.example.co.uk", "https://auth.example.co.uk/token"),
        ("https://mine.azurecr.io", "https://mine.azurecr.io/oauth2/token"),
        ("https://mine.azurecr.io", "https://auth.mine.azurecr.io/token"),
        ("https://registry:5000", "https://registry:5001/token"),
        ("https://10.0.0.1", "https://10.0.0.1:5001/token"),
        ("https://[fd00::1]:5000", "https://[fd00::1]/token"),
        ("http://registry.corp.example", "http://auth.corp.example/token"),
        ("http://127.0.0.1:5000", "https://127.0.0.1:5001/token"),
        ("https://REG.Example.co.uk.", "https://auth.example.CO.UK/token"),
        ("https://xn--hvre-gra.no", "https://auth.xn--hvre-gra.no/token"),
        ("https://reg.xn--85x722f.xn--55qx5d.cn", "https://auth.xn--85x722f.xn--55qx5d.cn/token"),
        ("https://city.kawasaki.jp", "https://auth.city.kawasaki.jp/token"),
        ("https://mine.azurewebsites.net", "https://auth.mine.azurewebsites.net/token"),
        ("https://azurecr.io.example", "https://auth.azurecr.io.example/token"),
        (
            "https://registry.team.svc.cluster.local",
            "https://registry.team.svc.cluster.local:5001/token",
        ),
    ],
)
def test_a_realm_on_the_registry_s_own_site_is_good(registry: str, realm: str) -> None:
    vet_realm(realm, registry=registry)


@pytest.mark.parametrize(
    ("registry", "realm", "reason"),
    [
        (HUB, "http://auth.docker.io/token", "without TLS"),
        (HUB, "https://auth.docker.io.evil.example/token", "another site"),
        (HUB, "https://evildocker.io/token", "another site"),
        (HUB, "https://io/token", "another site"),
        (HUB, "https://169.254.169.254/token", "another site"),
        (HUB, "https://[::1]/token", "another site"),
        (HUB, "https://localhost/token", "another site"),
        ("https://reg.example.co.uk", "https://other.co.uk/token", "another site"),
        ("https://example.co.uk", "https://co.uk/token", "another site"),
        ("https://reg.com.au", "https://evil.com.au/token", "another site"),
        ("https://co.uk", "https://evil.co.uk/token", "another site"),
        ("https://mine.azurecr.io", "https://evil.azurecr.io/token", "another site"),
        ("https://mine.azurecr.io", "https://azurecr.io/token", "another site"),
        ("https://azurecr.io", "https://evil.azurecr.io/token", "another site"),
        (
            "https://1.dkr.ecr.us-east-1.amazonaws.com",
            "https://evil.s3.us-east-1.amazonaws.com/token",
            "another site",
        ),
        ("https://mine.github.io", "https://evil.github.io/token", "another site"),
        ("https://MINE.azurecr.io.", "https://evil.AZURECR.io./token", "another site"),
        ("https://mine.azurecr.io:443", "https://evil.azurecr.io:443/token", "another site"),
        ("https://mine.azurecr.io", "https://evilmine.azurecr.io/token", "another site"),
        ("https://mine.azurewebsites.net", "https://evil.azurewebsites.net/token", "another site"),
        ("https://a.mine.jfrog.io", "https://mine.jfrog.io/token", "another site"),
        (
            "https://1.dkr.ecr.us-east-1.amazonaws.com",
            "https://2.dkr.ecr.us-east-1.amazonaws.com/token",
            "another site",
        ),
        (
            "https://registry.team.svc.cluster.local",
            "https://evil.other.svc.cluster.local/token",
            "another site",
        ),
        ("https://registry.team.svc", "https://evil.other.svc/token", "another site"),
        # Wildcards of the list, names in other scripts, and a list that has exceptions.
        ("https://a.mine.ck", "https://evil.ck/token", "another site"),
        ("https://mine.kawasaki.jp", "https://evil.kawasaki.jp/token", "another site"),
        ("https://mine.xn--55qx5d.cn", "https://evil.xn--55qx5d.cn/token", "another site"),
        ("https://mine.xn--p1ai", "https://evil.xn--p1ai/token", "another site"),
        ("https://docker.io", "https://docker.io.xn--zz/token", "another site"),
        ("https://a.xn--zz.example", "https://b.xn--zz.example2/token", "another site"),
        ("https://docker.io", "https://auth..docker.io/token", "another site"),
        ("https://1.2.3.0x4", "https://5.2.3.0x4/token", "another site"),
        ("https://10.0.0.1", "https://11.0.0.1/token", "another site"),
        ("https://10.9.0.1", "https://10.8.0.1/token", "another site"),
        ("https://[fd00::1]", "https://[fd00::2]/token", "another site"),
        ("https://registry", "https://metadata/token", "another site"),
        ("https://registry", "https://evil.registry/token", "another site"),
        ("https://a.registry", "https://registry/token", "another site"),
        (HUB, "https://user:pass@auth.docker.io/token", "no plain"),
        (HUB, "https://auth.docker.io\\@evil.example/token", "no plain"),
        (HUB, "https://evil.example#@auth.docker.io/token", "no plain"),
        (HUB, "https://auth.docker.io/token#x", "no plain"),
        (HUB, "https://auth.docker.io/to ken", "no plain"),
        (HUB, "https://auth.docker.io/token\r\nHost: evil", "no plain"),
        (HUB, "https://auth.docker.io:99999/", "no plain"),
        (HUB, "https://auth.docker.io:/token", "no plain"),
        (HUB, "https://exämple.docker.io/", "no plain"),
        (HUB, "//auth.docker.io/token", "no plain"),
        (HUB, "ftp://auth.docker.io/token", "no plain"),
        (HUB, "file:///etc/passwd", "no plain"),
        (HUB, "token", "no plain"),
        (HUB, "", "no plain"),
    ],
)
def test_any_other_realm_is_refused(registry: str, realm: str, reason: str) -> None:
    with pytest.raises(UpstreamInvalid, match=reason):
        vet_realm(realm, registry=registry)


def test_a_host_can_be_allowed_but_not_without_tls() -> None:
    vet_realm("https://GHCR.io/token", registry="https://lscr.io", allowed=["ghcr.io"])
    with pytest.raises(UpstreamInvalid, match="without TLS"):
        vet_realm("http://ghcr.io/token", registry="https://lscr.io", allowed=["ghcr.io"])
    with pytest.raises(UpstreamInvalid, match=r"another site, x\.ghcr\.io: .*`realms`"):
        vet_realm("https://x.ghcr.io/token", registry="https://lscr.io", allowed=["ghcr.io"])


def answered(*challenges: Challenge, credentials: bool = True) -> Challenge | None:
    return choose(challenges, registry=HUB, allowed=(), credentials=credentials)


GOOD: Final = Bearer("https://auth.docker.io/token")
EVIL: Final = Bearer("https://evil.example/token")


def test_a_token_is_preferred_to_a_password_with_every_request() -> None:
    assert answered(Basic(), GOOD) == GOOD
    assert answered(EVIL, GOOD) == GOOD


def test_a_password_goes_to_the_registry_only_if_there_is_one() -> None:
    assert answered(EVIL, Basic()) == Basic()
    assert answered(Basic(), credentials=False) is None
    assert answered() is None


def test_the_realm_is_the_reason_where_it_is_in_the_way() -> None:
    with pytest.raises(UpstreamInvalid, match=r"another site, evil\.example"):
        answered(EVIL)
    with pytest.raises(UpstreamInvalid, match=r"another site, evil\.example"):
        answered(EVIL, Basic(), credentials=False)
