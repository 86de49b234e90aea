"""What a registry that ours redirects to gets: an anonymous token of its own, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from yarl import URL

from proxy.errors import UpstreamDenied
from proxy.kit.singleflight import SingleFlight
from proxy.upstream.auth.elsewhere import RedirectAuthorities, RedirectLogins
from proxy.upstream.auth.tokens import Token, Tokens

if TYPE_CHECKING:
    from proxy.upstream.auth.tokens import Grant

MANIFEST: Final = URL("https://other.example/v2/their/name/manifests/1")
OBJECT: Final = URL("https://storage.other.example/bucket/object")
REALM: Final = "https://auth.other.example/token"
CHALLENGE: Final = [f'Bearer realm="{REALM}",service="s"']
SCOPED: Final = [f'Bearer realm="{REALM}",service="s",scope="repository:asked/for:pull"']


class World:
    def __init__(self) -> None:
        self.grants: list[Grant] = []
        self.refuses = False
        tokens = Tokens(self.ask, registry="r", flights=SingleFlight())
        self.authorities = RedirectAuthorities(name="r", realms=(), tokens=tokens)

    async def ask(self, grant: Grant) -> Token:
        self.grants.append(grant)
        if self.refuses:
            raise UpstreamDenied("no token for nobody")
        return Token(f"t{len(self.grants)}", 300)

    def logins(self) -> RedirectLogins:
        """Those of one request."""
        return RedirectLogins(self.authorities, "our/name")


@pytest.fixture
def world() -> World:
    return World()


async def test_nothing_is_sent_before_it_is_asked_for(world: World) -> None:
    assert await world.logins().value(MANIFEST) is None
    assert world.grants == []


async def test_a_challenge_is_answered_with_an_anonymous_token(world: World) -> None:
    logins = world.logins()
    assert await logins.answer(MANIFEST, CHALLENGE)
    assert await logins.value(MANIFEST) == "Bearer t1"
    (grant,) = world.grants
    assert (grant.realm, grant.service, grant.credentials) == (REALM, "s", None)
    # The repository has another name there.
    assert grant.scope == "repository:their/name:pull"


async def test_the_next_request_has_the_token_at_once_and_only_for_that_origin(
    world: World,
) -> None:
    assert await world.logins().answer(MANIFEST, CHALLENGE)
    logins = world.logins()
    assert await logins.value(MANIFEST) == "Bearer t1"
    assert await logins.value(OBJECT) is None
    assert await logins.value(MANIFEST.with_port(444)) is None
    assert len(world.grants) == 1


async def test_a_token_that_was_refused_is_renewed_once(world: World) -> None:
    assert await world.logins().answer(MANIFEST, CHALLENGE)
    logins = world.logins()
    assert await logins.value(MANIFEST) == "Bearer t1"
    assert await logins.answer(MANIFEST, CHALLENGE)
    assert await logins.value(MANIFEST) == "Bearer t2"
    assert not await logins.answer(MANIFEST, CHALLENGE)
    assert len(world.grants) == 2


async def test_what_storage_denies_is_not_asked_for_again(world: World) -> None:
    for lines in (CHALLENGE, ['Basic realm="storage"'], []):
        assert not await world.logins().answer(OBJECT, lines)
    assert world.grants == []
    assert world.authorities.find(OBJECT) is None


async def test_a_scope_is_a_registrys_challenge_wherever_it_comes_from(world: World) -> None:
    logins = world.logins()
    assert await logins.answer(OBJECT, SCOPED)
    assert world.grants[0].scope == "repository:asked/for:pull"
    assert await logins.value(OBJECT) == "Bearer t1"
    # The next request for our repository is for the same scope there.
    assert await world.logins().value(OBJECT) == "Bearer t1"
    assert len(world.grants) == 1


async def test_no_login_is_sent_where_only_one_would_do(world: World) -> None:
    logins = world.logins()
    assert not await logins.answer(MANIFEST, ['Basic realm="other"'])
    assert await logins.value(MANIFEST) is None


async def test_a_token_that_nobody_gets_ends_the_request(world: World) -> None:
    world.refuses = True
    assert not await world.logins().answer(MANIFEST, CHALLENGE)


async def test_few_origins_are_remembered(world: World) -> None:
    origins = [URL(f"https://r{number}.example/v2/a/blobs/b") for number in range(9)]
    for url in origins:
        assert world.authorities.get(url) is world.authorities.get(url)
    assert world.authorities.find(origins[0]) is None
    assert all(map(world.authorities.find, origins[1:]))
