"""The providers of buckets: obstore's stores, built from settings.

Building a store sends no request. Missing credentials are looked up as the provider's own tools do:
in the environment, in the files of a Kubernetes workload identity, and on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, S3Store

if TYPE_CHECKING:
    from pathlib import Path

    from obstore.store import (
        AzureConfig,
        AzureCredential,
        ClientConfig,
        RetryConfig,
        S3Config,
        S3Credential,
    )

# Files with credentials are read again after this, so that rotation needs no restart.
_RELOAD_INTERVAL: Final = timedelta(minutes=1)
_RETRIES: Final[RetryConfig] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=15),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}


class SecretError(Exception):
    """A file with a credential cannot be read."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential, or a file with it."""

    value: str | None = field(default=None, repr=False)
    file: Path | None = None

    def __bool__(self) -> bool:
        return self.value is not None or self.file is not None

    def read(self) -> str:
        """The current value; SecretError if the file cannot be read."""
        if self.file is None:
            return self.value or ""
        try:
            return self.file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            # obstore would take a FileNotFoundError for a missing object.
            raise SecretError(f"{self.file} cannot be read") from None


def s3(
    bucket: str,
    *,
    region: str | None,
    endpoint: str | None,
    path_style: bool,
    access_key_id: Secret,
    secret_access_key: Secret,
    ca_file: Path | None,
) -> S3Store:
    """A bucket of Amazon S3, or of a compatible service at `endpoint`."""
    config: S3Config = {"virtual_hosted_style_request": not path_style}
    if region is not None:
        config["region"] = region
    if endpoint is not None:
        config["endpoint"] = endpoint if path_style else _with_host(bucket, endpoint)

    def credential() -> S3Credential:
        return {
            "access_key_id": access_key_id.read(),
            "secret_access_key": secret_access_key.read(),
            "token": None,
            "expires_at": datetime.now(UTC) + _RELOAD_INTERVAL,
        }

    return S3Store(
        bucket,
        config=config,
        client_options=_client(ca_file, endpoint),
        retry_config=_RETRIES,
        credential_provider=credential if secret_access_key else None,
    )


def gcs(
    bucket: str, *, endpoint: str | None, service_account_file: Path | None, ca_file: Path | None
) -> GCSStore:
    """A bucket of Google Cloud Storage."""
    return GCSStore(
        bucket,
        config={
            **({"base_url": endpoint} if endpoint else {}),
            **({"service_account": str(service_account_file)} if service_account_file else {}),
        },
        client_options=_client(ca_file, endpoint),
        retry_config=_RETRIES,
    )


def azure(
    container: str,
    *,
    account: str,
    endpoint: str | None,
    access_key: Secret,
    ca_file: Path | None,
) -> AzureStore:
    """A container of Azure Blob Storage."""
    config: AzureConfig = {"account_name": account}
    if endpoint is not None:
        config["endpoint"] = endpoint

    def credential() -> AzureCredential:
        return {"access_key": access_key.read(), "expires_at": datetime.now(UTC) + _RELOAD_INTERVAL}

    return AzureStore(
        container,
        config=config,
        client_options=_client(ca_file, endpoint),
        retry_config=_RETRIES,
        credential_provider=credential if access_key else None,
    )


def _client(ca_file: Path | None, endpoint: str | None) -> ClientConfig:
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=1.5),
        # The limits of one read, and of a whole request with the part of a blob in it.
        "read_timeout": timedelta(seconds=10),
        "timeout": timedelta(seconds=60),
        "allow_http": endpoint is not None and endpoint.startswith("http:"),
    }
    if ca_file is not None:
        options["root_certificate"] = ca_file.read_bytes()
    return options


def _with_host(bucket: str, endpoint: str) -> str:
    """The endpoint of one bucket, with its name as the first part of the host."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}"
