"""Paths: every key its own, none outside, and no file where another key needs a directory."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from proxy.oci.reference import Digest
from proxy.stores.disk.layout import Layout

LAYOUT = Layout(Path("/data"))
DIGEST = Digest("sha256:" + "0123456789abcdef" * 4)

# Few letters, so that names meet.
_PART = st.from_regex(r"[ab_0][ab._0-]{0,3}", fullmatch=True)
_FOLDER = st.one_of(_PART, _PART.map(lambda part: f"{part}:50"), st.just("01"))
_KEY = st.builds(
    lambda kind, folders, name, tag: f"{kind}:{''.join(f + '/' for f in folders)}{name}:{tag}",
    st.sampled_from(["tag", "link"]),
    st.one_of(st.lists(_FOLDER, max_size=3), st.sampled_from([[], ["01"]])),
    st.one_of(st.just("sha256"), _PART, st.just("a" * 300), st.just("a" * 301)),
    st.one_of(_PART, st.just(DIGEST.hex)),
)


def test_where_things_are() -> None:
    assert LAYOUT.blob(DIGEST) == Path(f"/data/blobs/sha256/01/{DIGEST.hex}")
    assert LAYOUT.spool(DIGEST) == Path(f"/data/spool/{DIGEST}")
    assert LAYOUT.announcement(DIGEST) == Path(f"/data/spool/{DIGEST}.meta")
    assert LAYOUT.record(f"manifest:{DIGEST}") == Path(f"/data/records/manifest/+01/{DIGEST}")
    assert LAYOUT.record("tag:localhost:5000/a/b:latest") == Path(
        "/data/records/tag/localhost+5000/a/b:latest"
    )
    assert LAYOUT.record(f"link:docker.io/library/alpine/{DIGEST}") == Path(
        f"/data/records/link/docker.io/library/alpine/{DIGEST}"
    )


@given(st.lists(_KEY, unique=True, min_size=2))
def test_different_keys_have_different_files_that_can_all_exist(keys: list[str]) -> None:
    paths = sorted(LAYOUT.record(key) for key in keys)
    assert len(set(paths)) == len(keys)
    assert not any(path.is_relative_to(other) for other, path in pairwise(paths))


@given(st.one_of(_KEY, st.text(), st.text(alphabet="tag:/.ab\0~+", max_size=12)))
def test_no_key_leads_outside_or_to_a_name_that_is_too_long(key: str) -> None:
    try:
        path = LAYOUT.record(key)
    except ValueError:
        return
    assert path.is_relative_to("/data/records/")
    assert len(path.parts) > 4
    assert not any(part in {"", ".", ".."} or len(part.encode()) > 255 for part in path.parts)
