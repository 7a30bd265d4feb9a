"""Where runs are on the disk."""

from __future__ import annotations

import os

import redis

from wepppy.config.redis_settings import RedisDB, redis_client

PRIMARY_ROOT = "/wc1/runs"
LEGACY_ROOT = "/geodata/weppcloud_runs"

_cache: redis.Redis | None
try:
    _cache = redis_client(RedisDB.WD_CACHE)
    _cache.ping()
except redis.RedisError as error:
    print(f"no cache of run folders: {type(error).__name__}")
    _cache = None


def _check(part: str) -> str:
    if part in ("", ".", "..") or any(character in part for character in "/\\\0"):
        raise ValueError(f"not a run id: {part!r}")
    return part


def get_wd(runid: str) -> str:
    """Return the folder of a run, which need not exist; raise ValueError for what is no run id."""
    parts = [_check(part) for part in runid.split(";;")]
    if len(parts) == 3 and parts[0] == "batch":
        root = os.path.join(os.environ.get("BATCH_RUNNER_ROOT") or "/wc1/batch", parts[1])  # noqa: PTH118
        return f"{root}/_base" if parts[2] == "_base" else f"{root}/runs/{parts[2]}"
    if len(parts) == 3 and parts[1] == "omni":
        return f"{get_wd(parts[0])}/_pups/omni/scenarios/{parts[2]}"
    if len(parts) != 1:
        raise ValueError(f"not a run id: {runid!r}")
    known = _cache and _cache.get(runid)
    if known:
        return str(known)
    folders = [f"{PRIMARY_ROOT}/{runid[:2]}/{runid}", f"{LEGACY_ROOT}/{runid}"]
    found = next((folder for folder in folders if os.path.isdir(folder)), None)  # noqa: PTH112
    if found and _cache:
        _cache.set(runid, found, ex=72 * 3600)
    return found or folders[0]
