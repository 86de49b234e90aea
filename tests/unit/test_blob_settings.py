"""What may be said of where blobs are, and what is missing when it is not enough."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

import proxy.stores.bucket
from proxy.config import SettingsError, load
from proxy.stores.bucket.blobs import ObjectBlobs
from proxy.stores.disk.blobs import DiskBlobs
from proxy.wiring.blob_store import blob_store

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config.settings import Settings

S3: dict[str, Any] = {"bucket": "images"}


def settings(**blobs: Any) -> Settings:
    return load(environ={}, arguments={"blobs": blobs})


@pytest.mark.parametrize(
    ("blobs", "complaint"),
    [
        ({"store": "s3"}, r"store is s3, but no bucket is configured: set s3\.bucket"),
        ({"store": "s3", "s3": {"region": "x"}}, r"set s3\.bucket"),
        ({"store": "gcs"}, r"set gcs\.bucket"),
        ({"store": "azure", "azure": {"container": "c"}}, r"set azure\.account and \.container"),
        ({"s3": S3}, r"store is disk: set store: s3"),
        ({"store": "gcs", "gcs": S3, "s3": S3}, r"store is gcs: set store: s3"),
        (
            {"store": "s3", "s3": S3, "max_size": "1GiB"},
            r"max_size has no effect .* lifecycle rule",
        ),
        ({"store": "s3", "s3": {"bucket": "s3://images"}}, r"bare name, without s3://"),
        ({"store": "s3", "s3": {"bucket": "images/cache"}}, r"bare name"),
        ({"store": "azure", "azure": {"account": "a/b", "container": "c"}}, r"bare name"),
        ({"store": "s3", "s3": {**S3, "prefix": "../elsewhere"}}, r"a prefix is a path"),
        ({"store": "s3", "s3": {**S3, "prefix": "a//b"}}, r"a prefix is a path"),
        ({"store": "s3", "s3": {**S3, "endpoint": "minio:9000"}}, r"an endpoint is http\(s\)://"),
        ({"store": "s3", "s3": {**S3, "endpoint": "http://a:b@c"}}, r"an endpoint is http\(s\)://"),
        ({"store": "s3", "s3": {**S3, "public_endpoint": "http://c/d"}}, r"an endpoint is"),
        (
            {"store": "s3", "s3": {**S3, "access_key_id": "a"}},
            r"and its secret are used together",
        ),
        ({"store": "s3", "s3": {**S3, "secret_access_key_file": "a"}}, r"are used together"),
        (
            {"store": "s3", "s3": {**S3, "access_key_id": "a", "access_key_id_file": "b"}},
            r"either access_key_id_file or access_key_id",
        ),
        (
            {
                "store": "s3",
                "s3": {
                    **S3,
                    "access_key_id": "a",
                    "secret_access_key": "hush",
                    "secret_access_key_file": "b",
                },
            },
            r"either secret_access_key_file or secret_access_key",
        ),
        (
            {
                "store": "azure",
                "azure": {
                    "account": "a",
                    "container": "c",
                    "access_key": "hush",
                    "access_key_file": "b",
                },
            },
            r"either access_key_file or access_key",
        ),
        ({"store": "s3", "s3": {**S3, "buckte": "x"}}, r"did you mean 'bucket'"),
        ({"deliver": "redirekt"}, r"'redirect' or 'stream'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(blobs: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint) as raised:
        settings(**blobs)
    assert "hush" not in str(raised.value)


def test_a_secret_is_not_shown() -> None:
    found = settings(store="s3", s3={**S3, "access_key_id": "a", "secret_access_key": "hush"})
    assert "hush" not in repr(found)


def test_what_is_said_of_a_bucket_may_end_in_slashes() -> None:
    found = settings(store="s3", s3={**S3, "endpoint": "http://minio:9000/", "prefix": "/a/b/"})
    assert found.blobs.s3.endpoint == "http://minio:9000"
    assert found.blobs.s3.prefix == "a/b"


def test_the_secrets_directory_may_have_the_login(tmp_path: Path) -> None:
    for name, value in (("access_key_id", "a"), ("secret_access_key", "hush")):
        (tmp_path / f"blobs__s3__{name}").write_text(value)
    found = load(
        environ={"LIGHTERAGE_SECRETS_DIR": str(tmp_path)},
        arguments={"blobs": {"store": "s3", "s3": S3}},
    )
    assert found.blobs.s3.secret_access_key == "hush"


@pytest.mark.parametrize(
    "blobs",
    [
        {"store": "s3", "s3": S3},
        {"store": "s3", "s3": {**S3, "path_style": False, "endpoint": "https://s3.example.org"}},
        {"store": "s3", "deliver": "stream", "s3": {**S3, "public_endpoint": "https://x.example"}},
        {"store": "gcs", "gcs": {"bucket": "images"}},
        {"store": "azure", "azure": {"account": "harbour", "container": "images"}},
    ],
)
async def test_a_bucket_is_opened_without_asking_for_it(
    blobs: dict[str, Any], tmp_path: Path
) -> None:
    """So the proxy starts while the bucket, or the service that issues its login, is down."""
    store = blob_store(settings(path=str(tmp_path), **blobs))
    assert isinstance(store, ObjectBlobs)
    await store.close()


def test_a_disk_needs_nothing_else(tmp_path: Path) -> None:
    assert isinstance(blob_store(settings(path=str(tmp_path))), DiskBlobs)


def test_without_the_library_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Importing the package anew replaces its parent's attribute, which has to be restored, too.
    monkeypatch.setattr(proxy.stores, "bucket", proxy.stores.bucket)
    for name in list(sys.modules):
        if name.startswith(("obstore", "proxy.stores.bucket")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ValueError, match=r"s3 needs obstore.*pip install 'lighterage\[object\]'"):
        blob_store(settings(path=str(tmp_path), store="s3", s3=S3))


@pytest.mark.parametrize(
    ("path_style", "url"),
    [
        (True, "https://s3.example.org:9000/images/a?"),
        (False, "https://images.s3.example.org:9000/a?"),
    ],
)
async def test_the_bucket_is_in_the_path_or_in_the_host(
    path_style: bool,  # noqa: FBT001 -- a parameter of the test
    url: str,
    tmp_path: Path,
) -> None:
    place = {
        **S3,
        "endpoint": "https://s3.example.org:9000",
        "path_style": path_style,
        "access_key_id": "a",
        "secret_access_key": "b",
    }
    store = blob_store(settings(path=str(tmp_path), store="s3", s3=place))
    assert isinstance(store, ObjectBlobs)
    assert (await store.bucket.url("a", 60)).startswith(url)
    await store.close()
