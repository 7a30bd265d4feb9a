#!/bin/bash
# Builds /srv/assets/vendor from the front end's sources (npm ci, npm run build) when these changed since the last time.
set -euo pipefail
source=/static-src target=/srv/assets/vendor work=/srv/assets/.vendor-work
umask 022

if [ ! -f "$source/package-lock.json" ]; then
  echo "assets-vendor: this tree has no front end to build"
  exit 0
fi
changed=$(cd "$source" && find . -name node_modules -prune -o -name dist -prune -o -type f -print0 \
  | sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$target/.sources-sha256" 2>/dev/null || true)" = "$changed" ]; then
  echo "assets-vendor: the vendor files are up to date"
  exit 0
fi

echo "assets-vendor: building the vendor files"
rm -rf "$work"
mkdir "$work"
tar -C "$source" --exclude=node_modules --exclude=dist --no-same-owner -cf - . | tar -C "$work" -xf -
cd "$work"
export npm_config_cache=/srv/assets/.npm-cache npm_config_update_notifier=false npm_config_fund=false
with-mirrors npm ci --legacy-peer-deps
npm run build
[ -d dist/vendor ] || {
  echo "assets-vendor: the build left no dist/vendor" >&2
  exit 1
}
printf %s "$changed" >dist/vendor/.sources-sha256
chmod -R a+rX dist/vendor
rm -rf /srv/assets/.old-vendor
if [ -d "$target" ]; then mv "$target" /srv/assets/.old-vendor; fi
mv dist/vendor "$target"
rm -rf /srv/assets/.old-vendor "$work"
