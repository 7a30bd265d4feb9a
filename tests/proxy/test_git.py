"""A run's repository through the proxy: git's own client, the stack's git-http-backend, the application's yes or no."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import containers
from tests.proxy.echo import ALICE
from tests.proxy.proxy import Proxy, container, docker

HOOK = """#!/bin/sh
echo "user=$HTTP_X_AUTH_USER token=$HTTP_AUTHORIZATION root=$WEPPPY_SOURCE_ROOT" > "$GIT_DIR/pushed"
"""


@pytest.fixture(scope="module")
def runs(bases: dict[str, str], backends: str) -> Iterator[str]:
    """The stack's git service with two runs' repositories; gives its container's id."""
    image = containers.git_image(bases)
    settings = ["--network-alias", "fcgiwrap", "--tmpfs", "/tmp", "--tmpfs", "/wc1:uid=1000,exec",
                "--env", "WEPPPY_SOURCE_ROOT=/workdir/wepppy", "--env", "HOME=/tmp"]  # fmt: skip
    with container("--network", backends, *settings, image) as made:
        for name in ("abc-def", "nameless"):
            folder = f"/wc1/runs/{name[:2]}/{name}"
            docker("exec", made, "git", "init", "--quiet", "--initial-branch=main", folder)
            for key, value in {
                "http.receivepack": "true", "receive.denyCurrentBranch": "updateInstead",
                "user.name": "WEPPcloud", "user.email": "noreply@example.org",
            }.items():  # fmt: skip
                docker("exec", made, "git", "-C", folder, "config", key, value)
            docker(
                "exec", made, "git", "-C", folder, "commit", "--quiet", "--allow-empty", "--message", "first"
            )
            script = f"cat > {folder}/.git/hooks/pre-receive && chmod +x {folder}/.git/hooks/pre-receive"
            subprocess.run(
                ["docker", "exec", "--interactive", made, "sh", "-c", script],
                input=HOOK,
                text=True,
                check=True,
            )
        yield made


def git(
    *arguments: str, headers: tuple[str, ...] = (), check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run git with extra request headers and nobody's settings."""
    extra = [word for header in headers for word in ("-c", f"http.extraHeader={header}")]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
                   "GIT_TERMINAL_PROMPT": "0", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
                   "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org"}  # fmt: skip
    done = subprocess.run(
        ["git", *extra, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def push(site: Proxy, folder: Path, name: str, headers: tuple[str, ...]) -> None:
    """Clone a run's repository, add a large file and push it."""
    address = f"http://127.0.0.1:{site.port}/git/{name[:2]}/{name}/.git"
    git("clone", "--quiet", address, str(folder), headers=headers)
    (folder / "wepp.txt").write_text("".join(f"{number * 7919 % 10007} " for number in range(400_000)))
    git("-C", str(folder), "add", "wepp.txt")
    git("-C", str(folder), "commit", "--quiet", "--message", "second")
    git("-C", str(folder), "push", "--quiet", "origin", "main", headers=headers)


def test_who_is_let_in_clones_and_pushes_under_the_name_the_application_gave(
    site: Proxy, runs: str, tmp_path: Path
) -> None:
    push(
        site,
        tmp_path / "run",
        "abc-def",
        (f"Authorization: {ALICE}", "X-Auth-User: evil", "X_Auth_User: evil"),
    )
    assert docker("exec", runs, "cat", "/wc1/runs/ab/abc-def/.git/pushed") == (
        "user=alice /git/ab/abc-def/.git/git-receive-pack token= root=/workdir/wepppy"
    )
    assert docker("exec", runs, "git", "-C", "/wc1/runs/ab/abc-def", "log", "--format=%s") == "second\nfirst"


def test_a_name_that_the_application_did_not_give_does_not_arrive(
    site: Proxy, runs: str, tmp_path: Path
) -> None:
    push(site, tmp_path / "run", "nameless", (f"Authorization: {ALICE}", "X-Auth-User: evil"))
    assert "evil" not in docker("exec", runs, "cat", "/wc1/runs/na/nameless/.git/pushed")


def test_who_is_not_let_in_is_asked_for_a_token(site: Proxy, runs: str) -> None:
    reply = site.ask("/git/ab/abc-def/.git/info/refs?service=git-upload-pack", X_Auth_User="alice")
    assert (reply.status, reply.headers["www-authenticate"], reply.body) == (
        401,
        'Basic realm="runs"',
        b"who?",
    )
    refused = git("ls-remote", f"http://127.0.0.1:{site.port}/git/ab/abc-def/.git", check=False)
    assert refused.returncode != 0


def test_an_absent_repository_is_not_found(site: Proxy, runs: str) -> None:
    assert site.ask("/git/no/none/.git/info/refs", Authorization=ALICE).status == 404


def test_no_path_leads_out_of_the_runs(site: Proxy, runs: str) -> None:
    for path in (
        "/git/../../srv/health.git/HEAD",
        "/git/%2e%2e/%2e%2e/srv/health.git/HEAD",
        "/git/..%2f..%2fsrv/health.git/HEAD",
    ):
        assert site.ask(path, Authorization=ALICE).status in (403, 404), path


def test_the_services_own_health_is_gits_answer(runs: str) -> None:
    docker("exec", runs, "fcgiwrap-health")
    broken = "SCRIPT_FILENAME=/usr/bin/id REQUEST_METHOD=GET cgi-fcgi -bind -connect 127.0.0.1:9000"
    assert "403 Forbidden" in docker("exec", runs, "sh", "-c", broken)
