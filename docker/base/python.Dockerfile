# Stands in for python:<version>-slim where no registry can be reached: the distribution's interpreter.
ARG DEBIAN_IMAGE=wepp-base/debian:bookworm
FROM ${DEBIAN_IMAGE}
# venv: the application image builds its environment with it. libexpat: wheels of GDAL leave it to the system.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libexpat1 python3 python3-venv tini tzdata \
 && ln -s python3 /usr/bin/python \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
CMD ["python3"]
