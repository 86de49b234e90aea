"""Who may read is decided by each replica, for what all of them have."""

from __future__ import annotations

import asyncio
import json
import secrets
from itertools import product
from typing import TYPE_CHECKING

from proxy.oci.mediatype import MediaType
from proxy.oci.reference import Digest
from tests.kit import images
from tests.kit.access import basic, htpasswd
from tests.kit.proxy import push
from tests.kit.raw_http import ask
from tests.kit.replicas import Replicas
from tests.kit.scripted_upstream import ScriptedUpstream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kit.raw_http import Answer

SECRET = "team/app"
OPEN = "open/claims"
IMAGE = images.docker("of the team")
CI, MATE = basic("ci", "s3cret"), basic("mate", "capstan")


async def test_no_replica_gives_what_another_one_would_not(tmp_path: Path) -> None:
    """Whichever replica has the image, and whichever owns its digests."""
    (tmp_path / "token-key").write_text(secrets.token_hex(32))
    access = {
        "htpasswd_file": str(htpasswd(tmp_path / "users", {"ci": "s3cret", "mate": "capstan"})),
        "token_key_file": str(tmp_path / "token-key"),
        "rules": [{"match": "docker.io/team/*", "mode": "basic", "users": ["ci"]}],
    }
    async with ScriptedUpstream() as upstream:
        push(upstream, SECRET, "1", IMAGE)
        # It names all that the other one has, and its upstream has nothing of it there.
        upstream.add_manifest(OPEN, "1", IMAGE.manifest, IMAGE.media_type)
        upstreams = {"docker.io": {"url": upstream.url, "default": True}}
        with Replicas(
            tmp_path / "replicas", 2, upstreams=upstreams, settings={"access": access}
        ) as replicas:

            async def get(number: int, path: str, authorization: str = "") -> Answer:
                headers = [("Accept", str(MediaType.V2S2))]
                if authorization:
                    headers.append(("Authorization", authorization))
                url = f"{replicas.running[number].url}{path}"
                return await asyncio.to_thread(ask, url, headers=headers)

            answer = await get(0, "/token?scope=repository:team/app:pull", CI)
            token = f"Bearer {json.loads(answer.body)['token']}"
            for digest, blob in IMAGE.blobs.items():
                answer = await get(0, f"/v2/{SECRET}/blobs/{digest}", token)
                assert answer.body == blob
            paths = ["manifests/1", f"manifests/{IMAGE.digest}"]
            paths += [f"blobs/{Digest(digest)}" for digest in IMAGE.blobs]
            for number, path in product(range(2), paths):
                assert (await get(number, f"/v2/{SECRET}/{path}", token)).status == 200
                assert (await get(number, f"/v2/{SECRET}/{path}")).status == 401
                assert (await get(number, f"/v2/{SECRET}/{path}", MATE)).status == 403
            for number in range(2):
                assert (await get(number, f"/v2/{OPEN}/manifests/1")).status == 200
                for digest in IMAGE.blobs:
                    assert (await get(number, f"/v2/{OPEN}/blobs/{digest}")).status == 404
