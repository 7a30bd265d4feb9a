"""What the tasks call well is well: what was stopped is not done, a page that fails is not served, and another
checkout's project is not one's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine.flights import until
from tests.engine.stack import ROOT, Command, Stack

WEB = Path("wepppy") / "weppcloud"


def engine(*arguments: str) -> str:
    """Ask the engine by hand, as somebody does who knows nothing of the tasks."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def states(stack: Stack) -> tuple[dict[str, str], int]:
    """State of each service as `compose-status` tells it, and its exit status."""
    done = stack.invoke("compose-status", "--json", check=False)
    answer = json.loads(done.stdout)
    assert answer["ok"] is (done.returncode == 0)
    return {each["service"]: each["state"] for each in answer["services"]}, done.returncode


def test_a_service_that_was_stopped_is_told_and_started_again(own: Stack) -> None:
    name = own.name
    engine("stop", f"{name}-rq-worker-1", f"{name}-postgres-backup-1")
    engine("kill", f"{name}-status-1")
    engine("pause", f"{name}-browse-1")
    engine("rm", "--force", f"{name}-preflight-1")
    seen, status = states(own)
    expected = {
        "rq-worker": "stopped", "postgres-backup": "stopped", "status": "failed", "browse": "paused",
        "preflight": "absent", "db-upgrade": "done", "weppcloud": "healthy",
    }  # fmt: skip
    assert {service: seen[service] for service in expected} == expected
    assert status == 3
    assert own.invoke("doctor", check=False).returncode == 3
    assert own.invoke("db-backups", check=False).returncode == 3
    own.invoke("compose-restart", "--services=rq-worker")
    assert states(own)[0]["rq-worker"] == "healthy"
    own.invoke("compose-up", "--no-build")
    seen, status = states(own)
    assert set(seen.values()) <= {"healthy", "done"}, seen
    assert status == 0


def test_a_second_clone_with_the_same_name_changes_nothing_of_the_first(
    own: Stack, clone: Callable[..., Command]
) -> None:
    refused = clone("compose-up")
    assert refused.returncode == 4, refused.stderr
    assert "belongs to another checkout" in refused.stderr
    assert str(ROOT) in refused.stderr
    clone("env-init", "--free-ports")
    tasks = (
        "compose-up",
        "compose-down",
        "compose-restart",
        "db-upgrade",
        "db-backup",
        "db-rotate-password --yes",
    )
    assert {task: clone(*task.split()).returncode for task in tasks} == dict.fromkeys(tasks, 4)
    assert states(own)[1] == 0


def answers(stack: Stack, *wanted: int) -> Callable[[], bool]:
    """Whether the log-in page answers with one of these statuses."""
    return lambda: Stack(stack.env_file).get("/weppcloud/login").status in wanted


@contextmanager
def damaged(stack: Stack, name: str, old: str, new: str) -> Iterator[None]:
    """Replace text in one of the application's sources for a block that begins once pages fail of it."""
    source = stack.tree / WEB / name
    whole = source.read_text()
    assert old in whole
    source.write_text(whole.replace(old, new, 1))
    try:
        restart(stack)
        until(answers(stack, 500, 502, 503), "a page that fails")
        yield
    finally:
        source.write_text(whole)
        restart(stack)
        until(answers(stack, 200), "the log-in page")


def restart(stack: Stack) -> None:
    """Have the application loaded anew: of edits in quick succession its server may miss one."""
    engine("restart", "--time", "1", f"{stack.name}-weppcloud-1")


def refusal(stack: Stack) -> tuple[str, str, list[dict[str, str]]]:
    """What `compose-up` says of a web application that is damaged: all of it, its last words, the pages it names."""
    done = stack.invoke("compose-up", "--no-build", "--timeout=20", "--json", check=False)
    assert done.returncode == 5, done.stderr
    error = json.loads(done.stdout)["error"]
    return done.stderr, error["what"], error.get("pages", [])


def test_a_page_that_fails_and_a_file_that_is_missing_are_told_with_their_cause(own: Stack) -> None:
    style = own.tree / WEB / "static" / "site.css"
    with damaged(own, "templates/login.html", "<h1>Log in", "<h1>{{ damaged.by.a.test }}"):
        hidden = style.rename(style.with_suffix(".hidden"))
        try:
            said, what, pages = refusal(own)
        finally:
            hidden.rename(style)
    assert "answered 500" in what
    assert "jinja2.exceptions.UndefinedError: 'damaged' is undefined" in what
    assert "templates/login.html, line" in what
    told = {each["url"].partition("/weppcloud")[2]: each for each in pages}
    assert set(told) == {"/login", "/static/site.css"}
    assert "error id" in told["/login"]["problem"]
    assert told["/static/site.css"]["problem"].startswith("answered 404")
    assert "Traceback (most recent call last)" in said


def test_a_session_that_redis_refuses_is_told(own: Stack) -> None:
    line = 'app.extensions["session_redis"] = sessions'
    wrong = f'sessions.connection_pool.connection_kwargs["password"] = "wrong"\n    {line}'
    with damaged(own, "app.py", line, wrong):
        _, what, _ = refusal(own)
    assert "AuthenticationError: invalid username-password pair" in what


def test_the_module_that_an_application_misses_is_named_and_once_it_is_there_all_is_well_again(
    own: Stack,
) -> None:
    with damaged(own, "app.py", "import logging", "import logging\nimport nosuchmodule"):
        said, what, _ = refusal(own)
    assert "ModuleNotFoundError: No module named 'nosuchmodule'" in what
    assert "weppcloud/app.py, line" in what
    assert "cause: ModuleNotFoundError" in said
    own.invoke("compose-up", "--no-build")
    assert states(own)[1] == 0
