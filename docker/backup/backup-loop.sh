#!/usr/bin/env bash
# Dumps the database at start when the newest dump is older than the interval, then once per interval.
# A dump is written under a temporary name and renamed when it is whole, so a name ending in .dump is complete.
set -uo pipefail

say() { printf '%s %s\n' "$(date --iso-8601=seconds)" "$*"; }

seconds_since_newest() {
  local newest
  newest=$(find "$BACKUP_DIR" -maxdepth 1 -name "$PGDATABASE-*.dump" -printf '%T@\n' | sort -n | tail -n 1)
  [ -n "$newest" ] || return 1
  printf '%s' $(($(date +%s) - ${newest%.*}))
}

dump() {
  local name partial
  name=$PGDATABASE-$(date +%Y%m%d-%H%M%S).dump
  partial=$BACKUP_DIR/.$name.partial
  say "dumping $PGDATABASE to $name"
  if pg_dump --format=custom --compress=zstd:1 --lock-wait-timeout=60000 --file="$partial" \
    && pg_restore --file=/dev/null "$partial" && mv "$partial" "$BACKUP_DIR/$name"; then
    say "finished $name, $(stat --format=%s "$BACKUP_DIR/$name") bytes"
  else
    rm -f "$partial"
    say "FAILED $name"
    return 1
  fi
}

# By age, and never the newest: if dumps have been failing, the last good one stays.
prune() {
  local newest
  newest=$(find "$BACKUP_DIR" -maxdepth 1 -name "$PGDATABASE-*.dump" -printf '%T@ %f\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
  find "$BACKUP_DIR" -maxdepth 1 -name "$PGDATABASE-*.dump" -mmin "+$((BACKUP_KEEP_DAYS * 1440))" ! -name "$newest" -print -delete
}

rm -f "$BACKUP_DIR"/.*.partial
while true; do
  if age=$(seconds_since_newest) && [ "$age" -lt "$BACKUP_INTERVAL_SECONDS" ]; then
    pause=$((BACKUP_INTERVAL_SECONDS - age))
  elif dump; then
    prune
    pause=$BACKUP_INTERVAL_SECONDS
  else
    pause=60
  fi
  # In the background and waited for, so that a stop signal is answered at once.
  sleep "$pause" &
  wait $!
done
