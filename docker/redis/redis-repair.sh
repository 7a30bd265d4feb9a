#!/bin/sh
# Checks the append-only files of a Redis that is stopped and repairs them in a copy, which is loaded for proof.
#
#   redis-repair.sh check          leaves all files as they are
#   redis-repair.sh repair TIME    puts the repaired copy in place; the files found stay as appendonlydir.damaged-TIME
#
# Prints NAME=value lines: state (sound or damaged), found (what is damaged, one line each), source (append-only files,
# dump.rdb or nothing), lost (bytes that are not replayed), keys (how many are there afterwards).
set -eu

action=$1 moment=${2:-}
data=${REDIS_DATA:-/data}
current=$data/appendonlydir copy=$data/appendonlydir.copy repaired=$data/appendonlydir.repaired
manifest=$copy/appendonly.aof.manifest
socket=/tmp/redis-repair.sock log=/tmp/redis-repair.log
lost=0

size() { wc -c <"$1"; }

# Loads the copy as the server would. Prints the number of keys; fails when Redis refuses the files (see $log).
load() {
  : >"$log"
  redis-server --dir "$data" --appenddirname appendonlydir.copy --appendonly yes --save '' --port 0 \
    --unixsocket "$socket" --auto-aof-rewrite-percentage 0 --logfile "$log" >/dev/null 2>&1 &
  server=$!
  until grep -q 'Ready to accept connections' "$log"; do
    kill -0 "$server" 2>/dev/null || return 1
    sleep 0.1
  done
  keys=0
  for count in $(redis-cli -s "$socket" info keyspace | sed -n 's/^db[0-9]*:keys=\([0-9]*\),.*/\1/p'); do
    keys=$((keys + count))
  done
  redis-cli -s "$socket" shutdown nosave >/dev/null 2>&1 || true
  wait "$server" || true
  printf '%s' "$keys"
}

# Names of the files of one kind (base, incr), oldest first.
files() {
  for file in "$copy"/appendonly.aof.*."$1".*; do
    [ -e "$file" ] && basename "$file"
  done | sort -t . -k 3,3n
}

has_files() { [ "$(files base)$(files incr)" ]; }

# Names of the files of one type that the manifest lists.
listed() { sed -n "s/^file \([^ ]*\) .* type $1.*/\1/p" "$manifest"; }

manifest_is_sound() {
  [ -s "$manifest" ] || return 1
  ! grep -qvE '^(#.*|file [^ ]+ seq [0-9]+ type [bhi]( [a-z]+ [0-9]+)*)$' "$manifest" || return 1
  for name in $(listed '[bi]'); do
    [ -e "$copy/$name" ] || return 1
  done
}

# The newest base and all increments that are there: files of before the last rewrite are deleted by Redis itself.
rebuild_manifest() {
  base=$(files base | tail -n 1)
  {
    [ -z "$base" ] || printf 'file %s seq %s type b\n' "$base" "$(printf '%s' "$base" | cut -d . -f 3)"
    for name in $(files incr); do
      printf 'file %s seq %s type i\n' "$name" "$(printf '%s' "$name" | cut -d . -f 3)"
    done
  } >"$manifest.new"
  mv "$manifest.new" "$manifest"
}

base_is_sound() {
  for name in $(listed b); do
    # An empty one Redis takes for an empty store; those that it writes have at least a header.
    [ -s "$copy/$name" ] && redis-check-aof "$copy/$name" >/dev/null 2>&1 || return 1
  done
}

# Cuts one increment at a length and drops those after it: they continue what is no longer there.
cut_at() {
  lost=$((lost + $(size "$copy/$1") - $2))
  truncate -s "$2" "$copy/$1"
  later=no
  for name in $(listed i); do
    if [ $later = yes ]; then
      lost=$((lost + $(size "$copy/$name")))
      rm "$copy/$name"
      sed -i "/^file $name /d" "$manifest"
    fi
    [ "$name" = "$1" ] && later=yes
  done
  return 0
}

# Cuts at the first entry that is none by its format.
cut_increments() {
  for name in $(listed i); do
    answer=$(redis-check-aof "$copy/$name" 2>&1) && continue
    good=$(printf '%s\n' "$answer" | sed -n 's/.*ok_up_to=\([0-9]*\),.*/\1/p' | tail -n 1)
    printf 'found=%s is damaged at byte %s of %s\n' "$name" "${good:-0}" "$(size "$copy/$name")"
    cut_at "$name" "${good:-0}"
    return 0
  done
}

# Without a base the increments mean nothing: the newest snapshot that is whole, else an empty store.
start_over() {
  for file in "$copy"/*; do
    [ -e "$file" ] && lost=$((lost + $(size "$file")))
  done
  rm -rf "$copy"
  mkdir "$copy"
  source=nothing
  if [ -e "$data/dump.rdb" ] && redis-check-rdb "$data/dump.rdb" >/dev/null 2>&1; then
    cp "$data/dump.rdb" "$copy/appendonly.aof.1.base.rdb"
    rebuild_manifest
    source="dump.rdb of $(date -u -r "$data/dump.rdb" '+%Y-%m-%d %H:%M:%S UTC')"
  fi
}

# As the container's first process a shell would ignore these.
trap 'exit 143' INT TERM
# A repair whose caller was killed may still be at work.
exec 9<"$data"
flock --nonblock 9 || {
  echo 'another repair of these files is at work' >&2
  exit 1
}

rm -rf "$copy"
if [ -d "$current" ]; then
  cp -a "$current" "$copy"
elif [ -d "$repaired" ]; then
  printf 'found=an earlier repair was not put in place\n'
  cp -a "$repaired" "$copy"
elif [ -e "$data/dump.rdb" ]; then
  printf 'found=the append-only files are missing\n'
  mkdir "$copy"
else
  printf 'state=sound\nsource=nothing\nlost=0\nkeys=0\n'
  exit 0
fi

source='the append-only files' state=damaged keys=
if has_files && manifest_is_sound && base_is_sound && keys=$(load); then
  [ ! -d "$current" ] || state=sound
else
  if manifest_is_sound; then
    : # What is damaged in the files is told below.
  elif has_files; then
    printf 'found=the manifest of the append-only files is missing or damaged\n'
    rebuild_manifest
  fi
  if ! has_files; then
    start_over
  elif ! base_is_sound; then
    printf 'found=%s is damaged\n' "$(listed b)"
    start_over
  else
    cut_increments
  fi
  keys=$(load) || {
    tail -n 5 "$log" >&2
    exit 1
  }
fi
printf 'state=%s\nsource=%s\nlost=%s\nkeys=%s\n' "$state" "$source" "$lost" "$keys"

if [ "$action" = repair ] && [ $state = damaged ]; then
  rm -rf "$repaired"
  mv "$copy" "$repaired"
  sync
  [ ! -d "$current" ] || mv "$current" "$current.damaged-$moment"
  mv "$repaired" "$current"
  sync
else
  rm -rf "$copy"
fi
