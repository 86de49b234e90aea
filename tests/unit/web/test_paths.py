"""What a path means; `tests/integration/test_bad_requests.py` sends the bad ones."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.catalog.routing import Routes
from proxy.errors import NameInvalid, PaginationInvalid, RegistryError, Unsupported
from proxy.oci.reference import Digest, Repository, Tag
from proxy.web.paths import (
    BlobTarget,
    ManifestTarget,
    Ping,
    ReferrersTarget,
    RetiredTarget,
    TagsTarget,
    Target,
    parse_target,
)

DIGEST: Final = Digest.of(b"content")
ROUTES: Final = Routes({"docker.io": "docker.io", "quay.io": "quay.io"}, "docker.io")


def parse(path: str, host: str = "localhost:5000") -> Target:
    return parse_target(path, host, ROUTES)


def cargo(name: str = "org/cargo", registry: str = "docker.io") -> Repository:
    return Repository(registry, name, name)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/", Ping()),
        ("/v2", Ping()),
        ("/v2/?x=y", Ping()),
        # The v1 API, which old dockers ask after a refusal.
        ("/v1/repositories/org/cargo/images", RetiredTarget(cargo())),
        (
            "/v1/repositories/quay.io/a/b/images",
            RetiredTarget(Repository("quay.io", "a/b", "quay.io/a/b")),
        ),
        ("/v1/repositories/a/../b/images", RetiredTarget(None)),
        ("/v1/repositories/images", RetiredTarget(None)),
        ("/v1/_ping", RetiredTarget(None)),
        ("/v2/org/cargo/manifests/1", ManifestTarget(cargo(), Tag("1"), None)),
        (f"/v2/org/cargo/manifests/{DIGEST}", ManifestTarget(cargo(), DIGEST, None)),
        (
            f"/v2/org/cargo/manifests/{DIGEST.replace(':', '%3A')}",
            ManifestTarget(cargo(), DIGEST, None),
        ),
        (f"/v2/org/cargo/blobs/{DIGEST}", BlobTarget(cargo(), DIGEST, None)),
        (
            "/v2/org/cargo/manifests/1?ns=quay.io",
            ManifestTarget(cargo(registry="quay.io"), Tag("1"), "quay.io"),
        ),
        ("/v2/org/cargo/manifests/1?ns=", ManifestTarget(cargo(), Tag("1"), None)),
        # A name may have parts that are called like what follows it: the last one counts.
        (
            "/v2/org/blobs/manifests/manifests/1",
            ManifestTarget(cargo("org/blobs/manifests"), Tag("1"), None),
        ),
        (f"/v2/manifests/blobs/{DIGEST}", BlobTarget(cargo("manifests"), DIGEST, None)),
        ("/v2/a/tags/manifests/list", ManifestTarget(cargo("a/tags"), Tag("list"), None)),
        (
            "/v2/org/cargo/tags/list?n=5&last=1.0",
            TagsTarget(cargo(), "last=1.0&n=5", "/v2/org/cargo/tags/list", None),
        ),
        (
            f"/v2/org/cargo/referrers/{DIGEST}?artifactType=a%2Fb",
            ReferrersTarget(
                cargo(),
                DIGEST,
                "a/b",
                "artifactType=a%2Fb",
                f"/v2/org/cargo/referrers/{DIGEST}",
                None,
            ),
        ),
    ],
)
def test_what_a_path_means(path: str, expected: Target) -> None:
    assert parse(path) == expected


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_the_absolute_form_means_the_same(scheme: str) -> None:
    """And its host takes the place of the header's (RFC 9112, 3.2.2)."""
    assert parse(f"{scheme}://localhost:5000/v2/") == Ping()
    absolute = parse(f"{scheme}://quay.io/v2/org/cargo/manifests/1", host="docker.io")
    assert absolute == ManifestTarget(cargo(registry="quay.io"), Tag("1"), None)


@pytest.mark.parametrize(
    "path", ["/v2/_catalog", "/v2/_catalog/", "/v2/_catalog?n=1", "/v2/a/blobs/uploads/"]
)
def test_what_a_proxy_does_not_do(path: str) -> None:
    with pytest.raises(Unsupported):
        parse(path)


@pytest.mark.parametrize("n", ["-1", "x", "1e3", "\u0661", "9" * 10, "%00"])
def test_a_page_size_is_a_number(n: str) -> None:
    with pytest.raises(PaginationInvalid):
        parse(f"/v2/org/cargo/tags/list?n={n}")


def test_an_error_quotes_only_so_much() -> None:
    with pytest.raises(NameInvalid) as raised:
        parse(f"/v2/{'a' * 100_000}/manifests/1")
    assert len(raised.value.message) < 250


@given(st.text(max_size=80), st.text(max_size=30))
@example("/v2/a/manifests/%00", "")
@example("http://[::1", "[")
@example("://", "")
@example("/v2/a/tags/list?n=1&n=%ff", ":")
def test_any_path_is_a_target_or_a_domain_error(path: str, host: str) -> None:
    """Whatever comes is a target of a valid repository, or an error of the domain."""
    for prefix in ("", "/v2/", "/v2/org/cargo/", "/v2/org/cargo/manifests/"):
        try:
            target = parse(prefix + path, host)
        except RegistryError:
            continue
        if not isinstance(target, Ping) and target.repository is not None:
            name = target.repository.name
            assert name
            assert not {"", ".", ".."} & set(name.split("/"))
