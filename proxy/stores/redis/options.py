"""How a Redis is spoken to: who we are, what we trust, and how long we wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

if TYPE_CHECKING:
    from pathlib import Path

# Where redis-py would fail; `RedisManifests` never has as many operations at once.
CONNECTIONS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A password, or the file that has it; none of both where Redis wants none."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None

    def options(self) -> dict[str, Any]:
        """As redis-py calls them."""
        if self.password_file is not None:
            return {"credential_provider": _PasswordFile(self.username, self.password_file)}
        return {"username": self.username, "password": self.password}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """How every server is spoken to. The timeouts are in seconds."""

    login: Login = Login()
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True
    connect_timeout: float = 0.5
    timeout: float = 0.25

    def arguments(self, login: Login, *, tls: bool) -> dict[str, Any]:
        """As redis-py calls them; RESP2, for RESP3 needs another round trip and gives nothing."""
        arguments = {
            **login.options(),
            "protocol": 2,
            "socket_connect_timeout": self.connect_timeout,
            "socket_timeout": self.timeout,
        }
        if tls:
            arguments |= {
                "ssl_ca_certs": self.ca_file and str(self.ca_file),
                "ssl_certfile": self.certificate_file and str(self.certificate_file),
                "ssl_keyfile": self.key_file and str(self.key_file),
                "ssl_check_hostname": self.check_hostname,
            }
        return arguments

    def total_timeout(self, asked_first: int = 0) -> float:
        """How long an operation may take in all: connect, log in, and be answered.

        `asked_first` is how many servers may have to be asked, and not answer, before that.
        """
        once = self.connect_timeout + self.timeout
        return once + self.timeout + asked_first * once


class _PasswordFile(CredentialProvider):
    """Reads the file for every new connection, so that a changed password needs no restart."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._path.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            # redis-py keeps a half open connection after any error that is not its own.
            raise AuthenticationError(f"{self._path} cannot be read: {error}") from None
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()
