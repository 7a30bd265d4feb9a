# Stands in for golang:<version> where no registry can be reached. Used by builds only, never shipped.
ARG DEBIAN_IMAGE=wepp-base/debian:trixie
FROM ${DEBIAN_IMAGE}
# gcc and the C library's headers: the race detector needs cgo.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates gcc golang-go libc6-dev \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log
ENV GOPATH=/go PATH=/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /go
CMD ["bash"]
