#!/usr/bin/env bash
# Gives every command in this container its password through a password file, then runs the command. So
# `docker compose run --rm postgres-backup bash -lc 'pg_dump ...'` and `exec` need no password on a command line.
set -euo pipefail

password=$(cat "$POSTGRES_PASSWORD_FILE")
# libpq's format: backslash and colon are escaped.
password=${password//\\/\\\\}
password=${password//:/\\:}
(umask 077 && printf '*:*:*:*:%s\n' "$password" >"$PGPASSFILE")
unset password

exec "$@"
