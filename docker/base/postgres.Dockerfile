# Stands in for postgres:17 where no registry can be reached: same user, paths, entry point and variables.
ARG DEBIAN_IMAGE=wepp-base/debian:trixie
FROM ${DEBIAN_IMAGE}
ARG POSTGRES_MAJOR=17
# 999:999 as in the published image, so that a data volume can change hands between the two. C.UTF-8 as its
# default locale sorts by code point, so the order of an index never depends on the C library's version.
RUN groupadd --system --gid 999 postgres \
 && useradd --system --uid 999 --gid postgres --home-dir /var/lib/postgresql --shell /bin/bash postgres \
 && apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates postgresql-common \
 && sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
 && apt-get install -y --no-install-recommends "postgresql-${POSTGRES_MAJOR}" zstd \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
 && for program in "/usr/lib/postgresql/${POSTGRES_MAJOR}"/bin/*; do ln -s "$program" /usr/local/bin/; done \
 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data \
 && install -d -o postgres -g postgres -m 3775 /var/run/postgresql \
 && install -d /docker-entrypoint-initdb.d
COPY --chmod=0755 postgres/docker-entrypoint.sh /usr/local/bin/
ENV PG_MAJOR=${POSTGRES_MAJOR} PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
USER postgres
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
