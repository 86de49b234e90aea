"""What a release leaves behind for the next one: a directory, and what it put into Redis.

A copy for each number is kept in `tests/data/formats`. Written anew, where a number is new, by

    python -m tests.kit.formats
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
import tempfile
from base64 import b64decode, b64encode
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import redis

from tests.kit import images, load
from tests.kit.accept_lines import EVERYTHING
from tests.kit.processes import LOOPBACK, Proxy
from tests.kit.proxy import push
from tests.kit.redis import RedisServer
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEPT: Final = Path(__file__).parents[1] / "data/formats"
NUMBER: Final = 2
DATABASE: Final = "index.sqlite3"
REPOSITORY: Final = "library/cargo"
_MANIFESTS: Final = f"/v2/{REPOSITORY}/manifests"
# Every representation that a client can ask for.
_ACCEPTS: Final = {
    "modern": ", ".join(value for _, value in EVERYTHING),
    "docker": f"{images.DOCKER.manifest}, {images.DOCKER.index}",
    "image": images.DOCKER.manifest,
    "legacy": None,
}
_TAGS: Final = {"index": images.oci_index("formats"), "image": images.docker("formats")}
# When something was validated, and the mark of the generation: different each time.
_TIME: Final = re.compile(rb"\b\d{10}\.\d+\b")
_PASSING: Final = {"generation"}
# The tables of the index, without the times and the numbers of rows.
_TABLES: Final = (
    "SELECT name FROM repositories",
    "SELECT digest, raw, origin FROM contents",
    "SELECT digest, name, proof, type FROM grants JOIN repositories ON id = repository",
    """SELECT c.digest, name, m.digest, c.type, c.size FROM claims AS c
    JOIN repositories AS r ON r.id = c.repository JOIN contents AS m ON m.id = c.manifest""",
    "SELECT r.name, tags.name, digest FROM tags JOIN repositories AS r ON r.id = repository",
    "SELECT key, derived FROM representations",
)
# What says nothing of a format: locks, what was on its way, what the blobs take, which is counted
# anew where it is missing or wrong, and the cache, which is read itself.
_IGNORED: Final = re.compile(rf".*\.lock|.*/\.lock-.|stock|spool(/.*)?|{re.escape(DATABASE)}.*")
_PREFIX: Final = re.compile(rb"lighterage:\d+:")


async def answers(proxy: Proxy) -> dict[str, list[str]]:
    """Ask for everything: by tag as each kind of client, then all that is named, by digest.

    Media type, digest, and the body's digest, by path and kind of client.
    """
    found: dict[str, list[str]] = {}
    waiting: dict[str, Mapping[str, str | None]] = {
        f"{_MANIFESTS}/{tag}": _ACCEPTS for tag in _TAGS
    }
    while waiting:
        path, accepts = waiting.popitem()
        for kind, accept in accepts.items():
            answer = await load.get(proxy.port, path, accept)
            assert answer.status == 200, (path, kind, answer.body)
            media_type, digest = (
                answer.headers[name] for name in ("content-type", "docker-content-digest")
            )
            found[f"{path} {kind}"] = [media_type, digest, images.digest(answer.body)]
            if "/manifests/" in path:
                for named in (f"{_MANIFESTS}/{digest}", *_named(answer.body)):
                    if f"{named} digest" not in found:
                        waiting[named] = {"digest": _ACCEPTS["modern"]}
    return found


def _named(body: bytes) -> Iterator[str]:
    """The paths of all that a manifest names."""
    manifest = json.loads(body)
    for child in manifest.get("manifests", ()):
        yield f"{_MANIFESTS}/{child['digest']}"
    configs = [manifest["config"]] if "config" in manifest else []
    for blob in (*configs, *_layers(manifest)):
        yield f"/v2/{REPOSITORY}/blobs/{blob.get('digest') or blob['blobSum']}"


def _layers(manifest: Mapping[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    return manifest.get("layers") or manifest.get("fsLayers") or []


def proxy(
    directory: Path, *, url: str = f"http://{LOOPBACK}:9", data: Path, server: RedisServer | None
) -> Proxy:
    """One that keeps its things in `data` and, if there is one, in Redis.

    Without a `url` it is offline: what it serves is what it has, however old.
    """
    offline = url.endswith(":9")
    manifests = {"store": "redis", "redis": {"url": server.url}} if server else {}
    upstreams = {"docker.io": {"url": url, "default": True, "offline": offline}}
    settings = {"upstreams": upstreams, "manifests": manifests}
    return Proxy(directory, data=data, settings=settings)


async def make(
    directory: Path, *, key: Path | None, server: RedisServer | None
) -> dict[str, list[str]]:
    """Have clients pull everything; `directory` is what is left then.

    `key` signs schema 1, so that the same is made again.
    """
    _prepare(directory, key)
    async with ScriptedUpstream() as upstream:
        push_all(upstream)
        with tempfile.TemporaryDirectory() as beside:
            running = proxy(Path(beside), url=upstream.url, data=directory, server=server)
            running.start()
            try:
                return await answers(running)
            finally:
                await asyncio.to_thread(running.stop)


def push_all(upstream: ScriptedUpstream) -> None:
    """Have the upstream offer all that clients ask for."""
    for tag, content in _TAGS.items():
        push(upstream, REPOSITORY, tag, content)


def _prepare(directory: Path, key: Path | None) -> None:
    directory.mkdir(parents=True)
    if key is not None:
        shutil.copy(key, directory)


def files(directory: Path) -> dict[str, bytes]:
    """What is in a proxy's directory and outlives it, without the times."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_file() and not _IGNORED.fullmatch(name):
            found[name] = path.read_bytes()
    return found


