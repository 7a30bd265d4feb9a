#!/usr/bin/env bash
# The server's entry point: makes an empty data directory into a cluster, then becomes the image's own entry point.
#
# The cluster's superuser is `postgres` (password: POSTGRES_SUPERUSER_PASSWORD_FILE); POSTGRES_USER, the application's
# role, owns POSTGRES_DB and is no superuser: what somebody makes the application say to the database cannot read files
# or run programs here. The entry points of images make POSTGRES_USER the superuser. Without a superuser's password, or
# with POSTGRES_USER=postgres, they do that here, too. A cluster that is there stays as it is.
# Further variables as the published image has them: POSTGRES_PASSWORD[_FILE], POSTGRES_INITDB_ARGS, PGDATA;
# /docker-entrypoint-initdb.d/*.sql is run by the superuser, *.sh as it is.
set -euo pipefail

superuser=postgres
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
secret=${POSTGRES_SUPERUSER_PASSWORD_FILE:-}

# Process 1 ignores what it has no handler for. The next start begins anew.
trap 'exit 143' TERM INT

ask() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$superuser" "$@"; }

quoted() { printf '%s' "${1//$2/$2$2}"; }

roles() {
  # A statement that fails is not logged: it holds the password.
  printf 'SET log_min_error_statement = panic;\nCREATE ROLE "%s" LOGIN PASSWORD '\''%s'\'';\n' \
    "$(quoted "$user" '"')" "$(quoted "$1" "'")"
  if [ "$database" = postgres ]; then
    printf 'ALTER DATABASE postgres OWNER TO "%s";\n' "$(quoted "$user" '"')"
  else
    printf 'CREATE DATABASE "%s" OWNER "%s";\n' "$(quoted "$database" '"')" "$(quoted "$user" '"')"
  fi
}

make_cluster() {
  local password=${POSTGRES_PASSWORD:-}
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    password=$(cat "$POSTGRES_PASSWORD_FILE")
  fi
  if [ -z "$password" ]; then
    echo "postgres: the application's role has no password: set POSTGRES_PASSWORD_FILE" >&2
    exit 1
  fi

  # Made in a directory beside the final files and these are moved in last, PG_VERSION at the very end: a container
  # that is killed half-way leaves a directory without PG_VERSION, which the next start makes anew.
  local staging=$PGDATA/.new-cluster
  rm -rf "$staging"
  local -a arguments=(--pgdata="$staging" --username="$superuser" --auth-local=trust --auth-host=trust)
  # shellcheck disable=SC2206 # the variable holds several words, as in the published image
  arguments+=(${POSTGRES_INITDB_ARGS:-})
  initdb "${arguments[@]}" --pwfile="$secret" >/dev/null
  # As the published image has it: trusted inside the container, from outside a password is needed.
  printf '\nhost all all all scram-sha-256\nhost replication all all scram-sha-256\n' >>"$staging/pg_hba.conf"
  sed -i "s/^#\\?listen_addresses.*/listen_addresses = '*'/" "$staging/postgresql.conf"

  # The socket only, so that nobody takes the half-made cluster for the real one.
  pg_ctl --pgdata="$staging" --options="-c listen_addresses=''" --wait --silent start
  roles "$password" | ask --dbname=postgres
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) bash "$script" ;;
      *.sql) ask --dbname="$database" --file="$script" ;;
    esac
  done
  pg_ctl --pgdata="$staging" --mode=fast --wait --silent stop

  find "$staging" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
  sync
  mv "$staging/PG_VERSION" "$PGDATA/"
  rmdir "$staging"
}

if [ "${1:-postgres}" = postgres ] && [ -n "$secret" ] && [ "$user" != "$superuser" ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -d "$PGDATA/.new-cluster" ] || [ -d "$PGDATA/.initialising" ]; then
    # What an interrupted start left, this one's or the image's own: nothing has ever been stored here.
    find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +
  elif [ -d "$PGDATA" ] && [ -n "$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ]; then
    echo "postgres: $PGDATA is not empty but has no PG_VERSION; it is no cluster and is left as it is." >&2
    echo "postgres: see which volume or folder is mounted there." >&2
    exit 1
  fi
  chmod 0700 "$PGDATA"
  make_cluster
fi

exec docker-entrypoint.sh "$@"
