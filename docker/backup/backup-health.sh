#!/usr/bin/env bash
# Healthy: the newest finished dump is not older than the interval and a quarter.
set -euo pipefail

newest=$(find "$BACKUP_DIR" -maxdepth 1 -name "$PGDATABASE-*.dump" -printf '%T@\n' | sort -n | tail -n 1)
if [ -z "$newest" ]; then
  echo "no dump of $PGDATABASE in $BACKUP_DIR yet"
  exit 1
fi
age=$(($(date +%s) - ${newest%.*}))
limit=$((BACKUP_INTERVAL_SECONDS + BACKUP_INTERVAL_SECONDS / 4))
if [ "$age" -gt "$limit" ]; then
  echo "the newest dump is $age s old, more than $limit s"
  exit 1
fi
