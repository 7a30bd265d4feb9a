# Stands in for caddy:2 where no registry can be reached.
ARG DEBIAN_IMAGE=wepp-base/debian:trixie
FROM ${DEBIAN_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates caddy \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
 && mkdir -p /config/caddy /data/caddy \
 && chmod 0777 /config /config/caddy /data /data/caddy
# The places the published image uses for its state and its certificates.
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
WORKDIR /srv
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
