"""Platforms: as people write them, as descriptors state them, and which serves which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.oci.platform import Platform

words = st.text(st.characters(exclude_characters="/"), min_size=1)


@given(os=words, architecture=words, variant=st.just("") | words)
def test_a_platform_is_read_as_it_is_written(os: str, architecture: str, variant: str) -> None:
    """With a variant, or without."""
    platform = Platform(os, architecture, variant)
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "linux", "linux/", "/amd64", "//", "linux//v8", "linux/amd64/"),
        *("linux/arm/v7/x", "linux/amd64//", "linux/arm/v7/"),
    ],
)
def test_what_is_no_platform(text: str) -> None:
    """Half a platform would serve nobody, and more than one is a slip."""
    with pytest.raises(ValueError, match="is not os/architecture"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("stated", "platform"),
    [
        ({"os": "linux", "architecture": "amd64"}, Platform("linux", "amd64")),
        ({"os": "linux", "architecture": "arm", "variant": "v6"}, Platform("linux", "arm", "v6")),
        ({"os": "linux", "architecture": "arm", "variant": 6}, Platform("linux", "arm")),
        ({"os": "linux", "architecture": "arm", "variant": None}, Platform("linux", "arm")),
        (
            {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1", "x": []},
            Platform("windows", "amd64"),
        ),
        ({"os": "linux"}, None),
        ({"os": None, "architecture": "amd64"}, None),
        ({"os": "linux", "architecture": ["amd64"]}, None),
        ({}, None),
        ({"os": "", "architecture": ""}, None),
        (None, None),
        ("linux/amd64", None),
        (["linux", "amd64"], None),
    ],
)
def test_the_platform_of_a_descriptor(stated: object, platform: Platform | None) -> None:
    """Or none, where it states none that can be read."""
    assert Platform.read(stated) == platform


@pytest.mark.parametrize(
    ("offered", "wanted", "serves"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", True),
        ("linux/arm64", "linux/amd64", False),
        ("windows/amd64", "linux/amd64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/v9", "linux/arm64/v8", False),
        ("linux/arm/v6", "linux/arm", True),
        ("linux/arm", "linux/arm/v7", True),
        ("linux/arm", "linux/arm/v6", False),
        ("linux/arm/v5", "linux/arm/v7", True),
        ("linux/arm/v8", "linux/arm/v7", False),
        ("linux/arm64/8", "linux/arm64/v8", True),
        ("linux/arm64/v8.1", "linux/arm64/v8", False),
        ("linux/aarch64", "linux/arm64", True),
        ("linux/riscv64", "linux/riscv64", True),
        ("linux/ppc64le/power9", "linux/ppc64le/power8", False),
        ("linux/ppc64le/power9", "linux/ppc64le", True),
        ("unknown/unknown", "linux/amd64", False),
    ],
)
def test_which_serves_which(offered: str, wanted: str, *, serves: bool) -> None:
    """A CPU runs lower variants; without one, amd64 is v1, arm64 is v8 and arm is v7."""
    assert Platform.parse(offered).serves(Platform.parse(wanted)) is serves


@pytest.mark.parametrize(
    ("wanted", "best_first"),
    [
        ("linux/amd64", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/strange"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64/v1"]),
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm", ["linux/arm", "linux/arm/v6", "linux/arm/v5", "linux/arm/v8"]),
        ("linux/arm64", ["linux/arm64", "linux/arm64/v8.1", "linux/arm64/v9"]),
        ("linux/arm64/v9", ["linux/arm64/v9", "linux/arm64/v8.2", "linux/arm64"]),
        ("linux/s390x", ["linux/s390x", "linux/s390x/z14"]),
    ],
)
def test_the_order_of_variants(wanted: str, best_first: list[str]) -> None:
    """containerd's; the best is at no distance."""
    distances = [Platform.parse(text).distance(Platform.parse(wanted)) for text in best_first]
    known = [distance for distance in distances if distance is not None]
    assert len(known) == len(best_first)
    assert known == sorted(set(known))
    assert known[0] == 0
