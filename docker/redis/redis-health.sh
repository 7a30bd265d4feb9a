#!/bin/sh
# Healthy: the server answers PONG, which it does only once its data is loaded.
REDISCLI_AUTH=$(cat "$REDIS_PASSWORD_FILE") && export REDISCLI_AUTH
answer=$(redis-cli -h 127.0.0.1 ping 2>&1)
[ "$answer" = PONG ] || {
  printf '%s\n' "$answer"
  exit 1
}
