"""The stack's Redis that is full: it refuses more and goes on, and nothing it holds is dropped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import containers

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1 << 20


@contextmanager
def redis(folder: Path, *settings: str) -> Iterator[str]:
    """Redis as the stack starts it, in a container of 64 MB; gives the container's name."""
    secret = folder / "password"
    secret.write_text("secret")
    name = f"{containers.PROJECT}-redis-{os.getpid()}"
    script = ROOT / "docker" / "redis" / "redis-entrypoint.sh"
    command = ["docker", "run", "--detach", "--name", name, "--memory", "64m", "--user", "999:999", "--read-only",
               "--volume", "/data", "--volume", f"{script}:/entrypoint.sh:ro",
               "--volume", f"{secret}:/run/secrets/redis_password:ro", "--entrypoint", "sh",
               "--env", "REDIS_PASSWORD_FILE=/run/secrets/redis_password", "--env", "REDISCLI_AUTH=secret",
               *settings, containers.base_images()["REDIS_IMAGE"], "/entrypoint.sh"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    try:
        ready = "until redis-cli ping | grep -q PONG; do sleep 0.1; done"
        subprocess.run(["docker", "exec", name, "sh", "-c", ready], check=True, timeout=60)
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, capture_output=True)


def ask(container: str, *command: str) -> list[str]:
    """The lines of an answer, also of a refusal."""
    done = subprocess.run(
        ["docker", "exec", container, "redis-cli", *command], check=False, capture_output=True, text=True
    )
    return (done.stdout + done.stderr).splitlines()


def test_a_full_redis_refuses_more_keeps_all_and_is_not_killed(tmp_path: Path) -> None:
    with redis(tmp_path) as container:
        assert ask(container, "config", "get", "maxmemory-policy")[1] == "noeviction"
        assert 0 < int(ask(container, "config", "get", "maxmemory")[1]) < 64 * MEGABYTE
        ask(container, "set", "job", "waits")
        # Redis asks for memory before a script, not within one.
        one = f"redis.call('set', 'session:' .. ARGV[1], string.rep('x', {MEGABYTE}), 'EX', 43200)"
        fill = f'for number in $(seq 64); do redis-cli eval "{one}" 0 "$number"; done'
        done = subprocess.run(
            ["docker", "exec", container, "sh", "-c", fill], capture_output=True, text=True, check=False
        )
        assert "OOM" in done.stdout + done.stderr
        assert ask(container, "get", "job") == ["waits"]
        assert "evicted_keys:0" in ask(container, "info", "stats")


def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    with redis(tmp_path, "--env", "REDIS_MAXMEMORY=8mb") as container:
        assert ask(container, "config", "get", "maxmemory") == ["maxmemory", str(8 * MEGABYTE)]
