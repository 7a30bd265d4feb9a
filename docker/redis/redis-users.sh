#!/bin/sh
# Makes a running Redis know exactly the users of worker hosts that have a file (a line `user NAME ...` of its
# configuration, which it reads by itself when it starts). The others are deleted, and what they have open is closed.
set -eu

REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE")
export REDISCLI_AUTH

ask() {
  answer=$(redis-cli -h 127.0.0.1 "$@")
  case $answer in
    OK | [0-9]*) ;;
    *)
      printf '%s\n' "$answer" >&2
      exit 1
      ;;
  esac
}

for file in $REDIS_USERS; do
  # shellcheck disable=SC2046 # a line is one command's words
  [ ! -e "$file" ] || ask ACL SETUSER $(sed -n 's/^user \([^ ]*\)/\1 reset/p' "$file")
done
for user in $(redis-cli -h 127.0.0.1 ACL USERS); do
  case $user in
    worker-*) [ -e "$(dirname "$REDIS_USERS")/${user#worker-}.acl" ] || ask ACL DELUSER "$user" ;;
  esac
done