def blob_inodes(directory: Path) -> dict[str, int]:
    """Each blob.s inode: a file that is replaced has another one."""
    return {path.name: path.stat().st_ino for path in directory.glob("blobs/*/*/*")}


def rows(database: Path) -> list[list[tuple[object, ...]]]:
    """What is in an index, table by table, without the times."""
    with closing(sqlite3.connect(database)) as connection:
        return [sorted(connection.execute(table), key=repr) for table in _TABLES]


def entries(server: RedisServer) -> dict[str, bytes]:
    """What is in Redis, without the times; the prefix must be what the database is told by."""
    with redis.Redis(LOOPBACK, server.port) as client:
        found = {key: client.get(key) for key in client.scan_iter()}
    assert all(_PREFIX.match(key) for key in found)
    return _timeless({key.decode(): value for key, value in found.items()})


def _timeless(found: Mapping[str, bytes]) -> dict[str, bytes]:
    return {
        key: _TIME.sub(b"TIME", value)
        for key, value in found.items()
        if key.rpartition(":")[2] not in _PASSING
    }


def dump(server: RedisServer, file: Path) -> None:
    """Write down what is in Redis."""
    with redis.Redis(LOOPBACK, server.port) as client:
        found = {key.decode(): b64encode(client.get(key)).decode() for key in client.scan_iter()}
    file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def restore(file: Path, server: RedisServer) -> None:
    """Put back what was written down."""
    with redis.Redis(LOOPBACK, server.port) as client:
        for key, value in json.loads(file.read_text()).items():
            client.set(key, b64decode(value), ex=3600)


async def _write() -> None:
    """The copy of the format that is written now."""
    kept = KEPT / str(NUMBER)
    shutil.rmtree(kept, ignore_errors=True)
    given = await make(kept / "data", key=None, server=None)
    (kept / "answers.json").write_text(json.dumps(given, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(kept / "data" / "spool")
    for passing in (*kept.glob("data/*.lock"), *kept.glob("data/derived/.lock-*")):
        passing.unlink()
    with tempfile.TemporaryDirectory() as beside, RedisServer(Path(beside) / "redis") as server:
        await make(Path(beside) / "data", key=kept / "data/signing-key.pem", server=server)
        dump(server, kept / "redis.json")


if __name__ == "__main__":
    asyncio.run(_write())
