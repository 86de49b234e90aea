"""What a blob store in a bucket does besides: how it fails, and what it leaves behind."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web
from structlog.testing import capture_logs

from proxy.oci.reference import Digest
from proxy.stores.asking import BucketError
from proxy.stores.blobs_object import ObjectBlobs
from proxy.stores.bucket_places import Secret
from proxy.stores.leases import FlockLeases
from tests.contract.another_process import another_process
from tests.contract.between import between
from tests.contract.blob_stores import CONTENT, DIGEST, HALF, bucket, committed, keep, stored, whole
from tests.e2e.gateway import ACCESS_KEY, SECRET_KEY, objects
from tests.e2e.processes import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxy.stores.bucket import Bucket
    from tests.contract.between import Forward
    from tests.e2e.gateway import Gateway

# So many parts that some are under way while others wait.
BIG: Final = random.Random(8).randbytes(48 * 2**20)  # noqa: S311 -- bytes that nothing guesses
BIG_DIGEST: Final = Digest.of(BIG)
KEY: Final = "tag:docker.io/library/alpine:latest"
LINK: Final = f"link:docker.io/library/alpine/{DIGEST}"


@pytest.fixture
def at(gateway: Gateway, tmp_path: Path) -> Callable[..., ObjectBlobs]:
    """Makes stores in one place of the bucket."""

    def made(
        *, redirect: bool = True, clock: Callable[[], float] = time.monotonic, **options: object
    ) -> ObjectBlobs:
        place: Bucket = bucket(gateway, prefix=tmp_path.name, **options)  # type: ignore[arg-type]
        return ObjectBlobs(tmp_path / "local", place, redirect=redirect, clock=clock)

    return made


def left(gateway: Gateway, tmp_path: Path) -> set[str]:
    """The objects of this test, and all that unfinished uploads have left."""
    found = objects(gateway.bucket())
    return {name for name in found if name.startswith((tmp_path.name, ".sgwtmp"))}


def is_big(content: bytes | None) -> bool:
    """Without pytest's account of the difference, which takes minutes."""
    return content == BIG


def spooled(store_path: Path) -> list[str]:
    return sorted(path.name for path in (store_path / "spool").iterdir())


# -- where things are ----------------------------------------------------------------------------


