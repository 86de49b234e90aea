"""The demo's steps, each with what it shows."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from proxy.demo.client import pull
from proxy.demo.image import make_image
from proxy.demo.registry import NAME, TAG, DemoRegistry
from proxy.demo.running import DemoProxy
from proxy.oci.mediatype import form_of

if TYPE_CHECKING:
    from proxy.demo.client import Pulled

# So long after its last check a tag is stale, in seconds: see `running`.
_STALE_AFTER: Final = 1.2


def demonstrate() -> None:
    """Run every step; at a terminal, wait for Enter before everything is stopped."""
    image = make_image()
    with (
        tempfile.TemporaryDirectory(prefix="lighterage-demo-") as directory,
        DemoRegistry(image) as registry,
        DemoProxy(Path(directory), registry.url) as proxy,
    ):
        _say("Everything runs on 127.0.0.1, in a temporary directory, and ends with this demo.")
        _step(1, f"a registry with one image, {NAME}:{TAG}, at {registry.url}")
        _step(2, f"Lighterage in front of it, at {proxy.url}")
        cold, asked = pull(proxy.url, "containerd"), registry.requests
        _step(3, "a cold pull, as containerd")
        _show(cold, asked)
        warm, asked = pull(proxy.url, "containerd"), registry.requests - asked
        _step(4, "the same again")
        _show(warm, asked)
        _step(5, "the same image for docker 1.9, which reads only schema 1")
        before = registry.requests
        legacy = pull(proxy.url, "docker-1.9")
        _show(legacy, registry.requests - before)
        registry.stop()
        time.sleep(_STALE_AFTER)
        _step(6, "the registry is stopped, and everything is still served")
        for client in ("containerd", "docker-1.9"):
            _show(pull(proxy.url, client), None)
        _step(7, f"lighterage explain {NAME}:{TAG} --as docker-1.9")
        for line in proxy.run("explain", f"{NAME}:{TAG}", "--as", "docker-1.9").splitlines():
            _say(f"   {line}")
        _step(8, f"what an operator sees: http://{proxy.admin}/")
        for line in proxy.run("status").splitlines():
            _say(f"   {line}")
        if sys.stdin.isatty():
            input("\nPress Enter to stop. ")
    _say("\nThe demo has ended; nothing of it is left.")


def _show(pulled: Pulled, asked: int | None) -> None:
    upstream = "" if asked is None else f"; {asked or 'no'} requests to the registry"
    _say(
        f"   {form_of(pulled.media_type)} {pulled.digest[:19]}, {pulled.size} bytes in "
        f"{pulled.seconds * 1000:.0f} ms{upstream}"
    )
    _say(f"   Cache-Status: {pulled.cache}")


def _step(number: int, text: str) -> None:
    _say(f"\n{number}. {text}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _stop(_signal: int, _frame: object) -> NoReturn:
    """End as after Ctrl-C, so that nothing stays."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    try:
        demonstrate()
    except KeyboardInterrupt:
        sys.exit(130)
