#!/bin/bash
# Start a pool of workers: rq-worker-startup.sh COUNT QUEUE [rq arguments]
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: rq-worker-startup.sh COUNT QUEUE [rq arguments]" >&2
  exit 64
fi
count=$1 queue=$2
shift 2
url=$(/opt/venv/bin/python -c 'from wepppy.config.redis_settings import RedisDB, redis_url; print(redis_url(RedisDB.RQ))')
exec /opt/venv/bin/rq worker-pool -n "$count" -u "$url" --logging-level INFO \
  --worker-class wepppy.rq.WepppyRqWorker "$@" "$queue"
