"""A real S3 API that checks signatures: versitygw, with buckets as directories."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Final

from tests.kit.processes import LOOPBACK, Program, free_port
from tests.tools import require

ACCESS_KEY: Final = "test-access-key"
SECRET_KEY: Final = "test-secret-key"


class Gateway(Program):
    """`versitygw` on a port of its own, which stays the same when it is started again."""

    name = "versitygw"
    access_key: Final = ACCESS_KEY
    secret_key: Final = SECRET_KEY

    def __init__(self, directory: Path) -> None:
        """Keep the buckets below `directory`."""
        self.port = free_port()
        self._buckets = directory / "buckets"
        self._buckets.mkdir(parents=True, exist_ok=True)
        self._log = directory / "access.log"
        super().__init__(
            [
                require("versitygw"),
                "--quiet",
                "--keep-alive",
                f"--port={LOOPBACK}:{self.port}",
                f"--access-log={self._log}",
                "posix",
                self._buckets,
            ],
            directory=directory,
            listens=(self.port,),
            environment={"ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY},
        )

    @property
    def endpoint(self) -> str:
        """As settings have it."""
        return f"http://{LOOPBACK}:{self.port}"

    def bucket(self, name: str = "lighterage") -> Path:
        """A bucket, made if need be: objects are files below its directory."""
        path = self._buckets / name
        path.mkdir(exist_ok=True)
        return path

    def settings(self, bucket: str = "lighterage", **more: object) -> dict[str, Any]:
        """The settings of a proxy that keeps its blobs there; `more` is of `blobs`."""
        self.bucket(bucket)
        s3 = {
            "bucket": bucket,
            "endpoint": self.endpoint,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
        }
        return {"store": "s3", "s3": s3, **more}

    def requests(self) -> list[str]:
        """What it was asked for, such as `s3_GetObject`, in order."""
        if not self._log.exists():
            return []
        words = (line.split() for line in self._log.read_text().splitlines())
        return [word for line in words for word in line if word.startswith("s3_")]


def objects(bucket: Path) -> dict[str, int]:
    """What is in a bucket, parts of unfinished uploads included: names and sizes in bytes."""
    found = {}
    for folder, _, names in os.walk(bucket):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # a part whose upload has just ended
                found[str(path.relative_to(bucket))] = path.stat().st_size
    return found
