"""Forty configs of the shapes that the builders of real images give them, written for tests."""

from __future__ import annotations

from typing import Any, Final

Config = dict[str, Any]
Entry = dict[str, Any]

_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_AT: Final = "2024-05-22T18:18:12.052034407Z"
_NOP: Final = "/bin/sh -c #(nop) "


def _docker(*steps: str, at: str = _AT) -> list[Entry]:
    """As docker's own builder writes it; what only sets something has no layer."""
    entries: list[Entry] = []
    for step in steps:
        copies = step.startswith(("ADD ", "COPY "))
        runs = step.startswith("RUN ")
        said = f"/bin/sh -c {step[4:]}" if runs else f"{_NOP}{step}" if copies else f"{_NOP} {step}"
        entries.append({"created": at, "created_by": said})
        if not copies and not runs:
            entries[-1]["empty_layer"] = True
    return entries


def _buildkit(*steps: str, at: str = _AT) -> list[Entry]:
    entries: list[Entry] = []
    for step in steps:
        layer = step.startswith(("ADD ", "COPY ", "RUN ", "WORKDIR "))
        entries.append({"created": at, "created_by": f"{step} # buildkit" if layer else step})
        entries[-1]["comment"] = "buildkit.dockerfile.v0"
        if not layer:
            entries[-1]["empty_layer"] = True
    return entries


def _config(history: list[Entry], machine: str = "amd64", **run: Any) -> Config:
    return {
        "architecture": machine,
        "config": {"Env": [_PATH], **run},
        "created": _AT,
        "history": history,
        "os": "linux",
    }


def _by_docker(config: Config, version: str = "20.10.23") -> Config:
    """With what docker's own builder wrote of the container that it had made the image of."""
    run = config["config"]
    old = {"Hostname": "", "Domainname": "", "User": "", "Tty": False, "OpenStdin": False, **run}
    command = ["/bin/sh", "-c", "#(nop) ", f"CMD {run.get('Cmd')}"]
    return config | {
        "config": old,
        "container": "4f90ffc7cd1d5f5a1a9e1a3b5e1d4f90ffc7cd1d5f5a1a9e1a3b5e1d4f90ffc7",
        "container_config": {**old, "Cmd": command},
        "docker_version": version,
    }


def _tool(count: int, created: str | None = None, **each: str) -> list[Entry]:
    """A layer for each entry, as tools write it that know no Dockerfile."""
    return [{"created": created, **each} if created else dict(each) for _ in range(count)]


_ROOT: Final = "ADD file:37a76ec18f9887751cd8473744917d08b7431fc4085097bb6a09d81b41775473 in / "
_ALPINE: Final = _docker(_ROOT, 'CMD ["/bin/sh"]')
_DEBIAN: Final[list[Entry]] = [
    {"created": _AT, "created_by": "# debian.sh --arch 'amd64' out/ 'bookworm' '@1716336000'"},
]
_NGINX: Final = _buildkit(
    "LABEL maintainer=NGINX Docker Maintainers <docker-maint@nginx.com>",
    "ENV NGINX_VERSION=1.27.0",
    "RUN /bin/sh -c set -x && groupadd --system --gid 101 nginx && useradd nginx",
    "COPY docker-entrypoint.sh / # buildkit",
    'ENTRYPOINT ["/docker-entrypoint.sh"]',
    "EXPOSE map[80/tcp:{}]",
    "STOPSIGNAL SIGQUIT",
    'CMD ["nginx" "-g" "daemon off;"]',
)
_HEALTH: Final = {
    "Test": ["CMD-SHELL", "curl -f http://localhost/ || exit 1"],
    "Interval": 30000000000,
    "Timeout": 5000000000,
    "StartPeriod": 5000000000,
    "Retries": 3,
}
_JIB: Final = _tool(3, "1970-01-01T00:00:00Z", author="Jib", created_by="jib-maven-plugin:3.4.2")
_KO: Final = {"author": "ko", "created_by": "ko build ko://example.org/cmd", "comment": "go build"}
_BUILDAH: Final[list[Entry]] = [
    {"created": _AT, "created_by": f"{_NOP}ADD dir:8a91cbcd in / ", "comment": "FROM scratch"},
    {"created": _AT, "created_by": "/bin/sh -c dnf -y install httpd"},
    {"created": _AT, "created_by": f"{_NOP}CMD httpd", "empty_layer": True},
]
_WINDOWS: Final[list[Entry]] = [
    {"created": _AT, "created_by": "Apply image 10.0.20348.2461"},
    {"created": _AT, "created_by": "Install update 10.0.20348.2527"},
    {"created": _AT, "created_by": "cmd /S /C powershell -Command $ErrorActionPreference = 'Stop'"},
]

