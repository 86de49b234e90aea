"""Real clients, each with a store of its own, and what they make of an image that they pull.

A pull answers with what the client unpacked, so that two ways to one image can be compared. The
image is removed again: the next pull finds nothing in the client's own store.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests import tools
from tests.kit.images import digest
from tests.kit.processes import Program
from tests.kit.rootfs import exported, tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TIMEOUT: Final = 120.0
_PLATFORM: Final = "linux/amd64"
_CAPABILITIES: Final = 'capabilities = ["pull", "resolve"]\n'
# Whatever is asked outside the loopback address fails at once: no test reaches a network.
_OFFLINE: Final = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


class ClientError(Exception):
    """The client said no; the message is what it wrote to standard error."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image as a client has it: the manifest's digest, and its files as `rootfs` tells them."""

    digest: str
    files: Mapping[str, str]


def run(command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> bytes:
    """The standard output of `command`; ClientError if its exit status is not 0."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **_OFFLINE, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise ClientError(done.stderr.decode(errors="replace"))
    return done.stdout


def docker_config(registry: str, login: str) -> str:
    """The file that has one login, or none."""
    encoded = base64.b64encode(login.encode()).decode()
    return json.dumps({"auths": {registry: {"auth": encoded}} if login else {}})


def skopeo_copy(
    reference: str,
    target: Path,
    *,
    form: str = "dir",
    everything: bool = False,
    credentials: str = "",
    options: Sequence[str] = (),
    registries: Path | None = None,
) -> dict[str, str]:
    """Copy `docker://REFERENCE` to `target` as a `dir` or `oci` layout; each file's digest.

    `everything` copies all platforms of an index, and not only ours; `credentials` are
    `USERNAME:PASSWORD`, `options` further ones, and `registries` is a registries.conf.
    """
    command: list[str | Path] = [tools.require("skopeo"), "--insecure-policy"]
    if registries is not None:
        command.append(f"--registries-conf={registries}")
    command += ["copy", "--quiet"]
    if everything:
        command.append("--all")
    if credentials:
        command.append(f"--src-creds={credentials}")
    destination = f"{form}:{target}" + (":copied" if form == "oci" else "")
    source = ("--src-tls-verify=false", *options, f"docker://{reference}")
    run([*command, *source, destination])
    return {
        str(path.relative_to(target)): digest(path.read_bytes())
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }


def skopeo_convert(source: str, target: str, *, form: str) -> None:
    """Have skopeo make `form`, such as `v2s2`, of an image; both have a transport's name."""
    command: list[str | Path] = [tools.require("skopeo"), "--insecure-policy", "copy", "--quiet"]
    tls = ("--src-tls-verify=false", "--dest-tls-verify=false")
    run([*command, *tls, f"--format={form}", source, target])


class Podman:
    """podman with its store in `directory`, as plain files."""

    def __init__(self, directory: Path, *, registries: str = "") -> None:
        """`directory` must be short (`short_path`); `registries` is a registries.conf's text."""
        tools.require_root("podman")
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "registries.conf"
        configuration.write_text(registries)
        self._authentication = directory / "auth.json"
        self._authentication.write_text("{}")
        self._environment = {
            "CONTAINERS_REGISTRIES_CONF": str(configuration),
            "REGISTRY_AUTH_FILE": str(self._authentication),
        }
        self._podman: list[str | Path] = [
            tools.require("podman"),
            f"--root={directory / 'root'}",
            f"--runroot={directory / 'run'}",
            f"--tmpdir={directory / 'tmp'}",
            "--storage-driver=vfs",
            "--events-backend=none",
            "--cgroup-manager=cgroupfs",
        ]

    def pull(self, reference: str, *, login: str = "", identity: Path | None = None) -> Pulled:
        """Pull, unpack, look, and remove; `login` is USERNAME:PASSWORD.

        `identity` is a directory with `client.cert` and `client.key`.
        """
        given = [f"--creds={login}"] if login else []
        if identity is not None:
            given.append(f"--cert-dir={identity}")
        self._run("pull", "--quiet", "--tls-verify=false", *given, reference)
        try:
            inspected = json.loads(self._run("image", "inspect", reference))
            mounted = self._run("image", "mount", reference).decode().strip()
            return Pulled(inspected[0]["Digest"], tree(Path(mounted)))
        finally:
            self._run("rmi", "--force", reference)

    def login(self, host: str, login: str) -> None:
        """Log in; ClientError if the registry does not take it."""
        username, _, password = login.partition(":")
        self._run("login", "--tls-verify=false", f"-u={username}", f"-p={password}", host)

    def keep_login(self, registry: str, login: str) -> None:
        """Keep a login, or none, as `podman login` would, without asking the registry."""
        self._authentication.write_text(docker_config(registry, login))

    def _run(self, *arguments: str) -> bytes:
        return run([*self._podman, *arguments], environment=self._environment)


class Crane:
    """crane of go-containerregistry, with its logins in `directory`."""

    def __init__(self, directory: Path) -> None:
        """Trusts no certificate but the system's until it is told to."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._environment = {"DOCKER_CONFIG": str(directory)}

    def trust(self, certificate: Path) -> None:
        """Trust the proxy's certificate."""
        self._environment["SSL_CERT_FILE"] = str(certificate)

    def pull(self, reference: str, *, login: str = "") -> dict[str, str]:
        """Pull the image into a layout that is not kept; the digests of what it has."""
        if login:
            username, _, password = login.partition(":")
            host = reference.partition("/")[0]
            self._run("auth", "login", host, f"--username={username}", f"--password={password}")
        try:
            with tempfile.TemporaryDirectory() as target:
                self._run("pull", "--format=oci", reference, target)
                files = sorted(Path(target, "blobs").rglob("*"))
                return {str(file): digest(file.read_bytes()) for file in files if file.is_file()}
        finally:
            (self._directory / "config.json").unlink(missing_ok=True)

    def _run(self, *arguments: str) -> bytes:
        return run([tools.require("crane"), *arguments], environment=self._environment)


class Containerd(Program):
    """containerd, pulled through by `ctr` as the kubelet would by CRI."""

    name = "containerd"

    def __init__(self, directory: Path) -> None:
        """`directory` must be short (`short_path`)."""
        tools.require_root("containerd")
        directory.mkdir(parents=True, exist_ok=True)
        self._socket = directory / "containerd.sock"
        self._ctr: list[str | Path] = [tools.require("ctr"), f"--address={self._socket}"]
        self._hosts = directory / "hosts"
        configuration = directory / "containerd.toml"
        configuration.write_text(
            f"""
            version = 2
            root = "{directory / "root"}"
            state = "{directory / "state"}"
            disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
            [grpc]
            address = "{self._socket}"
            """
        )
        command = tools.require("containerd"), f"--config={configuration}"
        super().__init__(
            command, directory=directory, listens=(self._socket,), environment=_OFFLINE
        )

    def mirror(self, registry: str, url: str, more: str = "") -> None:
        """Pull what is named `registry/...` from `url`, which is then asked with `?ns=`.

        Nothing else is asked, not even when that fails: no test reaches a network. `more` are
        further lines about it.
        """
        file = self._hosts / registry / "hosts.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'server = "{url}"\n[host."{url}"]\n{_CAPABILITIES}{more}')

    def pull(self, reference: str, *, login: str = "") -> Pulled:
        """Pull, unpack, look, and remove; `login` is USERNAME:PASSWORD."""
        hosts = [f"--hosts-dir={self._hosts}"] if self._hosts.exists() else ["--plain-http"]
        native = ("--snapshotter=native", f"--platform={_PLATFORM}")
        target = self.directory / "mounted"
        target.mkdir(exist_ok=True)
        given = [f"--user={login}"] if login else []
        self._run("images", "pull", *hosts, *native, *given, reference)
        try:
            named = self._digest_of(reference)
            self._run("images", "mount", *native, reference, str(target))
            try:
                return Pulled(named, tree(target))
            finally:
                self._run("images", "unmount", "--rm", "--snapshotter=native", str(target))
        finally:
            self._run("images", "rm", "--sync", reference)

    def _digest_of(self, reference: str) -> str:
        listing = self._run("images", "ls", f"name=={reference}").decode()
        return listing.splitlines()[1].split()[2]

    def _run(self, *arguments: str) -> bytes:
        return run([*self._ctr, *arguments])


class Docker(Program):
    """dockerd without a network, and the docker client that talks to it."""

    name = "dockerd"

    def __init__(self, directory: Path, *, mirror: str = "") -> None:
        """`mirror` is what Docker Hub's images come from. `directory` as for `Containerd`."""
        tools.require_root("dockerd")
        directory.mkdir(parents=True, exist_ok=True)
        socket = directory / "docker.sock"
        self._docker: list[str | Path] = [
            tools.require("docker"),
            f"--config={directory}",
            f"--host=unix://{socket}",
        ]
        configuration = directory / "daemon.json"
        configuration.write_text("{}")  # not the one in /etc
        command: list[str | Path] = [
            *("unshare", "--mount"),  # what it mounts goes when it does
            tools.require("dockerd"),
            f"--config-file={configuration}",
            f"--host=unix://{socket}",
            f"--data-root={directory / 'root'}",
            f"--exec-root={directory / 'exec'}",
            f"--pidfile={directory / 'pid'}",
            "--group=root",
            "--storage-driver=vfs",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ]
        if mirror:
            command.append(f"--registry-mirror={mirror}")
        super().__init__(
            command,
            directory=directory,
            listens=(socket,),
            # It starts containerd, and looks for runc.
            environment={**_OFFLINE, "PATH": tools.SEARCH_PATH},
        )

    def pull(self, reference: str, *, login: str = "") -> Pulled:
        """Pull, unpack, look, and remove; `login` is USERNAME:PASSWORD, for this pull."""
        host = reference.partition("/")[0]
        if login:
            self.login(host, login)
        try:
            self._run("pull", "--quiet", reference)
        finally:
            if login:
                self._run("logout", host)
        try:
            inspected = json.loads(self._run("image", "inspect", reference))
            named = inspected[0]["RepoDigests"][0].partition("@")[2]
            container = self._run("create", "--network=none", reference).decode().strip()
            try:
                return Pulled(named, exported(self._run("export", container)))
            finally:
                self._run("rm", container)
        finally:
            self._run("rmi", "--force", reference)

    def login(self, host: str, login: str) -> None:
        """Log in; ClientError if the registry does not take it."""
        username, _, password = login.partition(":")
        self._run("login", f"--username={username}", f"--password={password}", host)

    def keep_login(self, registry: str, login: str) -> None:
        """Keep a login, or none, as `docker login` would, without asking the registry."""
        (self.directory / "config.json").write_text(docker_config(registry, login))

    def _run(self, *arguments: str) -> bytes:
        return run([*self._docker, *arguments])
