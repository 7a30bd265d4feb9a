"""The settings of a stack: the one reading of its `.env`, and what the caller's environment puts over it.

Compose expands `$` and escapes in values where python-dotenv does not; only text without `$`, `\\` and quotes, or
text in single quotes, is the same for both (docker/compose#11058). What differs is reported, never guessed at.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scripts.base.errors import StackError, refuse

DEFAULT_PROJECT = "wepppy"
# What the main stack's data folder holds; a second stack's own folder beside them is named like its project.
MAIN_FOLDERS = frozenset({"secrets", "postgres-backups", "moves", "constraints", "base", "build-environment"})
# Names another `.env`; for a second stack beside the first.
ENV_FILE_VARIABLE = "WEPP_ENV_FILE"
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a `.env` file. fatal: no task can work with it."""

    line: int
    what: str
    fix: str
    fatal: bool = True


@dataclass(frozen=True)
class EnvFile:
    """What a `.env` file says: its values in order, and what is wrong with it."""

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def get(self, key: str, default: str = "") -> str:
        """Return the value, or `default` when the key is missing or empty."""
        return self.values.get(key) or default


class Settings:
    """The settings of one checkout (`root`) and one `.env`.

    environment: the caller's, which wins over `.env` as it does for Compose.
    """

    def __init__(self, root: Path, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.environment = os.environ if environment is None else environment
        # Settings of this process alone, over those of the caller and `.env`.
        self.overrides: dict[str, str] = {}

    @property
    def env_path(self) -> Path:
        """The `.env` of this stack."""
        named = self.environment.get(ENV_FILE_VARIABLE)
        # A relative name is meant from where the caller stands.
        return Path.cwd() / named if named else self.root / ".env"

    @cached_property
    def env(self) -> EnvFile:
        """What `.env` says. Raise StackError when it is missing or unusable."""
        env = read(self.env_path)
        refuse_fatal(env)
        return env

    def setting(self, key: str, default: str = "") -> str:
        """Return a setting as Compose sees it: the caller's environment, then `.env`, then the default."""
        if key in self.overrides:
            return self.overrides[key]
        if key in self.environment:
            return self.environment[key] or default
        return self.env.get(key, default)

    @property
    def project(self) -> str:
        """Name of the project: prefix of its containers, volumes and networks."""
        return self.setting("COMPOSE_PROJECT_NAME", DEFAULT_PROJECT)

    @property
    def owner(self) -> tuple[int, int]:
        """uid and gid that containers run as, which own what they write."""
        return int(self.setting("UID", "1000")), int(self.setting("GID", "1000"))

    @property
    def data_dir(self) -> Path:
        """Folder of this stack's backups and secret files on the host. Raise StackError for one of the main stack's."""
        named = self.setting("DOCKER_DATA_DIR")
        if named:
            return self._not_of_main_stack(self._beside_compose_files(named))
        return self.folder_of_second(self.project) if self.is_second else self.root / ".docker-data"

    def folder_of_second(self, project: str) -> Path:
        """Data folder of a second stack. Raise StackError where it would be one of the main stack's folders."""
        return self._not_of_main_stack(self.root / ".docker-data" / project)

    def _not_of_main_stack(self, folder: Path) -> Path:
        if folder.parent == self.root / ".docker-data" and folder.name in MAIN_FOLDERS:
            refuse(
                f"{folder} cannot be the data folder of project {self.project}: it belongs to the main stack",
                f"choose another COMPOSE_PROJECT_NAME (and DOCKER_DATA_DIR) than {folder.name}",
            )
        return folder

    @property
    def build_environment(self) -> Path:
        """File that tells builds how this machine reaches packages."""
        return self.data_dir / "build" / "environment"

    @property
    def secrets_dir(self) -> Path:
        """Folder of the secret files."""
        named = self.setting("SECRETS_DIR")
        if named:
            return self._beside_compose_files(named)
        return (self.data_dir if self.is_second else self.root / ".docker-data") / "secrets"

    def _beside_compose_files(self, name: str) -> Path:
        # As Compose does it: relative to the first compose file, symbolic links left alone.
        return Path(os.path.normpath(self.root / "docker" / name))

    @property
    def is_sample(self) -> bool:
        """True when the stack runs the bundled sample, or a copy of it."""
        return holds_sample(self.root / "docker" / (self.setting("WEPPPY_SRC") or "sample"))

    @property
    def is_second(self) -> bool:
        """True for a stack that is not the one of the root's `.env`: they must not share backups or secrets."""
        if self.env_path != self.root / ".env":
            return True
        return self.project != self.env.get("COMPOSE_PROJECT_NAME", DEFAULT_PROJECT)

    def forget(self) -> None:
        """Read `.env` anew the next time it is asked for."""
        self.__dict__.pop("env", None)


def holds_sample(tree: Path) -> bool:
    """Return whether a source tree is the bundled sample: a wepppy checkout brings no data of its own."""
    return (tree / "wepppy" / "sample_data").is_dir()


def read(path: Path) -> EnvFile:
    """Read a `.env` file. Raise StackError when there is none or it cannot be read as text."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise StackError(
            f"{display_path(path)} is missing", "run `invoke env-init`, it writes one with fresh secrets"
        ) from error
    except UnicodeDecodeError as error:
        raise StackError(
            f"{display_path(path)} is not UTF-8 text (byte {error.start})",
            "save it again as plain UTF-8 text",
        ) from error
    except OSError as error:
        raise StackError(
            f"{display_path(path)} cannot be read: {error.strerror}",
            f"make it readable for yourself: sudo chown {os.getuid()} {display_path(path)}",
        ) from error
    return parse(text, path)


def refuse_fatal(env: EnvFile) -> None:
    """Raise StackError for the first problem that makes the file unusable."""
    for problem in env.problems:
        if problem.fatal:
            raise StackError(
                f"{display_path(env.path)} line {problem.line} {problem.what}",
                problem.fix,
            )


def display_path(path: Path) -> str:
    """Return the path as the user would type it: relative where it is below the current folder."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


def parse(text: str, path: Path) -> EnvFile:
    """Read the text of a `.env` file; what is wrong with it is collected, not raised."""
    from io import StringIO

    from dotenv.parser import parse_stream

    problems: list[Problem] = []
    values: dict[str, str] = {}
    if text.startswith("\ufeff"):
        problems.append(Problem(1, "starts with a byte order mark", "save it as UTF-8 without BOM"))
        text = text.removeprefix("\ufeff")
    for binding in parse_stream(StringIO(text)):
        # The parser hands blank lines over together with the assignment after them.
        lead = binding.original.string
        line = binding.original.line + lead[: len(lead) - len(lead.lstrip())].count("\n")
        source = lead.strip()
        if binding.error:
            problems.append(Problem(line, f"is malformed: {excerpt(source)}", "write it as KEY=value"))
        elif binding.key is not None:
            problems.extend(_problems_of(line, binding.key, binding.value, source, values))
            values[binding.key] = binding.value or ""
    if not values and not problems:
        problems.append(Problem(1, "is empty", "delete it and run `invoke env-init`"))
    return EnvFile(path, values, tuple(problems))


def _problems_of(
    line: int, key: str, value: str | None, source: str, earlier: Mapping[str, str]
) -> Iterator[Problem]:
    if not KEY.fullmatch(key):
        what = f"has a key Compose refuses: {excerpt(key)}"
        yield Problem(line, what, "use letters, digits and underscores only")
    if value is None:
        yield Problem(line, f"has no `=`: {excerpt(source)}", f"write it as {key}=value")
    elif why := different_readings(source):
        what = f"{key} is read differently by Compose and by Python: {why}"
        yield Problem(line, what, f"put the value in single quotes: {key}='...'", fatal=False)
    if key in earlier:
        yield Problem(line, f"{key} is there twice, the last one counts", "delete one of them", fatal=False)


def different_readings(source: str) -> str:
    """Return why Compose and python-dotenv would take different values from this assignment; empty when they agree."""
    value = source.partition("=")[2].strip()
    if quote := value[:1] if value[:1] in ("'", '"') else "":
        kind = "single" if quote == "'" else "double"
        if kind == "double" and "$" in value:
            return "`$` inside double quotes"
        return f"a backslash inside {kind} quotes" if "\\" in value else ""
    # A comment after a blank is no part of the value for either.
    return "`$` outside single quotes" if "$" in re.split(r"\s#", value, maxsplit=1)[0] else ""


def excerpt(source: str) -> str:
    """Return enough of a line to find it, never a value: it may be a secret."""
    head = re.split(r"[=\s]", source.strip(), maxsplit=1)[0][:30]
    return f"`{head}...`"
