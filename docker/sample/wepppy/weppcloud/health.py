"""The health of the web application: as good as that of the database and the Redis it needs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from flask import Blueprint, Response, current_app, jsonify
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine, select
from sqlalchemy.exc import ProgrammingError

from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.weppcloud.errors import failure
from wepppy.weppcloud.models import Run, User, db

TIMEOUT_SECONDS = 3.0

blueprint = Blueprint("health", __name__)
# A server that hangs holds its checking thread, so their number is the most that can ever be stuck.
_checkers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="health")


@blueprint.get("/health")
def health() -> Response | tuple[Response | str, int]:
    """Answer 200 and the JSON string "OK", or 503 naming each part that is gone."""
    waiting = {
        "postgres": _checkers.submit(_query_postgres, db.engine),
        "redis": _checkers.submit(current_app.extensions["health_redis"].ping),
    }
    gone: dict[str, str] = {}
    for name, answer in waiting.items():
        try:
            answer.result(timeout=TIMEOUT_SECONDS)
        except TimeoutError:
            answer.cancel()
            gone[name] = f"no answer within {TIMEOUT_SECONDS:g} s"
        except ProgrammingError:
            gone[name] = "tables or columns of the application are missing; upgrade the database"
        except Exception as error:
            current_app.logger.warning("health: %s: %s", name, str(error).partition("\n")[0])
            gone[name] = f"does not answer ({type(error).__name__})"
    if gone:
        message = f"{' and '.join(gone)} {'is' if len(gone) == 1 else 'are'} unavailable"
        return failure(503, message, "unhealthy", details=gone)
    return jsonify("OK")


def probe_client() -> Redis:
    """Return a Redis client that gives up at once, for health checks."""
    return redis_client(
        RedisDB.SESSION, socket_connect_timeout=2, socket_timeout=2, retry=Retry(NoBackoff(), 0)
    )


def _query_postgres(engine: Engine) -> None:
    with engine.connect() as connection:
        # By all their columns, as every page reads them.
        for table in (Run, User):
            connection.execute(select(table).limit(1))
