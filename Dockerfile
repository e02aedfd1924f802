# Built on Debian 12, whose library versions the code is written for; run from nothing but the
# program and its libraries. `make image` builds it.
ARG BASE=debian:12-slim
FROM ${BASE} AS build
WORKDIR /src
COPY test/tools/install-packages test/tools/install-packages
RUN test/tools/install-packages build \
    && apt-get install -y --no-install-recommends ca-certificates
COPY . .
ARG REVISION=unknown
RUN make REVISION="$REVISION" && manifests/image/layout build/release/agent-proxy /image

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="agent-proxy" \
      org.opencontainers.image.description="Joins the remote writes of a cluster and relays its queries, under one tenant" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["/agent-proxy"]
