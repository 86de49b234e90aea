"""The settings of Redis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from proxy.config.section import Section
from proxy.config.values import Listen, Timeout

_REDIS_URL: Final = re.compile(
    r"rediss?://[^/?#\s]+(/\d*)?|unix://([^/?#@\s]*@)?/[^?#\s]+(\?db=\d+)?"
)


def _urls(value: object) -> object:
    """Split a string at commas, as in the environment; a single URL is a list of one."""
    if isinstance(value, str):
        return tuple(re.split(r"\s*,\s*(?=\w+://)", value.strip()))
    return () if value is None else value


_ONE: Final = f"({_REDIS_URL.pattern})"
_Urls = Annotated[
    tuple[str, ...],
    BeforeValidator(_urls),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": rf"^{_ONE}(\s*,\s*{_ONE})*$"},
                {"type": "array", "items": {"type": "string", "pattern": f"^{_ONE}$"}},
            ]
        }
    ),
]


class RedisSettings(Section):
    """The address of Redis, `url` or `sentinels`, and the login."""

    url: _Urls = Field(default=(), repr=False)  # may hold a password
    cluster: bool = False
    sentinels: tuple[Listen, ...] = ()
    service: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    sentinel_password: str | None = Field(default=None, repr=False)
    sentinel_password_file: Path | None = None
    hmac_key_file: Path | None = None
    connect_timeout: Timeout = 0.5
    timeout: Timeout = 0.25

    @field_validator("url")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            try:
                valid = _REDIS_URL.fullmatch(url) and urlsplit(url).port != 0
            except ValueError:
                valid = False
            if not valid:
                raise ValueError(
                    "a Redis url is redis://HOST[:PORT][/DATABASE], rediss:// for TLS, or "
                    "unix:///PATH[?db=DATABASE]; write a / in a password as %2F"
                )
        return urls

    @model_validator(mode="after")
    def _one_place(self) -> RedisSettings:
        if self.url and self.sentinels:
            raise ValueError("give either url or sentinels")
        if bool(self.sentinels) != bool(self.service):
            raise ValueError("sentinels and service, the master's name, are used together")
        if self.cluster and not self.url:
            raise ValueError("cluster is true, but there is no url of one of its nodes")
        if len(self.url) > 1 and not self.cluster:
            raise ValueError("several urls are the nodes of a cluster: set cluster: true")
        schemes = {urlsplit(url).scheme for url in self.url}
        if self.cluster and (schemes == {"unix"} or len(schemes) > 1):
            raise ValueError("the urls of a cluster all begin with redis://, or all with rediss://")
        if self.cluster and any(urlsplit(url).path not in {"", "/", "/0"} for url in self.url):
            raise ValueError("a cluster has only database 0")
        return self

    @model_validator(mode="after")
    def _tls_is_consistent(self) -> RedisSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file are used together")
        wanted = self.tls or self.ca_file or self.certificate_file
        if self.url and wanted and not all(url.startswith("rediss:") for url in self.url):
            raise ValueError("TLS needs a url that begins with rediss://")
        if self.sentinels and wanted and not self.tls:
            raise ValueError("ca_file and certificate_file with sentinels need tls: true")
        return self

    @model_validator(mode="after")
    def _one_login(self) -> RedisSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give either password_file or password")
        if self.sentinel_password is not None and self.sentinel_password_file is not None:
            raise ValueError("give either sentinel_password_file or sentinel_password")
        secret = self.password is not None or self.password_file is not None
        if self.username is not None and not secret:
            raise ValueError("username needs a password_file")
        if secret and any(urlsplit(url).password is not None for url in self.url):
            raise ValueError("the url contains a password, and so does password or password_file")
        return self
