# The image: what the lock names and the proxy, on a base without shell and package manager.
#
#   docker build --tag registry.example.org/lighterage:0.1.0 .
#
# Both bases have the same Python, 3.13. Another registry for them: --build-arg BUILD=... RUNTIME=...
ARG BUILD=docker.io/library/python:3.13.15-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285
ARG RUNTIME=gcr.io/distroless/python3-debian13:nonroot@sha256:83aa8d4f74a4d7f7cf2d472054139bef71a927b76c680c0f2e1021d6b1d6d732

FROM ${BUILD} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# pip writes the path of its own Python into the command `lighterage`: the one that the runtime has.
RUN ln -sf /usr/local/bin/python3 /usr/bin/python3

COPY requirements.lock requirements-build.lock ./
RUN /usr/bin/python3 -m pip install --quiet --require-hashes --only-binary=:all: --no-compile \
        --target=/dependencies --requirement=requirements.lock \
    && /usr/bin/python3 -m pip install --quiet --require-hashes --only-binary=:all: --no-compile \
        --target=/build-tools --requirement=requirements-build.lock \
    && rm -r /dependencies/bin \
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

FROM ${RUNTIME}
# Two layers: a release that changes no dependency is a small pull.
COPY --from=build /dependencies /opt/lighterage
COPY --from=build /application /opt/lighterage
# Group 0 is what a user of any other number is in, with docker as in OpenShift.
COPY --from=build --chown=65532:0 /volumes /var/lib
ENV PATH=/opt/lighterage/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/lighterage \
    PYTHONDONTWRITEBYTECODE=1 \
    LIGHTERAGE_DATA=/var/lib/lighterage
USER 65532:65532
WORKDIR /var/lib/lighterage
EXPOSE 5000
STOPSIGNAL SIGTERM
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
