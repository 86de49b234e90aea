# The image: what the lock names and the proxy, on a base without shell and package manager.
#
#   docker build --tag registry.example.org/lighterage:0.1.0 .
#   podman build --format docker --tag registry.example.org/lighterage:0.1.0 .
#
# For linux/amd64 and linux/arm64 (`--platform`); nothing of the target's is run, so one machine
# builds both. (buildah 1.28 must be told its own: --build-arg BUILDPLATFORM=linux/amd64.) Both bases
# have the same Python, 3.13. Another registry for them: --build-arg BUILD=... RUNTIME=...
ARG BUILD=docker.io/library/python:3.13.15-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285
ARG RUNTIME=gcr.io/distroless/python3-debian13:nonroot@sha256:83aa8d4f74a4d7f7cf2d472054139bef71a927b76c680c0f2e1021d6b1d6d732

FROM --platform=$BUILDPLATFORM ${BUILD} AS build
ARG TARGETARCH
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONHASHSEED=0
WORKDIR /src
# pip writes the path of its own Python into the command `lighterage`: the one that the runtime has.
RUN ln -sf /usr/local/bin/python3 /usr/bin/python3

COPY requirements.lock requirements-build.lock release/slim.py ./
RUN case "${TARGETARCH}" in \
        amd64) machine=x86_64 ;; \
        arm64) machine=aarch64 ;; \
        *) echo "for linux/amd64 and linux/arm64 only, not for '${TARGETARCH}'" >&2; exit 1 ;; \
    esac \
    && /usr/bin/python3 -m pip install --quiet --require-hashes --only-binary=:all: --no-compile \
        --no-deps --implementation=cp --python-version=3.13 \
        --platform="manylinux2014_${machine}" \
        $(seq --format="--platform=manylinux_2_%.0f_${machine}" 5 41) \
        --target=/dependencies --requirement=requirements.lock \
    && /usr/bin/python3 -m pip install --quiet --require-hashes --only-binary=:all: --no-compile \
        --target=/build-tools --requirement=requirements-build.lock \
    && rm -r /dependencies/bin \
    && /usr/bin/python3 slim.py /dependencies \
    && /usr/bin/python3 -m compileall -q --invalidation-mode=unchecked-hash \
        -s /dependencies -p /opt/lighterage /dependencies

COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY proxy proxy
RUN PYTHONPATH=/build-tools /usr/bin/python3 -m pip install --quiet --no-deps --no-build-isolation \
        --no-compile --target=/application . \
    && /usr/bin/python3 -m compileall -q --invalidation-mode=unchecked-hash \
        -s /application -p /opt/lighterage /application \
    && mkdir -p /volumes/lighterage && chmod 0770 /volumes/lighterage

# A stage for each layer: buildah makes one of all that a stage copies. A release that changes no
# dependency is a small pull. Group 0 is what a user of any other number is in, with docker as in
# OpenShift.
FROM --platform=$TARGETPLATFORM ${RUNTIME} AS dependencies
COPY --from=build /dependencies /opt/lighterage

FROM dependencies AS volume
COPY --from=build --chown=65532:0 /volumes /var/lib

FROM volume
COPY --from=build /application /opt/lighterage
ENV PATH=/opt/lighterage/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/lighterage \
    PYTHONDONTWRITEBYTECODE=1 \
    LIGHTERAGE_DATA=/var/lib/lighterage
USER 65532:65532
WORKDIR /var/lib/lighterage
VOLUME /var/lib/lighterage
EXPOSE 5000
STOPSIGNAL SIGTERM
# By the program itself, which finds the admin listener by the settings and arguments of `serve`.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/lighterage/bin/lighterage", "health"]
ENTRYPOINT ["/opt/lighterage/bin/lighterage"]
CMD ["serve"]

ARG RUNTIME
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Lighterage" \
      org.opencontainers.image.description="A caching pull-through proxy for container registries that gives every client a representation it can read" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${RUNTIME}"
