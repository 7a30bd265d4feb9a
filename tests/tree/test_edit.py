"""What a developer of a checkout does: an edit of a Python file is live, and a worker's next job runs it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tree.checkout import Checkout
from tests.tree.journey import CONFIG
from tests.tree.stack import DEADLINE_SECONDS, TreeStack


@pytest.fixture
def developed(tree_stack: TreeStack, way: str) -> TreeStack:
    """The stack, if it runs the checkout itself."""
    if not way.startswith("dev"):
        pytest.skip("production runs a copy of the tree")
    return tree_stack


@contextmanager
def edited(file: Path, old: str, new: str) -> Iterator[None]:
    """Replace a text of a file for the length of a block."""
    before = file.read_text()
    assert old in before
    file.write_text(before.replace(old, new))
    try:
        yield
    finally:
        file.write_text(before)


def wait_for_text(stack: TreeStack, path: str, wanted: str) -> float:
    """Return when a page holds a text: the seconds until then."""
    started = time.monotonic()
    while time.monotonic() < started + DEADLINE_SECONDS:
        reply = stack.get(path)
        if reply.status == 200 and wanted in reply.body.decode():
            return time.monotonic() - started
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {wanted!r}: {reply.status} {reply.body[:500]!r}")


# File, a text of it, another one for it, and the page that then has the word INDEX: threads, then uvicorn's workers.
EDITS = [
    ("wepppy/weppcloud/routes/usersum/__init__.py", "title=name", 'title="INDEX"', "/weppcloud/usersum/"),
    ("wepppy/microservices/rq_engine/__init__.py", '"rq-engine"}', '"INDEX"}', "/rq-engine/health"),
    ("wepppy/microservices/browse.py", 'PlainTextResponse("OK")', 'PlainTextResponse("INDEX")', "/browse/health"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "path"), EDITS)
def test_an_edit_of_a_python_file_is_live(
    developed: TreeStack, checkout: Checkout, file: str, old: str, new: str, path: str
) -> None:
    with edited(checkout.root / file, old, new):
        wait_for_text(developed, path, "INDEX")


@pytest.mark.full
@pytest.mark.parametrize(("file", "old", "new", "path"), EDITS)
def test_edits_one_after_the_other_are_each_live(
    developed: TreeStack,
    checkout: Checkout,
    capsys: pytest.CaptureFixture[str],
    file: str,
    old: str,
    new: str,
    path: str,
) -> None:
    took = []
    for number in range(5):
        word = f"INDEX{number}"
        with edited(checkout.root / file, old, new.replace("INDEX", word)):
            took.append(wait_for_text(developed, path, word))
    with capsys.disabled():
        print(f"\n{path}: an edit is live after {', '.join(f'{seconds:.2f}' for seconds in took)} s")


def test_the_next_job_runs_an_edited_task(developed: TreeStack, checkout: Checkout) -> None:
    with developed.visitor():
        captcha = {"config": CONFIG, "cap_token": developed.captcha()}
        page = developed.send("/rq-engine/create/", captcha).headers["location"]
        assert developed.get("/weppcloud/login").status == 200  # makes a session
        api = f"/rq-engine/api{page.removeprefix('/weppcloud').rstrip('/')}"
        bearer = {"Authorization": f"Bearer {developed.send(f'{api}/session-token').content['token']}"}
        with edited(checkout.root / "wepppy/rq/wepp_rq.py", '"hillslopes": len(losses)', '"hillslopes": -1'):
            job = developed.send_json(f"{api}/run-wepp", {}, **bearer).content["job_id"]
            assert developed.wait_for_job(job)["hillslopes"] == -1
