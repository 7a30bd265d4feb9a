"""A stack of a real checkout, used as its users do: an account, a run, its jobs, its messages, its archive."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

from tests.engine.stack import Reply, Stack

DEADLINE_SECONDS = 180.0
PASSWORD = "a password of the test"


class TreeStack(Stack):
    """Adds what the application of a real tree offers over HTTP."""

    def browser(self) -> None:
        """Start anew as a visitor whose cookies go along over plain HTTP, though the application marks them Secure."""
        policy = DefaultCookiePolicy(secure_protocols=("http", "https"))
        jar = urllib.request.HTTPCookieProcessor(CookieJar(policy))
        self._opener = urllib.request.build_opener(jar, _Stay())

    @contextmanager
    def visitor(self) -> Iterator[None]:
        """Be somebody who has no session for the length of a block."""
        before = self._opener
        self.browser()
        try:
            yield
        finally:
            self._opener = before

    def send(self, path: str, form: dict[str, str] | None = None, **headers: str) -> Reply:
        """POST a form."""
        content = urllib.parse.urlencode(form or {}).encode()
        return self._ask(
            urllib.request.Request(f"http://{self.address}{path}", content, headers=headers, method="POST")
        )

    def send_json(self, path: str, document: object, **headers: str) -> Reply:
        """POST a document."""
        content = json.dumps(document).encode()
        headers = {"Content-Type": "application/json", **headers}
        return self._ask(
            urllib.request.Request(f"http://{self.address}{path}", content, headers=headers, method="POST")
        )

    def captcha(self) -> str:
        """Solve a CAPTCHA as the page's widget does; return the token that proves it."""
        key = self.settings["CAP_SITE_KEY"]
        posed = self.send_json(f"/cap/{key}/challenge", {}).content
        solutions = [_solution(salt, target) for salt, target in posed["challenge"]]
        solved = self.send_json(
            f"/cap/{key}/redeem", {"token": posed["token"], "solutions": solutions}
        ).content
        assert solved["success"], solved
        return str(solved["token"])

    def fill_in(self, path: str, **fields: str) -> Reply:
        """Load a page with a form, solve its CAPTCHA and send it."""
        page = self.get(path)
        found = re.search(r'name="csrf_token" value="([^"]+)"', page.body.decode())
        assert found, (page.status, page.body[:500])
        return self.send(path, {"csrf_token": found[1], "cap_token": self.captcha(), **fields})

    def wait_for_job(self, job_id: str) -> Any:
        """Wait until a job has ended; return its result."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            job = self.get(f"/rq-engine/api/jobstatus/{job_id}").content
            if job["status"] in ("finished", "failed"):
                assert job["status"] == "finished", (
                    job,
                    self.compose("logs", "--tail=50", check=False).stdout,
                )
                return job["result"]
            time.sleep(0.2)
        raise AssertionError(f"the job {job_id} did not end: {job}")


class _Stay(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to the caller, who looks at where they lead."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


def _solution(salt: str, target: str) -> int:
    """Return the first number that with `salt` hashes to what begins with `target`."""
    return next(
        number
        for number in itertools.count()
        if hashlib.sha256(f"{salt}{number}".encode()).hexdigest().startswith(target)
    )