CONFIGS: Final[dict[str, Config]] = {
    "alpine": _by_docker(_config(_ALPINE, Cmd=["/bin/sh"], Entrypoint=None)),
    "alpine-arm64": _config(_ALPINE, "arm64", Cmd=["/bin/sh"]) | {"variant": "v8"},
    "alpine-armv7": _config(_ALPINE, "arm", Cmd=["/bin/sh"]) | {"variant": "v7"},
    "busybox": _config(
        [{"created": _AT, "created_by": "BusyBox 1.36.1 (glibc), Debian 12"}], Cmd=["sh"]
    ),
    "debian": _config(_DEBIAN, Cmd=["bash"]),
    "debian-of-docker": _by_docker(_config(_docker(_ROOT, 'CMD ["bash"]'), Cmd=["bash"]), "18.9"),
    "ubuntu": _by_docker(
        _config(
            _docker("ARG RELEASE", "ARG LAUNCHPAD_BUILD_ARCH", "LABEL version=24.04", _ROOT),
            Labels={"org.opencontainers.image.version": "24.04"},
        )
    ),
    "nginx": _config(
        _DEBIAN + _NGINX,
        Entrypoint=["/docker-entrypoint.sh"],
        Cmd=["nginx", "-g", "daemon off;"],
        ExposedPorts={"80/tcp": {}},
        StopSignal="SIGQUIT",
    ),
    "redis": _config(
        _DEBIAN + _buildkit("RUN set -eux; gosu --version", "VOLUME [/data]", "WORKDIR /data"),
        Volumes={"/data": {}},
        WorkingDir="/data",
        ExposedPorts={"6379/tcp": {}},
    ),
    "postgres": _config(
        _DEBIAN
        + _buildkit("ENV PGDATA=/var/lib/postgresql/data", "STOPSIGNAL SIGINT", "RUN a & b"),
        StopSignal="SIGINT",
        Volumes={"/var/lib/postgresql/data": {}},
    ),
    "golang": _config(
        _DEBIAN + _buildkit("COPY /usr/local/go/ /usr/local/go/", "ENV GOTOOLCHAIN=local"),
        WorkingDir="/go",
    ),
    "node-onbuild": _by_docker(
        _config(
            _docker(_ROOT, 'ONBUILD COPY . "/usr/src/app"', "ONBUILD RUN npm install"),
            OnBuild=['COPY . "/usr/src/app"', "RUN npm install"],
        )
    ),
    "distroless-by-bazel": _config(
        _tool(2, "1970-01-01T00:00:00Z", author="Bazel", created_by="bazel build ..."), User="0"
    ),
    "distroless-by-rules-oci": _config(_tool(4, created_by="bazel build //common:rootfs")),
    "bazel-without-created": {
        name: value
        for name, value in _config(_tool(2, created_by="bazel")).items()
        if name != "created"
    },
    "ko": _config(_tool(1, "2024-05-22T18:18:12Z", **_KO), Entrypoint=["/ko-app/cmd"]),
    "ko-at-the-epoch": _config(_tool(3, "1970-01-01T00:00:00Z", **_KO)),
    "jib": _config(
        _JIB, Entrypoint=["java", "-cp", "@/app/jib-classpath-file", "com.example.Main"]
    ),
    "jib-on-temurin": _config(_DEBIAN + _buildkit("ENV JAVA_HOME=/opt/java/openjdk") + _JIB),
    "buildpacks": _config(
        _tool(5, "1980-01-01T00:00:01Z"), Labels={"io.buildpacks.lifecycle.metadata": '{"a":"<b>"}'}
    )
    | {"created": "1980-01-01T00:00:01Z"},
    "buildpacks-with-words": _config(
        _tool(2, "1980-01-01T00:00:01Z", created_by="Layer: 'paketo-buildpacks/go-build:targets'")
    ),
    "kaniko": _config(
        _tool(2, "0001-01-01T00:00:00Z", author="kaniko", created_by="COPY . /") + _tool(1),
        Entrypoint=["/app"],
    )
    | {"author": "kaniko"},
    "buildah": _config(_BUILDAH, Labels={"io.buildah.version": "1.35.4"}),
    "buildah-squashed": _config([_BUILDAH[0]]),
    "podman-commit": _config([*_BUILDAH, {"created": _AT, "comment": "committed by hand"}]),
    "nix": _config(_tool(3, comment="store paths: ['/nix/store/0c7c96gik-glibc-2.39-31']"))
    | {"created": "1970-01-01T00:00:01+00:00"},
    "windows": _config(_WINDOWS, Shell=["powershell", "-Command"], ArgsEscaped=True)
    | {"os": "windows", "os.version": "10.0.20348.2527"},
    "with-a-health-check": _config(_ALPINE + _buildkit("HEALTHCHECK &{[]}"), Healthcheck=_HEALTH),
    "with-no-health-check": _config(_ALPINE, Healthcheck={"Test": ["NONE"]}),
    "with-a-shell": _config(_ALPINE + _buildkit("SHELL [/bin/bash -c]"), Shell=["/bin/bash", "-c"]),
    "with-many-volumes": _config(_ALPINE, Volumes={f"/volume/{name}": {} for name in "cab"}),
    "with-many-labels": _config(
        _ALPINE, Labels={f"org.example.{n}": f"text <{n}> & 'more' \u2028 ü 漢" for n in range(60)}
    ),
    "with-nothing-set": {**_config(_ALPINE), "config": {}},
    "with-nulls": _config(
        _ALPINE, Cmd=None, Entrypoint=None, Volumes=None, Labels=None, OnBuild=None
    ),
    "without-a-config": {
        name: value for name, value in _config(_ALPINE).items() if name != "config"
    },
    "mostly-empty-steps": _config(
        _docker("ARG a", "ENV b=c", _ROOT, "LABEL d=e", "USER f", "EXPOSE 80", "WORKDIR /g")
    ),
    "empty-steps-only-before": _config(_docker("ARG a", "ENV b=c", _ROOT)),
    "a-hundred-layers": _config(_buildkit(*(f"RUN echo {number}" for number in range(100)))),
    "an-author-and-a-deprecated-maintainer": _by_docker(
        _config(_docker("MAINTAINER Someone <someone@example.org>", _ROOT))
        | {"author": "Someone <someone@example.org>"},
        "1.12.6",
    ),
    "members-of-others": _config(_ALPINE)
    | {
        "moby.buildkit.cache.v0": "bnVsbA==",
        "os.features": ["a"],
        "x.number": 12345678901234567890,
    },
}
