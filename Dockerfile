# Built and run on Debian 12, whose library versions the code is written for.
FROM debian:12 AS build
WORKDIR /src
COPY test/tools/install-packages test/tools/install-packages
RUN test/tools/install-packages build
COPY . .
ARG REVISION=unknown
RUN make REVISION="$REVISION"

FROM debian:12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates libcurl4 libgnutls30 libjemalloc2 libmicrohttpd12 libsnappy1v5 \
        libyaml-0-2 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/release/agent-proxy /usr/bin/agent-proxy
USER 65534:65534
EXPOSE 9090
ENTRYPOINT ["/usr/bin/agent-proxy"]
