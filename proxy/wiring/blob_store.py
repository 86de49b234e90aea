"""The blob store that the settings describe, a disk or a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.stores.disk.blobs import DiskBlobs
from proxy.telemetry import metrics

if TYPE_CHECKING:
    from pathlib import Path

    from obstore.store import AzureStore, GCSStore, S3Store

    from proxy.config import BlobSettings, Settings
    from proxy.stores.bucket.blobs import ObjectBlobs


def blob_path(settings: Settings) -> Path:
    """The directory of the blobs, or, with a bucket, of the spool."""
    return settings.blobs.path or settings.data


def blob_store(settings: Settings) -> DiskBlobs | ObjectBlobs:
    """Build the store, without contacting it; OSError or ValueError if that is impossible."""
    if settings.blobs.store == "disk":
        return DiskBlobs(blob_path(settings), max_size=settings.blobs.max_size)
    missing = missing_extra(settings)
    if missing is not None:
        raise ValueError(missing)
    return _in_bucket(settings)


def missing_extra(settings: Settings) -> str | None:
    """Why the store cannot be used, if a package for it is not installed."""
    if settings.blobs.store == "disk":
        return None
    try:
        import obstore  # noqa: F401, PLC0415 -- an extra
    except ImportError:
        return (
            f"store: {settings.blobs.store} needs obstore, which is not installed: "
            "pip install 'lighterage[object]'"
        )
    return None


def _in_bucket(settings: Settings) -> ObjectBlobs:
    # A large library, which a disk does not need.
    from proxy.stores.bucket.blobs import ObjectBlobs  # noqa: PLC0415
    from proxy.stores.bucket.bucket import Bucket  # noqa: PLC0415

    blobs = settings.blobs
    chosen = getattr(blobs, blobs.store)

    def count(operation: str) -> None:
        metrics.BUCKET_ERRORS.labels(operation).inc()

    public = chosen.public_endpoint
    bucket = Bucket(
        _provider_store(blobs, chosen.endpoint),
        name=f"{blobs.store}://{chosen.place}",
        prefix=chosen.prefix,
        signing=_provider_store(blobs, public) if public else None,
        on_error=count,
    )
    return ObjectBlobs(blob_path(settings), bucket, redirect=blobs.deliver == "redirect")


def _provider_store(blobs: BlobSettings, endpoint: str | None) -> S3Store | GCSStore | AzureStore:
    """Build the provider's store at `endpoint`."""
    from proxy.stores.bucket.providers import Secret, azure, gcs, s3  # noqa: PLC0415

    if blobs.store == "s3":
        return s3(
            blobs.s3.bucket or "",
            region=blobs.s3.region,
            endpoint=endpoint,
            path_style=blobs.s3.path_style,
            access_key_id=Secret(blobs.s3.access_key_id, blobs.s3.access_key_id_file),
            secret_access_key=Secret(blobs.s3.secret_access_key, blobs.s3.secret_access_key_file),
            ca_file=blobs.s3.ca_file,
        )
    if blobs.store == "gcs":
        return gcs(
            blobs.gcs.bucket or "",
            endpoint=endpoint,
            service_account_file=blobs.gcs.service_account_file,
            ca_file=blobs.gcs.ca_file,
        )
    return azure(
        blobs.azure.container or "",
        account=blobs.azure.account or "",
        endpoint=endpoint,
        access_key=Secret(blobs.azure.access_key, blobs.azure.access_key_file),
        ca_file=blobs.azure.ca_file,
    )
