"""The login and the transport for an endpoint in the settings: a registry or a mirror."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from yarl import URL

from proxy.upstream.auth.credentials import Credentials, CredentialsError
from proxy.upstream.auth.docker_config import credentials_for
from proxy.upstream.client import Transport
from proxy.upstream.http_proxy import HttpProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxy.config import EndpointSettings

_FAMILIES: Final = {
    "any": socket.AF_UNSPEC,
    "ipv4": socket.AF_INET,
    "ipv6": socket.AF_INET6,
}


def endpoint_name(endpoint: EndpointSettings) -> str:
    """The endpoint's host and prefix, as its name in logs and metrics."""
    return "/".join(filter(None, (urlsplit(endpoint.url).netloc, endpoint.prefix)))


def credentials_of(
    endpoint: EndpointSettings, names: Sequence[str]
) -> Callable[[], Credentials | None]:
    """A function that reads the credentials, called whenever they are needed: files may change.

    docker's file may have them under the endpoint's host, or under one of `names`.
    """
    given = endpoint.credentials
    if given is None:
        return lambda: None
    hosts = (urlsplit(endpoint.url).netloc, *names)

    def read() -> Credentials:
        if given.docker_config_file is not None:
            return credentials_for(hosts, given.docker_config_file.read_text())
        if given.token_file is not None:
            token = _secret(given.token_file)
            return Credentials(given.username or "", token, identity=True)
        if given.password_file is not None:
            return Credentials(given.username or "", _secret(given.password_file))
        return Credentials(given.username or "", given.password or "")

    return read


def transport_of(endpoint: EndpointSettings) -> Transport:
    """Build the endpoint's transport; ValueError if a certificate is invalid."""
    proxy = None if endpoint.proxy is None else HttpProxy(URL(endpoint.proxy), endpoint.no_proxy)
    own_tls = None
    if endpoint.certificate_file is not None:
        own_tls = trusting(endpoint.ca_file)
        try:
            own_tls.load_cert_chain(endpoint.certificate_file, endpoint.key_file)
        except OSError as error:
            raise _unusable(endpoint.certificate_file, error) from None
    return Transport(
        connect_timeout=endpoint.connect_timeout,
        idle_timeout=endpoint.idle_timeout,
        answer_timeout=endpoint.answer_timeout,
        connections=endpoint.connections,
        tls=None if endpoint.ca_file is None else trusting(endpoint.ca_file),
        own_tls=own_tls,
        family=_FAMILIES[endpoint.address_family],
        proxy=proxy,
    )


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the system's certificates and those in `ca_file`."""
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise _unusable(ca_file, error) from None
    return context


def _unusable(file: Path, error: OSError) -> ValueError:
    """A clear message; an SSLError is an OSError, and its own message names no file."""
    reason = "it has no usable certificate or key" if error.filename is None else error.strerror
    if isinstance(error, FileNotFoundError):
        reason = "there is no such file, or no such key_file"
    return ValueError(f"{file}: {reason}")


def _secret(file: Path) -> str:
    """The content without the end of its line; an empty file is an error."""
    secret = file.read_text().rstrip("\r\n")
    if not secret:
        raise CredentialsError("the file is empty")
    return secret
