# Stands in for redis:8 where no registry can be reached.
ARG DEBIAN_IMAGE=wepp-base/debian:trixie
FROM ${DEBIAN_IMAGE}
# 999:999 as in the published image, so that a data volume can change hands between the two.
RUN groupadd --system --gid 999 redis \
 && useradd --system --uid 999 --gid redis --home-dir /data --no-create-home redis \
 && apt-get update \
 && apt-get install -y --no-install-recommends redis-server redis-tools \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
 && install -d -o redis -g redis /data
VOLUME /data
WORKDIR /data
USER redis
CMD ["redis-server"]
