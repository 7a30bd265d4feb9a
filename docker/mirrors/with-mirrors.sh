#!/bin/bash
# Runs one build command with the caller's package mirrors and CA bundle, both build secrets, both optional.
set -euo pipefail

if [ -s /run/secrets/build_environment ]; then
  # shellcheck disable=SC1091 # exists at build time only
  . /run/secrets/build_environment
fi
if [ -s /run/secrets/ca_bundle ]; then
  export SSL_CERT_FILE=/run/secrets/ca_bundle PIP_CERT=/run/secrets/ca_bundle REQUESTS_CA_BUNDLE=/run/secrets/ca_bundle
  export GIT_SSL_CAINFO=/run/secrets/ca_bundle NODE_EXTRA_CA_CERTS=/run/secrets/ca_bundle
fi

exec "$@"