async def test_objects_are_called_what_files_are(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    store = at()
    await keep(store, CONTENT)
    await store.put_records([(KEY, b"x")])
    assert left(gateway, tmp_path) == {
        f"{tmp_path.name}/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}",
        f"{tmp_path.name}/records/tag/docker.io/library/alpine:latest",
    }
    assert spooled(tmp_path / "local") == []


async def test_a_large_blob_is_uploaded_in_parts_and_read_back_in_some(
    at: Callable[..., ObjectBlobs], gateway: Gateway
) -> None:
    store = at()
    before = len(gateway.requests())
    await keep(store, BIG)
    uploaded = gateway.requests()[before:]
    assert uploaded.count("s3_UploadPart") > 4
    assert "s3_CompleteMultipartUpload" in uploaded
    before = len(gateway.requests())
    assert is_big(await stored(at(), BIG_DIGEST))
    # Not one for each piece that a client is sent.
    assert 20 < gateway.requests()[before:].count("s3_GetObject") < 40


async def test_many_readers_share_what_may_be_read_ahead(at: Callable[..., ObjectBlobs]) -> None:
    store = at()
    await keep(store, BIG)
    blobs = [await store.open(BIG_DIGEST) for _ in range(12)]
    contents = await asyncio.gather(*(whole(blob, len(BIG)) for blob in blobs if blob))
    assert len(contents) == 12
    assert all(map(is_big, contents))
    for blob in blobs:
        assert blob is not None
        blob.close()
    # All of it was given back: the next one may have as much as the first one.
    assert store._allowance.take(32 * 2**20)


async def test_a_client_reads_the_blob_by_its_url(at: Callable[..., ObjectBlobs]) -> None:
    store = at()
    assert await store.url(DIGEST) is None
    await keep(store, CONTENT)
    url = await store.url(DIGEST)
    assert url is not None
    async with ClientSession() as session:
        async with session.get(url) as answer:
            assert (answer.status, await answer.read()) == (200, CONTENT)
        async with session.get(url, headers={"Range": "bytes=5-9"}) as answer:
            assert (answer.status, await answer.read()) == (206, CONTENT[5:10])
        async with session.get(url.replace("Signature=", "Signature=0")) as answer:
            assert answer.status == 403
        async with session.put(url, data=b"x") as answer:
            assert answer.status == 403
    assert SECRET_KEY not in url
    assert await at(redirect=False).url(DIGEST) is None


async def test_clients_may_know_the_bucket_by_another_name(
    gateway: Gateway, tmp_path: Path
) -> None:
    inside = bucket(gateway, prefix=tmp_path.name)
    outside = bucket(gateway, endpoint="https://images.example.org")
    inside._signing = outside._store
    store = ObjectBlobs(tmp_path, inside, redirect=True)
    await keep(store, CONTENT)
    url = await store.url(DIGEST)
    assert url is not None
    assert urlsplit(url).netloc == "images.example.org"


# -- what is not there any more ------------------------------------------------------------------


async def test_what_the_bucket_has_removed_is_noticed(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    now = [0.0]
    store = at(clock=lambda: now[0])
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    for name in left(gateway, tmp_path):
        (gateway.bucket() / name).unlink()
    assert await store.size(DIGEST) == len(CONTENT), "it is believed for a while"
    with pytest.raises(OSError, match="not in the bucket any more"):
        await blob.read(0, 10)
    await store.distrust(DIGEST, blob)
    blob.close()
    assert await store.open(DIGEST) is None
    assert await store.url(DIGEST) is None


async def test_nobody_is_sent_to_what_was_removed_long_ago(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    now = [0.0]
    store = at(clock=lambda: now[0])
    await keep(store, CONTENT)
    for name in left(gateway, tmp_path):
        (gateway.bucket() / name).unlink()
    now[0] += 61
    assert await store.open(DIGEST) is None
    assert await store.url(DIGEST) is None


@pytest.mark.parametrize("start", [95, 100, HALF])
async def test_another_blob_in_its_place_is_not_read(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path, start: int
) -> None:
    store = at()
    await keep(store, CONTENT)
    blob = await store.open(DIGEST)
    assert blob is not None
    (name,) = left(gateway, tmp_path)
    (gateway.bucket() / name).write_bytes(CONTENT[:100])
    with pytest.raises(OSError, match="is not 3000001 bytes"):
        await blob.read(start, 10)
    await store.distrust(DIGEST, blob)
    blob.close()
    assert left(gateway, tmp_path) == set(), "nobody reads it again"


# -- uploads that do not end well ----------------------------------------------------------------


async def test_readers_do_not_wait_for_the_upload_and_nobody_finds_it_before_its_end(
    at: Callable[..., ObjectBlobs], gateway: Gateway
) -> None:
    may_end = asyncio.Event()
    asked = asyncio.Event()

    async def slow(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.method in {"PUT", "POST"}:
            asked.set()
            await may_end.wait()
        return await forward(request)

    async with between(gateway, slow) as endpoint:
        store, elsewhere = at(endpoint=endpoint), at()
        spool = await store.spool(BIG_DIGEST)
        await spool.expect(len(BIG))
        await spool.append(BIG)
        blob = await spool.commit()
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(spool.settle())
            await asyncio.wait_for(asked.wait(), 30)
            assert is_big(await whole(blob, blob.size))
            growing = await elsewhere.growing(BIG_DIGEST)
            assert growing is not None
            assert await growing.verified()
            assert await elsewhere.open(BIG_DIGEST) is None
            assert await store.url(BIG_DIGEST) is None
            may_end.set()
            while not settling.done():
                assert await elsewhere.size(BIG_DIGEST) in {None, len(BIG)}
                await asyncio.sleep(0.01)
        assert await elsewhere.growing(BIG_DIGEST) is None
        assert await growing.verified(), "who reads along need not notice that it has moved"
        assert is_big(await whole(growing, growing.total))
        growing.close()
        blob.close()
        spool.close()
    assert is_big(await stored(elsewhere, BIG_DIGEST))


@pytest.mark.parametrize(
    "fails", ["UploadPart", "CompleteMultipartUpload", "CreateMultipartUpload"]
)
async def test_an_upload_that_fails_fails_nobody_and_leaves_nothing(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path, fails: str
) -> None:
    def is_meant(request: web.BaseRequest) -> bool:
        query = request.query
        match fails:
            case "UploadPart":
                return query.get("partNumber") == "2"
            case "CompleteMultipartUpload":
                return request.method == "POST" and "uploadId" in query
            case _:
                return "uploads" in query

    async def broken(request: web.BaseRequest, forward: Forward) -> web.Response:
        if is_meant(request):
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        return await forward(request)

    errors: list[str] = []
    async with between(gateway, broken) as endpoint:
        store = at(endpoint=endpoint, on_error=errors.append)
        spool = await store.spool(BIG_DIGEST)
        await spool.append(BIG)
        blob = await spool.commit()
        with capture_logs() as log:
            await spool.settle()
        assert is_big(await whole(blob, blob.size))
        blob.close()
        spool.close()
    assert errors == ["upload"]
    assert [line["event"] for line in log] == ["bucket.failed", "blob.not_uploaded"]
    assert log[0]["reason"] == "403 Forbidden AccessDenied"
    assert await at().open(BIG_DIGEST) is None
    assert spooled(tmp_path / "local") == []
    assert not {name for name in left(gateway, tmp_path) if name.startswith(tmp_path.name)}


async def test_an_upload_that_is_cancelled_is_aborted_and_can_be_done_again(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    """At the end of a shutdown's grace."""
    hold, asked = asyncio.Event(), asyncio.Event()
    aborted: list[str] = []

    async def slow(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.query.get("partNumber") == "3":
            asked.set()
            await hold.wait()
        if request.method == "DELETE":
            aborted.append(request.query.get("uploadId", ""))
        return await forward(request)

    async with between(gateway, slow) as endpoint:
        store = at(endpoint=endpoint)
        spool = await store.spool(BIG_DIGEST)
        await spool.expect(len(BIG))
        await spool.append(BIG)
        (await spool.commit()).close()
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(spool.settle())
            await asyncio.wait_for(asked.wait(), 30)
            settling.cancel()
            await asyncio.sleep(0.05)
            hold.set()
        assert settling.cancelled()
        spool.close()
    assert len(aborted) == 1
    assert await at().open(BIG_DIGEST) is None
    again = await at().spool(BIG_DIGEST)
    assert again.size == len(BIG)
    (await committed(again)).close()
    again.close()
    assert is_big(await stored(at(), BIG_DIGEST))
    assert spooled(tmp_path / "local") == []


_UPLOAD = """
    from proxy.stores.blobs_object import ObjectBlobs
    from proxy.stores.bucket import Bucket
    from proxy.stores.bucket_places import Secret, s3
    endpoint, prefix, access, secret, source = arguments
    place = s3("lighterage", region=None, endpoint=endpoint, path_style=True,
               access_key_id=Secret(access), secret_access_key=Secret(secret), ca_file=None)
    bucket = Bucket(place, name="bucket", prefix=prefix, on_error=say)
    store = ObjectBlobs(directory, bucket, redirect=True)
    content = Path(source).read_bytes()
    digest = Digest.of(content)
    lease = await FlockLeases(directory / "spool").claim(digest)
    spool = await store.spool(digest)
    await spool.expect(len(content))
    await spool.append(content)
    (await spool.commit()).close()
    say("committed")
    await spool.settle()
    say("uploaded")
"""


async def test_kill_9_leaves_no_half_object_and_the_next_process_uploads_it(
    at: Callable[..., ObjectBlobs], gateway: Gateway, tmp_path: Path
) -> None:
    hold, asked = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.query.get("partNumber") == "4":
            asked.set()
            await hold.wait()
        return await forward(request)

    local, source = tmp_path / "local", tmp_path / "upstream"
    source.write_bytes(BIG)
    async with between(gateway, slow) as endpoint:
        async with another_process(
            _UPLOAD, local, endpoint, tmp_path.name, ACCESS_KEY, SECRET_KEY, source
        ) as process:
            assert await process.line() == "committed"
            await asyncio.wait_for(asked.wait(), 30)
            store, leases = at(), FlockLeases(local / "spool")
            assert await leases.claim(BIG_DIGEST) is None, "others would fetch it a second time"
            growing = await store.growing(BIG_DIGEST)
            assert growing is not None
            assert await growing.verified()
            assert is_big(await whole(growing, growing.total))
            growing.close()
            await process.kill()
        hold.set()
    assert await store.open(BIG_DIGEST) is None
    lease = await leases.claim(BIG_DIGEST)
    assert lease is not None
    spool = await store.spool(BIG_DIGEST)
    assert spool.size == len(BIG)
    await spool.expect(len(BIG))
    (await committed(spool)).close()
    spool.close()
    lease.release()
    assert is_big(await stored(store, BIG_DIGEST))
    assert spooled(local) == []


# -- a bucket that fails -------------------------------------------------------------------------


async def test_a_bucket_that_is_not_there_has_nothing_and_costs_nothing_after_a_moment(
    at: Callable[..., ObjectBlobs],
) -> None:
    errors: list[str] = []
    store = at(endpoint=f"http://{LOOPBACK}:{free_port()}", on_error=errors.append)
    with capture_logs() as log:
        for _ in range(3):
            assert await store.open(DIGEST) is None
        began = time.monotonic()
        assert await store.record(KEY) is None
        assert await store.size(DIGEST) is None
        assert await store.url(DIGEST) is None
        await keep(store, CONTENT)
        with pytest.raises(OSError, match="left alone"):
            await store.put_records([(KEY, b"x")])
        with pytest.raises(OSError, match="left alone"):
            await store.put_new_record(KEY, b"x")
        with pytest.raises(OSError, match="left alone"):
            await store.delete_record(KEY)
        with pytest.raises(OSError, match="left alone"):
            await store.delete(DIGEST)
        assert time.monotonic() - began < 0.4
    assert errors[:3] == ["look"] * 3
    assert [line["reason"] for line in log if line["event"] == "bucket.failed"] == ["no connection"]
    assert await store.bucket.warning() == ("s3://lighterage cannot be used: no connection")


async def test_a_url_that_is_made_without_the_bucket_says_nothing_of_how_it_is(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    broken = False

    async def sometimes(request: web.BaseRequest, forward: Forward) -> web.Response:
        return web.Response(status=403) if broken else await forward(request)

    async with between(gateway, sometimes) as endpoint:
        store = at(endpoint=endpoint)
        await keep(store, CONTENT)
        broken = True
        for _ in range(3):
            assert await store.record(KEY) is None
            await store.url(DIGEST)
        assert await store.url(DIGEST) is None, "nobody is sent to a bucket that fails"
        with pytest.raises(OSError, match="left alone"):
            await store.put_records([(KEY, b"x")])


async def test_a_bucket_that_says_nothing_is_waited_for_for_seconds(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    ended = asyncio.Event()

    async def silent(request: web.BaseRequest, forward: Forward) -> web.Response:
        await ended.wait()
        return await forward(request)

    async with between(gateway, silent) as endpoint:
        store = at(endpoint=endpoint, patience=0.3)
        began = time.monotonic()
        assert await store.open(DIGEST) is None
        assert 0.2 < time.monotonic() - began < 2
        assert await store.bucket.warning() == "s3://lighterage cannot be used: no answer in time"
        ended.set()


async def test_a_bucket_that_comes_back_is_used_again(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    broken = True

    async def sometimes(request: web.BaseRequest, forward: Forward) -> web.Response:
        return web.Response(status=403) if broken else await forward(request)

    async with between(gateway, sometimes) as endpoint:
        store = at(endpoint=endpoint)
        with capture_logs() as log:
            for _ in range(5):
                assert await store.open(DIGEST) is None
            broken = False
            async with asyncio.timeout(10):
                while (warning := await store.bucket.warning()) and "cannot" in warning:  # noqa: ASYNC110 -- nothing but time brings it back
                    await asyncio.sleep(0.05)
            assert (
                warning
                == "s3://lighterage failed for a while, or refuses some requests: 403 Forbidden"
            )
            assert await store.bucket.warning() is None
        await keep(store, CONTENT)
        assert await stored(store, DIGEST) == CONTENT
    assert [line["event"] for line in log] == ["bucket.failed", "bucket.works_again"]


async def test_no_credential_is_in_what_is_said_of_a_login_that_is_not_good(
    at: Callable[..., ObjectBlobs], tmp_path: Path
) -> None:
    store = at(secret=Secret("a-wrong-secret"))
    with capture_logs() as log:
        assert await store.open(DIGEST) is None
        with pytest.raises(BucketError) as said:
            await store.put_records([(KEY, b"x")])
        warning = await store.bucket.warning()
    text = f"{log} {said.value} {warning}"
    assert "403 Forbidden SignatureDoesNotMatch" in text
    for word in ("a-wrong-secret", SECRET_KEY, ACCESS_KEY, "AWS4-HMAC", tmp_path.name):
        assert word not in text


async def test_a_bucket_that_does_not_exist_is_said_to_be_missing(
    at: Callable[..., ObjectBlobs], gateway: Gateway
) -> None:
    store = at(name="elsewhere")
    gateway.bucket("elsewhere").rmdir()
    assert await store.bucket.warning() == (
        "s3://elsewhere cannot be used: 404 Not Found NoSuchBucket"
    )
    with pytest.raises(OSError, match="NoSuchBucket"):
        await store.put_records([(KEY, b"x")])


async def test_a_secret_in_a_file_may_change(
    tmp_path: Path,
    at: Callable[..., ObjectBlobs],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.stores.bucket_places._KEPT_FOR", timedelta(seconds=-1))
    file = tmp_path / "secret"
    store = at(secret=Secret(file=file))
    assert await store.bucket.warning() == (
        f"s3://lighterage cannot be used: {file} cannot be read"
    )
    file.write_text("a-wrong-secret\n")
    assert "403" in str(await store.bucket.warning())
    file.write_text(f"{SECRET_KEY}\n")
    await store.put_records([(KEY, b"x")])
    assert await store.record(KEY) == b"x"


# -- records -------------------------------------------------------------------------------------


async def test_links_are_written_at_once_and_after_all_else(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    running, most = 0, 0
    order: list[str] = []

    async def slow(request: web.BaseRequest, forward: Forward) -> web.Response:
        nonlocal running, most
        if request.method != "PUT":
            return await forward(request)
        running += 1
        most = max(most, running)
        order.append(request.path.partition("/records/")[2].partition("/")[0])
        await asyncio.sleep(0.05)
        running -= 1
        return await forward(request)

    links = [(f"link:docker.io/library/alpine/{Digest.of(bytes([n]))}", b"") for n in range(20)]
    records = [(f"manifest:{DIGEST}", b"m"), (f"origin:{DIGEST}", b"o"), *links, (KEY, b"t")]
    async with between(gateway, slow) as endpoint:
        store = at(endpoint=endpoint)
        await store.put_records(records)
        assert order == ["manifest", "origin", *["link"] * 20, "tag"]
        assert most == 20
        await store.put_records(records)
        assert len(order) == 23, "what is there is not written again"
    store = at()
    assert [await store.record(key) for key, _ in records] == [value for _, value in records]


async def test_what_comes_after_a_record_that_cannot_be_kept_is_not_there(
    gateway: Gateway, at: Callable[..., ObjectBlobs]
) -> None:
    async def refusing(request: web.BaseRequest, forward: Forward) -> web.Response:
        if request.method == "PUT" and "/origin/" in request.path:
            return web.Response(status=403)
        return await forward(request)

    async with between(gateway, refusing) as endpoint:
        with pytest.raises(OSError, match="403"):
            await at(endpoint=endpoint).put_records(
                [(f"manifest:{DIGEST}", b"m"), (f"origin:{DIGEST}", b"o"), (LINK, b"")]
            )
    store = at()
    assert await store.record(f"manifest:{DIGEST}") == b"m"
    assert await store.record(LINK) is None


@pytest.mark.parametrize("how", ["says so", "does not say so"])
async def test_a_server_that_cannot_create_once_is_asked_in_another_way(
    gateway: Gateway, at: Callable[..., ObjectBlobs], how: str
) -> None:
    conditional = 0

    async def older(request: web.BaseRequest, forward: Forward) -> web.Response:
        nonlocal conditional
        if "If-None-Match" not in request.headers:
            return await forward(request)
        conditional += 1
        if how == "says so":
            return web.Response(status=501, text="<Error><Code>NotImplemented</Code></Error>")
        return web.Response(status=200, headers={"ETag": '"x"'})

    async with between(gateway, older) as endpoint:
        store = at(endpoint=endpoint)
        assert await store.put_new_record(KEY, b"first") == b"first"
        found_out = conditional
        assert await store.put_new_record(KEY, b"second") == b"first"
        assert await store.put_new_record(LINK, b"other") == b"other"
        assert conditional == found_out > 0, "it is found out once"
        assert await at(endpoint=endpoint).put_new_record(KEY, b"third") == b"first"
    assert await at().record(KEY) == b"first"
