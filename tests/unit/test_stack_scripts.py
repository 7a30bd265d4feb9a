"""The programs of docker/python/stack that need nothing but an interpreter."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

STACK = Path(__file__).parents[2] / "docker" / "python" / "stack"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers 200 for /health, else 503."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
        self.wfile.write(b"the database\nis away")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def run(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(STACK / name), *arguments]
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


def test_health_is_an_answer_of_200_and_else_says_in_one_line_what_came(port: int) -> None:
    assert run("http-health.py", f"http://127.0.0.1:{port}/health").returncode == 0
    bad = run("http-health.py", f"http://127.0.0.1:{port}/other")
    assert bad.returncode == 1
    assert "503" in bad.stdout
    assert bad.stdout.endswith("the database is away\n")


def test_health_of_a_service_that_does_not_listen_is_bad_and_says_so() -> None:
    done = run("http-health.py", "http://127.0.0.1:1/health")
    assert (done.returncode, done.stderr) == (1, "")
    assert "refused" in done.stdout


def test_a_secret_that_nobody_filled_in_is_none_and_other_files_are_left_alone(tmp_path: Path) -> None:
    variables = {"ONE_FILE": "/run/secrets/not-there", "TWO_FILE": "", "THREE_FILE": str(tmp_path / "absent")}
    done = run("enter.py", "env", **variables)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if "_FILE=" in line] == [
        f"THREE_FILE={tmp_path}/absent"
    ]


def test_what_a_container_says_to_its_own_address_reaches_the_proxy(port: int, free_port: int) -> None:
    ask = (
        "import time, urllib.request as u\n"
        "for attempt in range(100):\n"
        f"    try: print(u.urlopen('http://127.0.0.1:{free_port}/health').status); break\n"
        "    except OSError: time.sleep(0.1)\n"
    )
    rule = f"{free_port}=127.0.0.1:{port}"
    # The forwarding process outlives its command here, as no container ends with it: its output is not waited for.
    program = f"import subprocess, sys; print(subprocess.run([sys.executable, '-c', {ask!r}]).returncode)"
    command = [sys.executable, str(STACK / "enter.py"), "--own-address", rule, sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as started:
        assert started.stdout is not None
        try:
            assert started.stdout.readline() == "200\n"
        finally:
            os.killpg(started.pid, 15)


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        return int(server.server_address[1])


def revision_of(tree: Path, packages: Path) -> str:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import workerrevision; "
    code += "print(workerrevision.revision(*map(Path, sys.argv[2:])))"
    command = [sys.executable, "-I", "-S", "-c", code, str(STACK), str(tree), str(packages)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_hosts_have_one_revision_as_long_as_their_sources_and_packages_are_the_same(tmp_path: Path) -> None:
    for host in ("one", "two"):
        (tmp_path / host / "tree/wepppy/rq").mkdir(parents=True)
        (tmp_path / host / "tree/wepppy/rq/jobs.py").write_text("def run(): ...\n")
        (tmp_path / host / "packages/rq-1.16.2.dist-info").mkdir(parents=True)

    def revisions() -> tuple[str, str]:
        one, two = (
            revision_of(tmp_path / host / "tree", tmp_path / host / "packages") for host in ("one", "two")
        )
        return one, two

    same, also = revisions()
    assert same == also
    tree = tmp_path / "two/tree"
    for other in ("wepppy/__pycache__/x.py", "node_modules/a/x.py", ".git/x.py", "wepppy/readme.md"):
        (tree / other).parent.mkdir(parents=True, exist_ok=True)
        (tree / other).write_text("other")
    (tree / "nowhere.py").symlink_to("/nowhere")
    (tmp_path / "one/tree/nowhere.py").symlink_to("/nowhere")
    one, two = revisions()
    assert one == two
    (tree / "wepppy/rq/jobs.py").rename(tree / "wepppy/jobs.py")
    one, two = revisions()
    assert one != two
    (tree / "wepppy/jobs.py").rename(tree / "wepppy/rq/jobs.py")
    assert len(set(revisions())) == 1
    (tree / "wepppy/rq/jobs.py").write_text("def run(): pass\n")
    assert len(set(revisions())) == 2
    (tree / "wepppy/rq/jobs.py").write_text("def run(): ...\n")
    (tmp_path / "two/packages/rq-1.16.2.dist-info").rename(tmp_path / "two/packages/rq-3.0.0.dist-info")
    assert len(set(revisions())) == 2
