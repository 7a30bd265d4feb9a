"""Each of the tree's services through the proxy: one that is on answers by itself, one that is off with 503."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.tree.journey import Journey
from tests.tree.stack import TreeStack

# What each answers without a session.
ADDRESSES = {
    "weppcloud": "/health",
    "status": "/weppcloud-microservices/status/health",
    "preflight": "/weppcloud-microservices/preflight/health",
    "browse": "/browse/health",
    "download": "/download/health",
    "elevationquery": "/webservices/elevationquery/health",
    "metquery": "/webservices/metquery/health",
    "wmesque2": "/webservices/wmesque2/health",
    "wmesque": "/webservices/wmesque/health",
    "rq-engine": "/rq-engine/health",
    "cap": "/cap/health",
    "query-engine": "/query-engine/health",
    "dtale": "/dtale/main/none",
    "weppcloudr": "/weppcloudr/healthz",
    "shape-converter": "/utils/shape-converter/health",
    "rq-dashboard": "/rq-dashboard/",
    "profile-playback": "/profile-playback/health",
}
# A table that is not loaded is not there; that, too, is the service's own answer.
ABSENT = {"dtale"}


@pytest.fixture(scope="session")
def running(tree_stack: TreeStack) -> set[str]:
    """The services that run in the stack."""
    return set(tree_stack.compose("ps", "--services", "--status", "running").stdout.split())


@pytest.mark.parametrize("service", ADDRESSES)
def test_a_service_that_is_on_answers_through_the_proxy_and_one_that_is_off_with_503(
    tree_stack: TreeStack, running: set[str], service: str
) -> None:
    reply = tree_stack.get(ADDRESSES[service])
    if service in running:
        assert reply.status == (404 if service in ABSENT else 200), reply.body[:500]
        assert b"service_unavailable" not in reply.body
        assert b"There is nothing at this address." not in reply.body
    else:
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (503, "service_unavailable")


@pytest.fixture(scope="session")
def repository(tree_stack: TreeStack, running: set[str], journey: Journey) -> str:
    """The address of a run's repository with its owner's token, made as the application makes it."""
    if "fcgiwrap" not in running:
        pytest.skip("this stack is one without the profile `exchange`")
    folder = f"/wc1/runs/{journey.runid[:2]}/{journey.runid}"
    hook = f"{folder}/.git/hooks/pre-receive"
    tree_stack.compose(
        "exec", "-T", "fcgiwrap", "sh", "-euc",
        f"cd {folder}; git init --quiet --initial-branch=main; git config http.receivepack true; "
        "git config receive.denyCurrentBranch updateInstead; git config user.name WEPPcloud; "
        "git config user.email noreply@example.org; git add wepp; git commit --quiet --message first; "
        f"printf '#!/bin/sh\\nexec python3 -m wepppy.weppcloud.bootstrap.pre_receive\\n' > {hook}; chmod +x {hook}",
    )  # fmt: skip
    program = (
        "from wepppy.weppcloud.utils import auth_tokens; "
        f"print(auth_tokens.issue('owner', 'bootstrap', [], runid='{journey.runid}'))"
    )
    token = tree_stack.compose("exec", "-T", "weppcloud", "python", "-c", program).stdout.strip()
    return f"http://owner:{token}@{tree_stack.address}/git/{journey.runid[:2]}/{journey.runid}/.git"


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git with nobody's settings."""
    who = {
        f"GIT_{role}_{part}": "a@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for part in ("NAME", "EMAIL")
    }
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
                   "GIT_TERMINAL_PROMPT": "0", **who}  # fmt: skip
    return subprocess.run(
        ["git", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_run_is_cloned_and_pushed_to_with_its_token_and_the_trees_hook_decides(
    tree_stack: TreeStack, journey: Journey, repository: str, tmp_path: Path
) -> None:
    cloned = git("clone", "--quiet", repository, str(tmp_path / "run"))
    assert cloned.returncode == 0, cloned.stderr
    here = ("-C", str(tmp_path / "run"))
    (tmp_path / "run" / "wepp" / "notes.txt").write_text("from outside\n")
    assert git(*here, "add", "wepp").returncode == 0
    assert git(*here, "commit", "--quiet", "--message", "second").returncode == 0
    pushed = git(*here, "push", "--quiet", "origin", "main")
    assert pushed.returncode == 0, pushed.stderr
    refused = git(*here, "push", "--quiet", "origin", "main:other")
    assert "only refs/heads/main of a run can be pushed" in refused.stderr
    notes = f"/wc1/runs/{journey.runid[:2]}/{journey.runid}/wepp/notes.txt"
    assert tree_stack.compose("exec", "-T", "rq-worker", "cat", notes).stdout == "from outside\n"


def test_a_runs_token_opens_no_other_run(tree_stack: TreeStack, journey: Journey, repository: str) -> None:
    other = repository.replace(f"{journey.runid[:2]}/{journey.runid}", "ot/other-run")
    assert git("ls-remote", other).returncode != 0
    assert tree_stack.get(f"/git/{journey.runid[:2]}/{journey.runid}/.git/info/refs").status == 401
