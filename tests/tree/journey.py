"""What a user of WEPPcloud does from an account to an archive, with everything that could be seen of it meanwhile."""

from __future__ import annotations

import io
import uuid
import zipfile
from dataclasses import dataclass
from typing import Any

from tests.engine.run import Listener
from tests.tree.stack import PASSWORD, TreeStack

CONFIG = "disturbed9002"


@dataclass
class Journey:
    """A run that was computed, and what was seen of it."""

    runid: str
    page: str
    jobs: dict[str, str]
    results: dict[str, Any]
    messages: list[str]
    checklist: dict[str, bool]
    archive: zipfile.ZipFile


def travel(stack: TreeStack) -> Journey:
    """Register, log in, create a run, have each queue compute something of it, and download its archive."""
    stack.browser()
    email = f"{uuid.uuid4().hex}@example.org"
    account = {"email": email, "password": PASSWORD}
    for path in ("/weppcloud/register", "/weppcloud/login"):
        reply = stack.fill_in(path, **account)
        assert reply.status == 302, (path, reply.status, reply.body[:1000])
    created = stack.send("/rq-engine/create/", {"config": CONFIG, "lng": "-116.5", "lat": "45.25"})
    assert created.status == 303, (created.status, created.body[:1000])
    page = created.headers["location"]
    runid = page.split("/")[3]
    # The page lets its visitor browse the run.
    assert stack.get(page).status == 200
    api = f"/rq-engine/api/runs/{runid}/{CONFIG}"
    token = stack.send(f"{api}/session-token").content["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    status = Listener(stack.websocket("status", f"{runid}:wepp"))
    preflight = Listener(stack.websocket("preflight", runid))
    jobs: dict[str, str] = {}
    results: dict[str, Any] = {}
    for queue, path, document in (
        ("default", f"{api}/run-wepp", {}),
        ("batch", "/rq-engine/api/batch/_/tree/run-batch", {"runids": [runid]}),
        ("fork-archive", f"{api}/archive", {}),
    ):
        submitted = stack.send_json(path, document, **bearer)
        assert submitted.status == 200, (path, submitted.status, submitted.body[:1000])
        jobs[queue] = submitted.content["job_id"]
        results[queue] = stack.wait_for_job(jobs[queue])
    status.wait_for(
        lambda frame: frame["type"] == "status" and "COMPLETED" in frame["data"], "the last message"
    )
    ticked = preflight.wait_for_newest(
        lambda frame: frame["type"] == "preflight" and frame["checklist"]["wepp"], "the tick of the model"
    )
    archive = stack.get(f"{page}download/archives/{results['fork-archive']}")
    assert archive.status == 200, (archive.status, archive.body[:1000])
    return Journey(
        runid, page, jobs, results, [frame["data"] for frame in status.of_type("status")], ticked["checklist"],
        zipfile.ZipFile(io.BytesIO(archive.body)),
    )  # fmt: skip
