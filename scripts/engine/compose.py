"""Call `docker compose` for one stack: with which files, project and settings; read the rendered model.

Commands run from the repository's root with paths relative to it, so that what is echoed can be pasted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.base.errors import StackError
from scripts.engine.catalogue import Catalogue
from scripts.engine.container import Container
from scripts.engine.docker import Engine, unreachable
from scripts.engine.runner import NOT_FOUND, TIMED_OUT, Result, Runner
from scripts.settings import package_index, secret_ids
from scripts.settings.envfile import Settings, display_path

DEFAULT_FILE = "docker/docker-compose.dev.yml"
ALL_PROFILES = ("*",)
RENDER_SECONDS = 60.0
# Ends the program behind it at the end of its input; docker/python/stack holds it.
ATTENDED = ("python", "/opt/stack/attended.py")


class Compose(Settings):
    """The stack of one checkout (`root`), one `.env` and one project name.

    environment: the caller's, which wins over `.env` as it does for Compose. profiles: instead of those in `.env`.
    """

    def __init__(
        self,
        root: Path,
        runner: Runner,
        *,
        environment: Mapping[str, str] | None = None,
        profiles: Sequence[str] = (),
    ) -> None:
        super().__init__(root, environment)
        self.runner = runner
        self.engine = Engine(runner)
        self.profiles = tuple(profiles)

    # ---- settings ----

    @property
    def files(self) -> list[str]:
        """The compose files of this run, in order of precedence."""
        return self._split(self.setting("COMPOSE_FILE", DEFAULT_FILE))

    @property
    def listed_files(self) -> list[str]:
        """The compose files that `.env` lists, whatever the caller exports."""
        return self._split(self.env.get("COMPOSE_FILE", DEFAULT_FILE))

    def _split(self, files: str) -> list[str]:
        return [name for name in files.split(self.setting("COMPOSE_PATH_SEPARATOR", ":")) if name]

    @property
    def active_profiles(self) -> list[str]:
        if self.profiles:
            return list(self.profiles)
        return [name.strip() for name in self.setting("COMPOSE_PROFILES").split(",") if name.strip()]

    def child_environment(self) -> dict[str, str]:
        """Return the variables that a `docker compose` of this stack needs beyond the caller's and `.env`."""
        added: dict[str, str] = dict(self.overrides)
        if self.env_path != self.root / ".env" and not self.setting("STACK_ENV_FILE"):
            added["STACK_ENV_FILE"] = str(self.env_path)
        if self.is_second:
            if not self.setting("DOCKER_DATA_DIR"):
                added["DOCKER_DATA_DIR"] = str(self.data_dir)
            if not self.setting("SECRETS_DIR"):
                added["SECRETS_DIR"] = str(self.secrets_dir)
        if not self.setting("BUILD_CA_BUNDLE") and (bundle := package_index.ca_bundle(self.environment)):
            added["BUILD_CA_BUNDLE"] = str(bundle)
        mirrors = self.build_environment
        if mirrors.is_file() and not self.setting("BUILD_ENVIRONMENT_FILE"):
            added["BUILD_ENVIRONMENT_FILE"] = str(mirrors)
        # Compose puts what it reads from `.env` into its own environment and so into that of each program it runs
        # (buildx, git). What the containers get as files is held back: a variable that is set is left as it is.
        added.update({key: "" for key in secret_ids.BY_KEY if self.env.get(key)})
        return added

    # ---- commands ----

    def argv(self, *arguments: str, profiles: Sequence[str] | None = None) -> list[str]:
        """Return the argument list of one `docker compose` command."""
        command = ["docker", "compose", "--env-file", self._relative(self.env_path)]
        for name in self.files:
            command += ["--file", name]
        for profile in self.profiles if profiles is None else profiles:
            command += ["--profile", profile]
        return [*command, *arguments]

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def stream(
        self,
        *arguments: str,
        profiles: Sequence[str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Result:
        """Run a command that changes something, its output to stderr or to `on_line`."""
        return self.runner.stream(
            self.argv(*arguments, profiles=profiles), env=self.child_environment(), on_line=on_line
        )

    def stream_in(
        self,
        container: Sequence[str],
        program: Sequence[str],
        *,
        on_line: Callable[[str], None] | None = None,
    ) -> Result:
        """Run a Python service's program that ends with this process, however this process ends.

        container: `exec` or `run` with its flags and the service's name.
        """
        command = self.argv(*container, *ATTENDED, *program)
        return self.runner.stream(command, env=self.child_environment(), on_line=on_line, attended=True)

    def attach(self, *arguments: str, profiles: Sequence[str] | None = None) -> int:
        """Run a command with the user's terminal; return its exit status."""
        return self.runner.attach(self.argv(*arguments, profiles=profiles), env=self.child_environment())

    def capture(self, *arguments: str, profiles: Sequence[str] | None = None) -> Result:
        """Ask Compose a question."""
        argv = self.argv(*arguments, profiles=profiles)
        return self.runner.capture(argv, env=self.child_environment(), timeout=RENDER_SECONDS)

    @property
    def model(self) -> dict[str, Any]:
        """The rendered model with all profiles. Raise StackError when the files do not render."""
        return self.rendering.result()

    @cached_property
    def rendering(self) -> Future[dict[str, Any]]:
        """The model as it is being rendered: asked for early, Compose reads its files beside what is done meanwhile."""
        pool = ThreadPoolExecutor(1)
        rendering = pool.submit(self._render)
        pool.shutdown(wait=False)
        return rendering

    def _render(self) -> dict[str, Any]:
        missing = [name for name in self.files if not (self.root / name).is_file()]
        if missing:
            raise StackError(
                f"COMPOSE_FILE names {missing[0]}, which does not exist",
                f"correct COMPOSE_FILE in {display_path(self.env_path)} (paths from {self.root})",
            )
        result = self.capture("config", "--format", "json", profiles=ALL_PROFILES)
        if result.returncode in (NOT_FOUND, TIMED_OUT):
            raise unreachable(result)
        # `docker` itself says so where nothing answers to `compose`.
        if "unknown flag: --env-file" in result.stderr:
            raise StackError("Docker Compose is not installed", "run scripts/setup, it installs it")
        if not result.ok:
            fix = f"fix the file it names; COMPOSE_FILE in {display_path(self.env_path)} is {':'.join(self.files)}"
            # What releases before 2.29 say to a number of processes from a setting; Debian's 2.26.1 takes it.
            if "limits.pids must be a integer" in result.stderr:
                fix = "install Docker Compose 2.29 or newer"
            raise StackError(
                f"the compose files do not render: {result.complaint}",
                fix,
                details="\n".join(result.stderr.splitlines()[:-1]),
            )
        model = unescaped(json.loads(result.stdout))
        assert isinstance(model, dict)  # noqa: S101 - Compose renders a mapping
        return model

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue.of(self.model)

    def containers(
        self, services: Collection[str] | None = None, *, running: bool = False
    ) -> list[Container]:
        """Return the containers of the stack's services, of all or of these, without those of a single command (`run`).

        Raise StackError when the engine does not answer.
        """
        return [
            each
            for each in self.engine.containers(self.project)
            if not each.oneoff
            and (services is None or each.service in services)
            and (not running or each.state == "running")
        ]

    def secret_file(self, name: str) -> Path:
        """Return the file of a secret that containers get."""
        found = (self.model.get("secrets") or {}).get(name) or {}
        return Path(found.get("file") or self.secrets_dir / name)

    def forget(self) -> None:
        """Read `.env` and model anew the next time they are asked for."""
        super().forget()
        self.__dict__.pop("rendering", None)


def unescaped(value: Any) -> Any:
    """Return the rendered model with `$$` as the `$` it stands for (Compose escapes on output)."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [unescaped(each) for each in value]
    if isinstance(value, dict):
        return {key: unescaped(each) for key, each in value.items()}
    return value
