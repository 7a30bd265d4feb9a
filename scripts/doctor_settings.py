"""Owns the checks of what this checkout and its `.env` say: the file itself, its keys, the source tree it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts import envfile, secretfiles
from scripts.catalogue import Catalogue
from scripts.doctor import Check, Finding, Level, Patient

# What makes a folder a wepppy tree, from its root; the requirements file is WEPPPY_REQUIREMENTS.
TREE = ("wepppy/weppcloud/app.py", "services/status2", "services/preflight2")
DEFAULT_REQUIREMENTS = "requirements.txt"
# Keys that tasks and Compose read but that no `.env.example` needs to list.
KNOWN_ELSEWHERE = {
    "COMPOSE_PATH_SEPARATOR",
    "DOCKER_DATA_DIR",
    "SECRETS_DIR",
    "STACK_ENV_FILE",
    "STACK_TAG",
}


def check_settings(patient: Patient) -> Iterator[Finding]:
    """`.env` is there, private, well-formed, and means the same to all its readers."""
    path = patient.compose.env_path
    env = envfile.read(path)
    name = envfile.shown(path)
    sound = True
    for problem in env.problems:
        level = Level.ERROR if problem.fatal else Level.WARNING
        yield Finding("settings", level, f"{name} line {problem.line} {problem.what}", problem.mend)
        sound = sound and not problem.fatal
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        yield Finding(
            "settings", Level.WARNING, f"{name} is open to others (mode {mode:04o})", f"chmod 600 {name}"
        )
    if sound:
        yield Finding("settings", Level.OK, f"{name}, {len(env.values)} keys")


def check_keys(patient: Patient) -> Iterator[Finding]:
    """Keys that nothing reads (a typing error, mostly), and keys that an update of the stack brought."""
    example_path = patient.compose.root / ".env.example"
    if not example_path.is_file() or not patient.compose.env_path.is_file():
        return
    example = envfile.read(example_path).values
    values = envfile.read(patient.compose.env_path).values
    name = envfile.shown(patient.compose.env_path)
    # A real tree reads settings of its own from the same file; only the sample's are all known.
    if not values.get("WEPPPY_SRC"):
        unknown = sorted(values.keys() - example.keys() - KNOWN_ELSEWHERE)
        if unknown:
            yield Finding(
                "settings",
                Level.WARNING,
                f"{name} has keys that .env.example does not know: {', '.join(unknown)}",
                "correct the spelling or delete them",
            )
    new = sorted(example.keys() - values.keys())
    if new and values:
        yield Finding(
            "settings",
            Level.WARNING,
            f"{name} lacks keys that are new in .env.example: {', '.join(new)}",
            "invoke env-init adds them",
        )


def check_secrets(patient: Patient) -> Iterator[Finding]:
    """Every secret that the model mounts has a value."""
    for problem in secretfiles.missing(patient.compose):
        yield Finding("secrets", Level.ERROR, problem.what, problem.mend)


def check_profiles(patient: Patient) -> Iterator[Finding]:
    """The profiles that are switched on exist."""
    Catalogue.of(patient.compose.model).check_profiles(patient.compose.active_profiles)
    yield from ()


def check_source_tree(patient: Patient) -> Iterator[Finding]:
    """WEPPPY_SRC names a wepppy tree; what was looked for is named."""
    compose = patient.compose
    named = compose.setting("WEPPPY_SRC")
    # As Compose reads it: relative to the compose files' folder.
    tree = compose.root / "docker" / (named or "sample")
    where = f"WEPPPY_SRC={named}" if named else "the bundled tree docker/sample"
    if named and not Path(named).is_absolute():
        where += f" (= {tree.resolve()})"
    if not tree.is_dir():
        what = "is not a folder" if tree.exists() else "does not exist"
        yield Finding("source tree", Level.ERROR, f"{where} {what}", _source_mend(named))
        return
    requirements = compose.setting("WEPPPY_REQUIREMENTS", DEFAULT_REQUIREMENTS)
    lacking = [each for each in (*TREE, requirements) if not (tree / each).exists()]
    if lacking:
        mend = _source_mend(named)
        if lacking == [requirements]:
            mend = (
                f"set WEPPPY_REQUIREMENTS in .env to the requirements file inside {named or 'docker/sample'}"
            )
        yield Finding("source tree", Level.ERROR, f"{where} has no {', no '.join(lacking)}", mend)
        return
    yield Finding("source tree", Level.OK, where)


def _source_mend(named: str) -> str:
    if not named:
        return "get it back: git checkout -- docker/sample"
    return (
        "set WEPPPY_SRC in .env to the absolute path of a wepppy checkout, or leave it empty for the sample"
    )


CHECKS: list[Check] = [check_settings, check_keys]
MODEL_CHECKS: list[Check] = [check_secrets, check_profiles, check_source_tree]
