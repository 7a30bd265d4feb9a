#!/bin/sh
# Starts Redis with its password from a file. The settings go in through standard input, so the password is
# on no command line, in no environment and in no file of the container.
set -eu

password=$(cat "$REDIS_PASSWORD_FILE")
case $password in
  '')
    echo "redis: $REDIS_PASSWORD_FILE is empty; a broker without a password is refused" >&2
    exit 1
    ;;
  *[\"\\]*)
    echo "redis: the password must not hold quotes or backslashes (its configuration file would need escapes)" >&2
    exit 1
    ;;
esac

# Without the manifest, or with a base of no bytes, Redis would start empty, over the files that hold its data or beside a
# snapshot of it.
manifest=/data/appendonlydir/appendonly.aof.manifest
base=$(sed -n 's/^file \([^ ]*\) .* type b.*/\1/p' "$manifest" 2>/dev/null) || true
if [ "$base" ] && [ ! -s "/data/appendonlydir/$base" ]; then
  echo "redis: $base of the append-only files is missing or empty: Redis would start empty" >&2
  exit 1
fi
if [ ! -s "$manifest" ]; then
  for file in /data/appendonlydir/appendonly.aof.*.* /data/appendonlydir.repaired /data/dump.rdb; do
    if [ -e "$file" ]; then
      echo "redis: the manifest of the append-only files is missing, and $file is there: Redis would start empty" >&2
      exit 1
    fi
  done
fi

# Below the container's limit (of cgroup v2, else v1; there a large number is none), so that Redis says that it is full
# before the kernel kills it; the rest is for what a rewrite of its files takes.
maxmemory=${REDIS_MAXMEMORY:-}
if [ -z "$maxmemory" ]; then
  limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || echo max)
  if [ "$limit" = max ] || [ "${#limit}" -gt 15 ]; then maxmemory=0; else maxmemory=$((limit * 3 / 5)); fi
fi

# notify-keyspace-events Kh: preflight follows the checklist hashes by these events.
# noeviction: a job that was accepted must not be dropped to make room.
# include: users of worker hosts, a file each (docker-compose.worker-hosts.yml).
exec redis-server - <<SETTINGS
bind * -::*
dir /data
requirepass "$password"
notify-keyspace-events Kh
appendonly yes
appendfsync everysec
aof-use-rdb-preamble yes
save "${REDIS_SAVE_SCHEDULE:-}"
maxmemory $maxmemory
maxmemory-policy noeviction
${REDIS_USERS:+include $REDIS_USERS}
SETTINGS
