"""One stack on a real engine, driven the way its users drive it: `invoke`, `docker compose`, HTTP, websockets."""

from __future__ import annotations

import http.cookiejar
import json
import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parents[2]
Command = subprocess.CompletedProcess[str]


@dataclass
class Reply:
    """An HTTP answer: status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The body as JSON, without the `Content` that success is wrapped in."""
        document = json.loads(self.body)
        return document.get("Content", document) if isinstance(document, dict) else document


@dataclass
class Stack:
    """A stack known by its `.env`."""

    env_file: Path
    cookies: http.cookiejar.CookieJar = field(default_factory=http.cookiejar.CookieJar, repr=False)
    _opener: urllib.request.OpenerDirector | None = field(default=None, repr=False)

    @property
    def settings(self) -> dict[str, str]:
        """The values of `.env`."""
        return {key: value or "" for key, value in dotenv_values(self.env_file, interpolate=False).items()}

    @property
    def name(self) -> str:
        """The Compose project's name."""
        return self.settings["COMPOSE_PROJECT_NAME"]

    @property
    def address(self) -> str:
        """Caddy's host and port on this machine."""
        return f"127.0.0.1:{self.settings['PORT_CADDY']}"

    @property
    def tree(self) -> Path:
        """The source tree that its containers run."""
        return Path(self.settings.get("WEPPPY_SRC") or ROOT / "docker" / "sample")

    def secret_file(self, name: str) -> Path:
        """The file of the secret with that id."""
        return Path(self.settings.get("SECRETS_DIR") or ROOT / ".docker-data" / "secrets") / name

    def secret(self, name: str) -> str:
        """The secret with that id."""
        return self.secret_file(name).read_text(encoding="utf-8")

    # ---- commands ----

    @property
    def task_environment(self) -> dict[str, str]:
        """What a task of this stack is run with: nothing that the caller's environment says of another one."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
        return {**kept, "WEPP_ENV_FILE": str(self.env_file)}

    def invoke(self, *arguments: str, check: bool = True, timeout: float = 900, **variables: str) -> Command:
        """Run a task against this stack."""
        return self._run(["invoke", *arguments], check, timeout, variables)

    def compose(self, *arguments: str, check: bool = True, timeout: float = 300, **variables: str) -> Command:
        """Run `docker compose` by hand from the repository's root, its settings named by COMPOSE_ENV_FILES."""
        variables = {"COMPOSE_ENV_FILES": str(self.env_file), **variables}
        return self._run(["docker", "compose", *arguments], check, timeout, variables)

    def _run(self, command: list[str], check: bool, timeout: float, variables: dict[str, str]) -> Command:
        done = subprocess.run(
            command, cwd=ROOT, env={**self.task_environment, **variables}, capture_output=True, text=True,
            timeout=timeout, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    # ---- HTTP through Caddy ----

    def get(self, path: str, **headers: str) -> Reply:
        """GET a path; any status is an answer."""
        return self._ask(urllib.request.Request(f"http://{self.address}{path}", headers=headers))

    def post(self, path: str, document: object) -> Reply:
        """POST JSON to the application with the session's CSRF token."""
        token = self.get("/weppcloud/api/csrf-token").content["csrf_token"]
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            data=json.dumps(document).encode(),
            headers={"Content-Type": "application/json", "X-CSRFToken": token},
            method="POST",
        )
        return self._ask(request)

    def _ask(self, request: urllib.request.Request) -> Reply:
        if self._opener is None:
            self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        try:
            with self._opener.open(request, timeout=60) as answer:
                return Reply(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    # ---- websockets through Caddy ----

    def websocket(self, service: str, topic: str) -> str:
        """Address of a websocket: of `status` for `<runid>:<channel>`, of `preflight` for `<runid>`."""
        return f"ws://{self.address}/weppcloud-microservices/{service}/{topic}"
