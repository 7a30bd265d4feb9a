"""Stacks over time: down and up again, interrupted and healed, two beside each other, edits while running."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.lifetime import own_settings, own_stack
from tests.engine.run import run_to_its_end
from tests.engine.stack import ROOT, Command, Stack


@pytest.fixture(scope="module")
def other(own: Stack) -> Iterator[Stack]:
    """A second stack with the core services only, beside the first."""
    with own_stack(Stack, "other", COMPOSE_PROFILES="") as second:
        yield second


def test_data_is_kept_when_the_stack_goes_down_and_comes_up_again_and_no_other_clone_takes_it(
    own: Stack, clone: Callable[..., Command]
) -> None:
    run = run_to_its_end(own, "kept")
    before = own.get(f"/weppcloud/runs/{run.runid}/{run.config}/download/dem/dem.tif").body
    own.invoke("compose-down")
    refused = clone("compose-up")
    assert refused.returncode == 4, refused.stderr
    assert "volumes that this checkout has not made" in refused.stderr
    assert own.compose("ps", "--all", "--quiet").stdout == ""
    own.invoke("compose-up", "--no-build")
    listed = own.get("/weppcloud/api/runs").content["runs"]
    assert run.runid in [entry["runid"] for entry in listed]
    assert own.get(f"/weppcloud/runs/{run.runid}/{run.config}/download/dem/dem.tif").body == before


def test_a_start_that_was_interrupted_is_healed_by_the_next_one(other: Stack) -> None:
    other.invoke("compose-build")
    started = subprocess.Popen(
        ["invoke", "compose-up", "--no-build"], cwd=ROOT, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env=other.task_environment, start_new_session=True,
    )  # fmt: skip
    assert started.stderr is not None
    said = []
    for line in started.stderr:
        said.append(line)
        if "Starting" in line:
            started.send_signal(signal.SIGINT)
            break
    said.append(started.stderr.read())
    assert started.wait() == 130, said
    assert "Traceback" not in "".join(said)
    answer = json.loads(other.invoke("compose-up", "--no-build", "--json").stdout)
    assert answer["services"]
    assert other.get("/weppcloud/health").body.strip() == b'"OK"'


def test_two_stacks_do_not_disturb_each_other(own: Stack, other: Stack) -> None:
    made = other.post("/weppcloud/api/runs", {"name": "only in the other"}).content["runid"]
    ours = [run["runid"] for run in own.get("/weppcloud/api/runs").content["runs"]]
    theirs = [run["runid"] for run in other.get("/weppcloud/api/runs").content["runs"]]
    assert made in theirs
    assert made not in ours
    assert not set(ours) & set(theirs)
    assert own.secret("postgres_password") != other.secret("postgres_password")
    other.invoke("compose-down", "--volumes", f"--yes={other.name}")
    assert own.get("/weppcloud/health").status == 200
    volumes = subprocess.run(
        ["docker", "volume", "ls", "-q"], capture_output=True, text=True, check=True
    ).stdout
    assert f"{other.name}_postgres-data" not in volumes
    assert f"{own.name}_postgres-data" in volumes


def test_volumes_are_not_deleted_without_the_projects_name(own: Stack) -> None:
    for answer in ((), ("--yes=something-else",)):
        done = own.invoke("compose-down", "--volumes", *answer, check=False)
        assert done.returncode == 4, done.stderr
    assert own.get("/weppcloud/health").status == 200


def test_a_port_that_somebody_holds_is_named_before_anything_starts(own: Stack, tmp_path: Path) -> None:
    third = Stack(tmp_path / ".env")
    own_settings(third, f"{own.name}-third", PORT_CADDY=own.settings["PORT_CADDY"])
    try:
        done = third.invoke("compose-up", "--no-build", check=False)
        assert done.returncode == 3
        assert own.settings["PORT_CADDY"] in done.stdout + done.stderr
        assert third.compose("ps", "--all", "--quiet").stdout == ""
    finally:
        shutil.rmtree(ROOT / ".docker-data" / third.name)


def test_a_build_that_fails_ends_with_its_reason_and_leaves_the_stack_running(own: Stack) -> None:
    done = own.invoke(
        "compose-build", "--services", "weppcloud", check=False, WEPPPY_REQUIREMENTS="no-such-file.txt"
    )
    assert done.returncode in (3, 5), done.stderr
    assert "no-such-file.txt" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert own.get("/weppcloud/health").status == 200


def test_a_source_edit_is_served_without_a_rebuild(own: Stack) -> None:
    (own.tree / "wepppy" / "weppcloud" / "static" / "edit.txt").write_text("edited\n")
    assert own.get("/weppcloud/static/edit.txt").body == b"edited\n"


def test_python_services_start_anew_when_their_source_changes(own: Stack) -> None:
    source = own.tree / "wepppy" / "webservices" / "metquery.py"
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    # Saved as editors do it: a new file takes the old one's place (a changed time alone is no edit).
    saved = source.with_suffix(".py.saved")
    shutil.copy(source, saved)
    saved.replace(source)
    deadline = time.monotonic() + 30
    while "reloading" not in own.compose("logs", "--since", since, "metquery").stdout:
        assert time.monotonic() < deadline, "metquery did not notice the edit"
    while own.get("/webservices/metquery/health").status != 200:
        assert time.monotonic() < deadline, "metquery did not come back"
