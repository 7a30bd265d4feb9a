"""A server at which whoever changes a role has to wait a moment, as at one where many work.

A client that gives a role its password lives for some milliseconds: too short to be seen, let alone to be killed at.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.database.stack import LightStack

NAME = "busy with roles"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'busy with roles'"
# Holds what changes of roles need until somebody wants it, and half a second more; again and again.
HOLD = r"""
DO $$ BEGIN
  LOCK TABLE pg_authid IN SHARE MODE;
  WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'pg_authid'::regclass AND NOT granted) LOOP
    PERFORM pg_sleep(0.01);
  END LOOP;
  PERFORM pg_sleep(0.5);
END $$;
"""
TIMES = 20
# Under another name than psql's, which those look for who kill clients.
PROGRAM = "/tmp/busy"
COPY = 'cp "$(readlink -f /usr/lib/postgresql/*/bin/psql)" "$0" && exec "$0" -XqAt -U postgres -d postgres'


@contextmanager
def busy_with_roles(stack: LightStack) -> Iterator[None]:
    """Changes of roles take half a second at the stack's server while the block runs."""
    server = stack.container("postgres")
    variables = ["--env", f"PGAPPNAME={NAME}"]
    with subprocess.Popen(
        ["docker", "exec", "-i", *variables, server, "bash", "-c", COPY, PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin
        process.stdin.write(HOLD * TIMES)
        process.stdin.close()
        try:
            yield
        finally:
            stack.psql(END, "postgres", check=False)
            process.kill()
