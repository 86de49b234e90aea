"""What a client sends in `Authorization`. PURE."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from proxy.errors import Unauthorized
from proxy.ports.rights import Login

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A service account's token as a password has one or two KiB.
_MAX_VALUE: Final = 32 * 1024


def parse_authorization(value: str) -> Login | str | None:
    """Return the login of `Basic`, or the token of `Bearer`; None for an anonymous user.

    Unauthorized if the header is malformed or of another scheme. The message quotes nothing of it.
    """
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if len(value) > _MAX_VALUE or not rest:
        raise Unauthorized("the Authorization header is malformed")
    match scheme.lower():
        case "bearer":
            return rest
        case "basic":
            return _parse_basic(rest)
        case _:
            raise Unauthorized("this proxy takes Basic and Bearer in Authorization")


def login_of(form: Mapping[str, Sequence[str]]) -> Login | None:
    """Return the login in a token request's form; None for an empty user, who is anonymous.

    (RFC 6749, 4.3.2.) Unauthorized for another grant type: this proxy issues no refresh tokens.
    """
    if form.get("grant_type") != ["password"]:
        raise Unauthorized("grant_type is password here")
    (username, *_), (password, *_) = form.get("username") or [""], form.get("password") or [""]
    return Login(username, password) if username else None


def _parse_basic(encoded: str) -> Login | None:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthorized("the login is not USER:PASSWORD in UTF-8 and base64") from None
    username, colon, password = text.partition(":")
    if not colon:
        raise Unauthorized("the login is not USER:PASSWORD in UTF-8 and base64")
    # podman, skopeo and docker 1.6 send an empty user where they have none.
    return Login(username, password) if username else None
