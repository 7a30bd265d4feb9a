#!/usr/bin/env bash
# Makes an empty data directory into a cluster, then becomes the server. Honours the variables of the
# published postgres image that this stack uses: POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD[_FILE],
# POSTGRES_INITDB_ARGS, PGDATA, /docker-entrypoint-initdb.d. Any command other than `postgres` is run as it is.
set -euo pipefail

if [ "${1:-postgres}" != postgres ]; then
  exec "$@"
fi

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

initialise() {
  local password
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    password=$(cat "$POSTGRES_PASSWORD_FILE")
  else
    password=${POSTGRES_PASSWORD:-}
  fi
  if [ -z "$password" ]; then
    echo "postgres: the database has no password: set POSTGRES_PASSWORD_FILE" >&2
    exit 1
  fi

  # initdb works in a directory beside the final files and these are moved in last, PG_VERSION at the very
  # end: a container killed half-way leaves a directory without PG_VERSION, which the next start makes anew.
  local staging=$PGDATA/.initialising
  rm -rf "$staging"
  local -a arguments=(--pgdata="$staging" --username="$user" --auth-local=trust --auth-host=scram-sha-256)
  # shellcheck disable=SC2206 # the variable holds several words, as in the published image
  arguments+=(${POSTGRES_INITDB_ARGS:-})
  initdb "${arguments[@]}" --pwfile=<(printf '%s\n' "$password") >/dev/null
  # Inside the container the loopback is as trusted as the socket; from outside a password is needed.
  printf 'local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\nhost all all all scram-sha-256\nlocal replication all trust\nhost replication all all scram-sha-256\n' \
    >"$staging/pg_hba.conf"
  sed -i "s/^#\\?listen_addresses.*/listen_addresses = '*'/" "$staging/postgresql.conf"

  # The socket only, so nobody takes the half-made cluster for the real one.
  pg_ctl --pgdata="$staging" --options="-c listen_addresses=''" --wait --silent start
  if [ "$database" != postgres ]; then
    createdb --username="$user" --maintenance-db=postgres --owner="$user" "$database"
  fi
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) bash "$script" ;;
      *.sql) psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$user" --dbname="$database" --file="$script" ;;
    esac
  done
  pg_ctl --pgdata="$staging" --mode=fast --wait --silent stop

  local entry
  for entry in "$staging"/*; do
    [ "${entry##*/}" = PG_VERSION ] || mv "$entry" "$PGDATA/"
  done
  sync
  mv "$staging/PG_VERSION" "$PGDATA/"
  rmdir "$staging"
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -d "$PGDATA/.initialising" ]; then
    # Left-overs of an initialisation that was interrupted: nothing has ever been stored here.
    find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +
  elif [ -n "$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ]; then
    echo "postgres: $PGDATA is not empty but has no PG_VERSION; it is not a cluster and is left as it is." >&2
    echo "postgres: check which volume or folder is mounted there." >&2
    exit 1
  fi
  chmod 0700 "$PGDATA"
  initialise
fi

exec "$@"
