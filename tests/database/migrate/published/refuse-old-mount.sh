#!/usr/bin/env bash
# Refuses what the published image refuses: its own choice of a folder while data, or a mount, is where it was up to 17.
set -euo pipefail

if [ "${1:-postgres}" = postgres ]; then
  if [ ! -s "$PGDATA/PG_VERSION" ] && [ "$PGDATA" = "/var/lib/postgresql/$PG_MAJOR/docker" ]; then
    if [ -s /var/lib/postgresql/data/PG_VERSION ] || grep -q ' /var/lib/postgresql/data ' /proc/self/mountinfo; then
      echo "Error: there appears to be PostgreSQL data in /var/lib/postgresql/data (unused mount/volume)" >&2
      exit 1
    fi
  fi
  mkdir -p "$PGDATA"
fi
exec docker-entrypoint.sh "$@"
