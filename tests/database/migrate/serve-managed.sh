#!/usr/bin/env bash
# serve-managed PORT SOCKET_FOLDER: gives the distribution's cluster its place, and becomes systemd.
#
# Users: `postgres`, the superuser, by peer; `keyed` by password, from the file /run/password, over TCP.
set -euo pipefail

port=$1 sockets=$2
{
  echo "port = $port"
  echo "unix_socket_directories = '$sockets'"
  echo "listen_addresses = '127.0.0.1'"
  echo "fsync = off"
} >/etc/postgresql/15/main/conf.d/test.conf
cat >/etc/postgresql/15/main/pg_hba.conf <<'END'
local all postgres peer
host all keyed 127.0.0.1/32 scram-sha-256
END
password=$(sed "s/'/''/g" /password)
install --directory --owner=postgres /run/postgresql
setpriv --reuid=postgres --regid=postgres --init-groups /usr/lib/postgresql/15/bin/postgres --single \
  -D /var/lib/postgresql/15/main -c config_file=/etc/postgresql/15/main/postgresql.conf postgres >/dev/null <<END
CREATE ROLE keyed SUPERUSER LOGIN PASSWORD '$password';
END
# With cgroups of version 2 a container sees its own read-only.
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || mount -o remount,rw /sys/fs/cgroup
exec /lib/systemd/systemd --unit=basic.target
