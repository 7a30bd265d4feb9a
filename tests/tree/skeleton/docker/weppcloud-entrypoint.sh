#!/bin/sh
# Build the front end's bundle, copy what npm built, and then become the command.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
static="$root/wepppy/weppcloud/static"
python "$root/wepppy/weppcloud/controllers_js/build_controllers_js.py" \
  --output "${CONTROLLERS_JS_OUTPUT:-$static/js/controllers-gl.js}"
if [ -n "${STATIC_ASSET_SYNC_DIR:-}" ] && [ -d "$static/vendor" ]; then
  mkdir -p "$STATIC_ASSET_SYNC_DIR"
  rm -rf "$STATIC_ASSET_SYNC_DIR/vendor"
  cp -a "$static/vendor" "$STATIC_ASSET_SYNC_DIR/"
fi
python -c 'import wepppyo3'
exec "$@"
