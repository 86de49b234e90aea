"""Where a bucket is, and how to log in there: obstore's stores, made of plain words.

Making one contacts nobody. What is not given is looked for as the provider's own tools do: in the
environment, in the files that Kubernetes mounts for a workload's identity, on the machine.
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

# Files with credentials are read again after this: whoever changes them need not restart us.
_KEPT_FOR: Final = timedelta(minutes=1)
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
    """A credential, or the file that has it."""

    value: str | None = field(default=None, repr=False)
    file: Path | None = None

    def __bool__(self) -> bool:
        return self.value is not None or self.file is not None

    def read(self) -> str:
        """What it is now; SecretError if that cannot be said."""
        if self.file is None:
            return self.value or ""
        try:
            return self.file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            # obstore takes a FileNotFoundError for an object that is not there.
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
    """A bucket of Amazon's, or of whatever speaks its API at `endpoint`."""
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
            "expires_at": datetime.now(UTC) + _KEPT_FOR,
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
        return {"access_key": access_key.read(), "expires_at": datetime.now(UTC) + _KEPT_FOR}

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
        # For a piece of an answer, and for a request with the part of a blob that goes with it.
        "read_timeout": timedelta(seconds=10),
        "timeout": timedelta(seconds=60),
        "allow_http": endpoint is not None and endpoint.startswith("http:"),
    }
    if ca_file is not None:
        options["root_certificate"] = ca_file.read_bytes()
    return options


def _with_host(bucket: str, endpoint: str) -> str:
    """The endpoint of one bucket, whose name is the first part of the host's."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}"
