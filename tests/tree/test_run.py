"""The main job in a real checkout: a run is created, computed by each queue's worker, streamed, ticked, archived."""

from __future__ import annotations

import json

import pytest

from tests.tree.journey import CONFIG, Journey
from tests.tree.stack import TreeStack

WORKERS = {"default": "rq-worker", "batch": "rq-worker-batch", "fork-archive": "rq-worker-fork-archive"}
TICKED = {"channels", "outlet", "subcatchments", "landuse", "soils", "climate", "wepp"}
# What the proxy must serve of the tree, and a part of what each holds.
FILES = {
    "/weppcloud/static/js/controllers-gl.js": "StatusStream",
    "/weppcloud/static/css/ui-foundation.css": "body",
    "/usersum/static/usersum.css": ".usersum",
    "/weppcloud/usersum/static/usersum.css": ".usersum",
    "/favicon.ico": "",
}


def test_what_should_run_is_healthy_and_what_is_off_with_a_real_tree_is_off(tree_stack: TreeStack) -> None:
    lines = tree_stack.compose("ps", "--all", "--format", "json").stdout.splitlines()
    states = {entry["Service"]: entry for entry in map(json.loads, lines)}
    assert {name: entry for name, entry in states.items() if entry["Health"] == "unhealthy"} == {}
    assert {*WORKERS.values(), "weppcloud", "rq-engine", "cap", "download", "scheduler"} <= {
        name for name, entry in states.items() if entry["State"] == "running"
    }
    assert "webpush" not in states


@pytest.mark.parametrize(
    "path",
    ["/", "/weppcloud/", "/weppcloud/login", "/weppcloud/register", "/weppcloud/interfaces/", "/weppcloud/usersum/",
     "/rq-engine/health", "/cap/health"],
)  # fmt: skip
def test_a_page_that_a_user_needs_answers(tree_stack: TreeStack, path: str) -> None:
    with tree_stack.visitor():
        reply = tree_stack.get(path)
    assert reply.status in (200, 302), reply.body[:1000]


@pytest.mark.parametrize("path", FILES)
def test_a_static_file_of_the_tree_is_served(tree_stack: TreeStack, path: str) -> None:
    reply = tree_stack.get(path)
    assert reply.status == 200, reply.body[:200]
    assert FILES[path].encode() in reply.body


def test_the_front_end_that_npm_builds_is_served(tree_stack: TreeStack) -> None:
    page = tree_stack.get("/weppcloud/login").body.decode()
    sources = [part.partition('"')[0] for part in page.split('src="')[1:] if "/static/vendor/" in part]
    assert sources, page
    assert [tree_stack.get(source).status for source in sources] == [200] * len(sources)


def test_a_run_is_in_its_owners_list_and_not_open_to_others(tree_stack: TreeStack, journey: Journey) -> None:
    assert journey.runid in tree_stack.get("/weppcloud/runs/").body.decode()
    with tree_stack.visitor():
        assert tree_stack.get(journey.page).status == 403
        assert tree_stack.get(f"{journey.page}browse/").status in (401, 403)


def test_a_job_of_each_queue_is_computed_by_that_queues_own_worker(
    tree_stack: TreeStack, journey: Journey
) -> None:
    logs = {
        queue: tree_stack.compose("logs", "--no-color", service).stdout for queue, service in WORKERS.items()
    }
    found = {job: [queue for queue, text in logs.items() if job in text] for job in journey.jobs.values()}
    assert found == {job: [queue] for queue, job in journey.jobs.items()}


def test_the_statistics_are_those_of_the_run(journey: Journey) -> None:
    run, batch = journey.results["default"], journey.results["batch"]
    assert batch["hillslopes"] == run["hillslopes"] > 0
    assert batch["mean_loss"] == pytest.approx(run["mean_loss"])
    assert 0 < run["mean_loss"] <= run["max_loss"]


def test_every_message_of_the_run_is_streamed_in_order(journey: Journey) -> None:
    hillslopes = journey.results["default"]["hillslopes"]
    told = [f"hillslope {number} of {hillslopes}" for number in range(12, hillslopes + 1, 12)]
    assert [text for text in journey.messages if text.startswith("hillslope")] == told
    assert journey.messages[-1].startswith("COMPLETED")


def test_the_checklist_is_ticked(journey: Journey) -> None:
    assert {name for name, done in journey.checklist.items() if done} == TICKED


def test_the_archive_holds_the_results(journey: Journey) -> None:
    assert journey.archive.testzip() is None
    assert json.loads(journey.archive.read("wepp/output/totals.json")) == journey.results["default"]
    assert json.loads(journey.archive.read("ron.nodb"))["config"] == CONFIG


def test_a_new_database_has_the_rows_that_only_a_migration_inserts(tree_stack: TreeStack) -> None:
    asked = tree_stack.compose(
        "exec", "-T", "postgres", "psql", "-U", tree_stack.settings["POSTGRES_USER"], "-tA",
        "-c", "SELECT count(*) FROM feature_access_group",
        tree_stack.settings["POSTGRES_DB"],
    )  # fmt: skip
    assert asked.stdout.strip() == "6"
