#!/usr/bin/env bash
# Makes an empty data directory into a cluster, then becomes the server. Honours the variables of the published postgres
# image that are used here: POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD[_FILE], POSTGRES_INITDB_ARGS, PGDATA,
# /docker-entrypoint-initdb.d. Any command other than `postgres` is run as it is. The stack's own image makes its cluster
# before this is asked (docker/postgres).
set -euo pipefail

if [ "${1:-postgres}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  password=${POSTGRES_PASSWORD:-}
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    password=$(cat "$POSTGRES_PASSWORD_FILE")
  fi
  if [ -z "$password" ]; then
    echo "postgres: the database has no password: set POSTGRES_PASSWORD_FILE" >&2
    exit 1
  fi
  # shellcheck disable=SC2206 # the variable holds several words, as in the published image
  arguments=(--username="$user" --auth=trust ${POSTGRES_INITDB_ARGS:-})
  initdb "${arguments[@]}" --pwfile=<(printf '%s\n' "$password") >/dev/null
  # Inside the container the loopback is as trusted as the socket; from outside a password is needed.
  printf '\nhost all all all scram-sha-256\nhost replication all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  sed -i "s/^#\\?listen_addresses.*/listen_addresses = '*'/" "$PGDATA/postgresql.conf"
  # The socket only, so nobody takes the half-made cluster for the real one.
  pg_ctl --options="-c listen_addresses=''" --wait --silent start
  if [ "$database" != postgres ]; then
    createdb --username="$user" --maintenance-db=postgres --owner="$user" "$database"
  fi
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) bash "$script" ;;
      *.sql) psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$user" --dbname="$database" --file="$script" ;;
    esac
  done
  pg_ctl --mode=fast --wait --silent stop
fi

exec "$@"
