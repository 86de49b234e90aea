"""`lighterage warm`: images are in the cache before a client comes, fetched once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from proxy.oci.mediatype import MediaType
from tests.kit import images
from tests.kit.access import htpasswd
from tests.kit.certificates import pem
from tests.kit.processes import Proxy
from tests.kit.raw_http import ask
from tests.kit.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kit.images import Content

pytestmark = pytest.mark.e2e

LIGHTERAGE: Final = Path(sys.executable).with_name("lighterage")
EVERYTHING: Final = [("Accept", ", ".join(MediaType))]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as registry:
        yield registry


def warm(proxy: Proxy, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LIGHTERAGE, "warm", f"--registry={proxy.host}", *arguments],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def cargo(number: int) -> Content:
    files = {f"srv/{number}": images.noise(f"warm {number}", 96 * 1024)}
    return images.image(images.OCI, [images.layer(files)])


def pull(proxy: Proxy, repository: str, reference: str, content: Content) -> None:
    """As a client does: the manifest, whatever it names, and the bytes that these name."""
    url = f"{proxy.url}/v2/{repository}"
    answer = ask(f"{url}/manifests/{reference}", headers=EVERYTHING)
    assert (answer.status, answer.body) == (200, content.manifest)
    for child in content.children:
        pull(proxy, repository, child.digest, child)
    for digest, blob in content.blobs.items():
        answer = ask(f"{url}/blobs/{digest}")
        assert (answer.status, answer.body) == (200, blob)


def test_a_run_that_is_killed_and_repeated_fetches_nothing_twice(
    registry: Registry, tmp_path: Path
) -> None:
    """Afterwards every image can be pulled with the registry stopped."""
    contents = {f"harbour/cargo-{number}": cargo(number) for number in range(50)}
    for repository, content in contents.items():
        registry.push(repository, "1", content)
    listed = tmp_path / "images"
    listed.write_text("# of every night\n\n" + "".join(f"{name}:1\n" for name in contents))
    registry.forget()
    with Proxy(
        tmp_path / "proxy", upstream=registry.url, settings={"tags": {"ttl": "1h"}}
    ) as proxy:
        command: list[str | Path] = [
            LIGHTERAGE,
            "warm",
            f"--registry={proxy.host}",
            "--file",
            listed,
            "--jobs=3",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout is not None
            for _ in range(10):
                assert "fetched" in killed.stdout.readline()
            killed.kill()
        before = len(gets(registry))
        assert 20 <= before < 150, "it was killed in the middle"
        done = warm(proxy, "--file", listed, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        said = json.loads(done.stdout)
        assert said["failed"] == 0
        assert said["stored_before"] > 10 * 96 * 1024
        assert said["stored_before"] + said["fetched"] == sum(
            len(blob) for content in contents.values() for blob in content.blobs.values()
        )
        counted = gets(registry)
        assert set(counted.values()) == {1}, "nothing is fetched twice"
        assert len(counted) == 50 * 3
        registry.stop()
        for repository, content in contents.items():
            pull(proxy, repository, "1", content)


def gets(registry: Registry) -> Counter[str]:
    return Counter(each.path for each in registry.requests() if each.method == "GET")


def test_every_platform_or_those_that_are_named(registry: Registry, tmp_path: Path) -> None:
    fleet = images.oci_index()
    registry.push("harbour/fleet", "1", fleet)
    registry.forget()
    with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
        one = json.loads(warm(proxy, "harbour/fleet:1", "--platform=linux/arm64", "--json").stdout)
        assert (one["images"][0]["manifests"], one["images"][0]["error"]) == (2, None)
        assert len(gets(registry)) < 2 + sum(len(child.blobs) for child in fleet.children)
        absent = warm(proxy, "harbour/fleet:1", "--platform=plan9/arm64")
        assert absent.returncode == 2
        assert "has no image for plan9/arm64; it has linux/amd64, " in absent.stdout
        all_of_it = warm(proxy, "harbour/fleet:1")
        assert all_of_it.returncode == 0, all_of_it.stdout
        assert all_of_it.stdout.endswith(" stored before\n")
        registry.stop()
        pull(proxy, "harbour/fleet", "1", fleet)


def test_a_conversion_is_made_for_the_client_that_is_named(
    registry: Registry, tmp_path: Path
) -> None:
    registry.push("harbour/ship", "1", images.oci())
    with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
        said = json.loads(warm(proxy, "harbour/ship:1", "--as=docker-1.9", "--json").stdout)
        registry.stop()
        legacy = ask(f"{proxy.url}/v2/harbour/ship/manifests/1")
        assert legacy.status == 200
        assert legacy.headers["Docker-Content-Digest"] == said["images"][0]["digest"]
        for layer in json.loads(legacy.body)["fsLayers"]:
            assert ask(f"{proxy.url}/v2/harbour/ship/blobs/{layer['blobSum']}").status == 200


def test_a_login_and_the_proxy_s_own_certificate(registry: Registry, tmp_path: Path) -> None:
    registry.push("team/ship", "1", images.oci())
    password = tmp_path / "password"
    password.write_text("harbour\n")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    for file, content in zip((key, certificate), pem("registry.example"), strict=True):
        file.write_bytes(content)
    settings = {
        "access": {
            "mode": "basic",
            "htpasswd_file": str(htpasswd(tmp_path / "users", {"ci": "harbour"})),
        },
        "tls": {"certificate_file": str(certificate), "key_file": str(key)},
    }
    with Proxy(tmp_path / "proxy", upstream=registry.url, settings=settings) as proxy:
        config = f"--config={tmp_path / 'proxy' / 'lighterage.yaml'}"
        refused = warm(proxy, "team/ship:1", config)
        assert (refused.returncode, refused.stderr) == (1, "")
        assert "team/ship:1: failed: " in refused.stdout
        done = warm(proxy, "team/ship:1", config, "--user=ci", f"--password-file={password}")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_what_does_not_exist_is_said_and_the_rest_is_warmed(
    registry: Registry, tmp_path: Path
) -> None:
    registry.push("harbour/ship", "1", images.oci())
    with Proxy(tmp_path / "proxy", upstream=registry.url) as proxy:
        done = warm(proxy, "harbour/none:1", "harbour/ship:1")
        assert done.returncode == 2
        assert " has no manifest harbour/none:1\n" in done.stdout
        assert "1 of 2 images are in the cache" in done.stdout
        registry.stop()
        assert warm(proxy, "harbour/later:1").returncode == 1, "that may exist"
    nobody = warm(proxy, "harbour/ship:1")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith(f"lighterage: no proxy answers at {proxy.url}: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "name an image, or a --file that lists some"),
        (("UPPER:1",), "'UPPER:1': 'UPPER' is not a valid repository name"),
        (("a:1", "--platform=linux"), "--platform: 'linux' is not os/architecture"),
        (("a:1", "--password-file=/etc/hostname"), "--password-file is of no use without --user"),
        (("--file=/none",), "--file: there is no file /none"),
        (("a:1", "--jobs=0"), "--jobs: it must be at least 1, and at most 32"),
    ],
)
def test_a_command_line_that_is_wrong(arguments: tuple[str, ...], sentence: str) -> None:
    done = subprocess.run(
        [LIGHTERAGE, "warm", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"lighterage: {sentence}")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_kept_is_not_evicted(registry: Registry, tmp_path: Path, workers: int) -> None:
    """Until somebody says so; and it leaves room for what clients pull."""
    for number in range(24):
        registry.push(f"harbour/cargo-{number}", "1", cargo(number))
    # Room for about ten images.
    settings = {"blobs": {"max_size": "1MiB"}, "tags": {"ttl": "1h"}}
    with Proxy(
        tmp_path / "proxy", upstream=registry.url, workers=workers, settings=settings
    ) as proxy:
        admin = f"--admin=127.0.0.1:{proxy.admin_port}"

        def kept(*arguments: str) -> subprocess.CompletedProcess[str]:
            return run("kept", admin, *arguments)

        kept_ones = [f"harbour/cargo-{number}:1" for number in range(3)]
        done = warm(proxy, *kept_ones, admin, "--keep", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(image["kept"] for image in json.loads(done.stdout)["images"])
        others = [f"harbour/cargo-{number}:1" for number in range(3, 24)]
        assert warm(proxy, *others, "--jobs=1").returncode == 0
        listed = json.loads(kept("--json").stdout)
        assert [image["reference"] for image in listed["images"]] == ["1", "1", "1"]
        assert sum(image["size"] for image in listed["images"]) < listed["limit"] == 3 * 2**18
        assert kept().stdout.endswith("3 images are kept; they may take 768.0 KiB\n")
        # As it is listed: with the name of its upstream, which has a port.
        forgotten = kept(f"--forget={listed['images'][2]['repository']}:1")
        assert forgotten.stdout.endswith("/harbour/cargo-2:1 is kept no longer\n")
        absent = kept(f"--forget={kept_ones[2]}")
        assert (absent.returncode, absent.stdout) == (2, "")
        assert warm(proxy, *others, "--jobs=1").returncode == 0
        registry.stop()
        for number in range(2):
            pull(proxy, f"harbour/cargo-{number}", "1", cargo(number))
        gone = max(cargo(2).blobs, key=lambda digest: len(cargo(2).blobs[digest]))
        assert ask(f"{proxy.url}/v2/harbour/cargo-2/blobs/{gone}").status == 502


def test_no_more_is_kept_than_leaves_room_for_others(registry: Registry, tmp_path: Path) -> None:
    for number in range(9):
        registry.push(f"harbour/cargo-{number}", "1", cargo(number))
    settings = {"blobs": {"max_size": "1MiB"}, "tags": {"ttl": "1h"}}
    with Proxy(tmp_path / "proxy", upstream=registry.url, settings=settings) as proxy:
        admin = f"--admin=127.0.0.1:{proxy.admin_port}"
        names = [f"harbour/cargo-{number}:1" for number in range(9)]
        done = warm(proxy, *names, admin, "--keep", "--jobs=1")
        assert done.returncode == 1
        assert "it is in the cache, but not kept: kept images may take 786432 bytes" in done.stdout
        again = warm(proxy, names[0], admin, "--keep")
        assert again.returncode == 0, "what is kept twice counts once"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LIGHTERAGE, *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
