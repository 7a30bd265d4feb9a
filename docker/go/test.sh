#!/bin/bash
# All tests of one Go service of the tree, and of what the services share: go-test SERVICE FUZZ_TIME.
set -euo pipefail
service=$1 fuzz_time=$2
export CGO_ENABLED=1 # the race detector needs it

for module in live "$service"; do
  cd "/src/services/$module" 2>/dev/null || continue # upstream's services share no module
  go vet -tags integration ./...
  go test -race -tags integration ./...
  # Go fuzzes one target at a time.
  { grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . || true; } | while IFS=: read -r file target; do
    go test -run '^$' -fuzz "^${target#func }\$" -fuzztime "$fuzz_time" "./$(dirname "$file")"
  done
done
