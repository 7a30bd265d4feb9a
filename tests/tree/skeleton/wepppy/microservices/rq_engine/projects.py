"""Create runs: a folder, a row and a checklist."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Engine, create_engine, insert, select

from wepppy.config.database import database_uri
from wepppy.nodb.redis_prep import RedisPrep
from wepppy.nodb.terrain import make_dem
from wepppy.weppcloud.models import Run, runs_users
from wepppy.weppcloud.utils.helpers import get_wd

RUNS = Run.__table__


@lru_cache(maxsize=1)
def engine() -> Engine:
    """Return the process's connections to Postgres."""
    return create_engine(database_uri(), pool_pre_ping=True)


def owner_of(runid: str) -> int | None:
    """Return who owns a run, None for nobody; raise LookupError when there is no such run."""
    with engine().connect() as connection:
        row = connection.execute(select(RUNS.c.owner_id).where(RUNS.c.runid == runid)).one_or_none()
    if row is None or not Path(get_wd(runid)).is_dir():
        raise LookupError(f"Run {runid} not found")
    return row.owner_id


def create_run(config: str, owner: int | None, lng: float, lat: float) -> str:
    """Make a run's folder, row and checklist; return its id. A run without an owner is public."""
    runid = f"{secrets.token_hex(4)}-{secrets.token_hex(3)}"
    folder = Path(get_wd(runid))
    folder.mkdir(parents=True)
    try:
        ron = {"runid": runid, "config": config, "lng": lng, "lat": lat}
        (folder / "ron.nodb").write_text(json.dumps(ron), encoding="utf-8")
        make_dem(folder, lng, lat)
        if owner is None:
            (folder / "PUBLIC").touch()
        with engine().begin() as connection:
            row = connection.execute(
                insert(RUNS).values(runid=runid, config=config, owner_id=owner).returning(RUNS.c.id)
            ).one()
            if owner is not None:
                connection.execute(insert(runs_users).values(user_id=owner, run_id=row.id))
        RedisPrep(str(folder)).timestamp("project_init")
    except BaseException:
        shutil.rmtree(folder)
        raise
    return runid


def run_url(runid: str, config: str) -> str:
    """Return the path of a run's page."""
    return f"{(os.environ.get('SITE_PREFIX') or '/weppcloud').rstrip('/')}/runs/{runid}/{config}/"
