"""Connection options of Redis: credentials, TLS and timeouts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

if TYPE_CHECKING:
    from pathlib import Path

# Beyond this redis-py fails; `RedisManifests` has fewer concurrent operations.
CONNECTIONS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A password, or a file with it; neither if Redis needs none."""

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
    """The connection options of all servers. Timeouts are in seconds."""

    login: Login = Login()
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True
    connect_timeout: float = 0.5
    timeout: float = 0.25

    def arguments(self, login: Login, *, tls: bool) -> dict[str, Any]:
        """redis-py's arguments; RESP2, because RESP3 costs another round trip without benefit."""
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

    def total_timeout(self, failed_servers: int = 0) -> float:
        """The time limit of an operation in seconds: connect, log in, and receive the reply.

        `failed_servers` is the number of servers that may be tried without a reply before.
        """
        once = self.connect_timeout + self.timeout
        return once + self.timeout + failed_servers * once


class _PasswordFile(CredentialProvider):
    """Reads the file for every new connection, so that a changed password needs no restart."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            password = self._path.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            # After an error that is not its own, redis-py keeps a half-open connection.
            raise AuthenticationError(f"{self._path} cannot be read: {error}") from None
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()
