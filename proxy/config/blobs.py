"""The settings of the blob store: a disk, or a bucket of one of the providers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from proxy.config.section import Section
from proxy.config.values import Bytes, Seconds

# Names and paths that every provider accepts.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREFIX: Final = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*)?")
_ENDPOINT: Final = re.compile(r"https?://[^/?#@\s]+/?")


class _Bucket(Section):
    """The settings that buckets of all providers have."""

    prefix: str = ""
    endpoint: str | None = None
    public_endpoint: str | None = None
    ca_file: Path | None = None

    @field_validator("prefix")
    @classmethod
    def _is_path(cls, value: str) -> str:
        prefix = value.strip("/")
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(
                "a prefix is a path of letters, digits, '-', '_' and '.': cache/images"
            )
        return prefix

    @field_validator("endpoint", "public_endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not _ENDPOINT.fullmatch(value):
            raise ValueError("an endpoint is http(s)://HOST[:PORT] without a path")
        return value if value is None else value.rstrip("/")

    @property
    def place(self) -> str | None:
        """The bucket's name, or None if none is configured."""
        raise NotImplementedError


def _is_name(value: str | None) -> str | None:
    if value is not None and not _NAME.fullmatch(value):
        raise ValueError("give the bare name, without s3:// and without a path")
    return value


class S3Settings(_Bucket):
    """A bucket of Amazon S3, or of a server with its API."""

    bucket: str | None = None
    region: str | None = None
    path_style: bool = True
    access_key_id: str | None = None
    access_key_id_file: Path | None = None
    secret_access_key: str | None = Field(default=None, repr=False)
    secret_access_key_file: Path | None = None

    _bucket_is_a_name = field_validator("bucket")(_is_name)

    @property
    def place(self) -> str | None:
        """The bucket's name."""
        return self.bucket

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.access_key_id is not None and self.access_key_id_file is not None:
            raise ValueError("give either access_key_id_file or access_key_id")
        if self.secret_access_key is not None and self.secret_access_key_file is not None:
            raise ValueError("give either secret_access_key_file or secret_access_key")
        names = self.access_key_id is not None or self.access_key_id_file is not None
        secrets = self.secret_access_key is not None or self.secret_access_key_file is not None
        if names != secrets:
            raise ValueError("an access key's id and its secret are used together")
        return self


class GcsSettings(_Bucket):
    """A bucket of Google Cloud Storage."""

    bucket: str | None = None
    service_account_file: Path | None = None

    _bucket_is_a_name = field_validator("bucket")(_is_name)

    @property
    def place(self) -> str | None:
        """The bucket's name."""
        return self.bucket


class AzureSettings(_Bucket):
    """A container of Azure Blob Storage."""

    account: str | None = None
    container: str | None = None
    access_key: str | None = Field(default=None, repr=False)
    access_key_file: Path | None = None

    _names_are_names = field_validator("account", "container")(_is_name)

    @property
    def place(self) -> str | None:
        """The container's name, or None if it or the account is not configured."""
        return self.container if self.account is not None else None

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.access_key is not None and self.access_key_file is not None:
            raise ValueError("give either access_key_file or access_key")
        return self


class BlobSettings(Section):
    """The store of blobs and durable records."""

    store: Literal["disk", "s3", "gcs", "azure"] = "disk"
    path: Path | None = None
    max_size: Bytes = 50 * 2**30
    scrub_every: Seconds = 30 * 86400.0
    scrub_rate: Annotated[Bytes, Field(ge=1)] = 20 * 2**20
    range_on_miss: bool = True
    finish_abandoned: bool = True
    deliver: Literal["redirect", "stream"] = "redirect"
    s3: S3Settings = S3Settings()
    gcs: GcsSettings = GcsSettings()
    azure: AzureSettings = AzureSettings()

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        needed = {"s3": "s3.bucket", "gcs": "gcs.bucket", "azure": "azure.account and .container"}
        for store, names in needed.items():
            bucket: _Bucket = getattr(self, store)
            if self.store == store and bucket.place is None:
                raise ValueError(f"store is {store}, but no bucket is configured: set {names}")
            if self.store != store and bucket.place is not None:
                raise ValueError(
                    f"{store} configures a bucket, but store is {self.store}: set store: {store}"
                )
        if self.store != "disk" and "max_size" in self.model_fields_set:
            raise ValueError(
                f"max_size has no effect with store: {self.store}; remove it, and bound the bucket "
                "by a lifecycle rule for objects below blobs/"
            )
        return self
