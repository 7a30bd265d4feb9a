"""The stack's folder of secrets: one file per id, the only source of a secret.

Folder 0700, files 0444: Compose ignores owner and mode of file secrets (docker/compose#9648), so the files must be
readable for whatever user a container runs as; on the host the folder keeps everybody else out.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.base.console import Console
from scripts.base.errors import ExitCode, StackError
from scripts.base.files import private_folder, replace
from scripts.settings import env_editing, envfile, secret_ids
from scripts.settings.envfile import Settings

FILE_MODE = 0o444
# Where a wepppy tree keeps the files of its own deployment.
TREE_SECRETS = Path("docker") / "secrets"
TREE_FIX = (
    "run `invoke env-init` as the owner of the tree's secrets, or copy them into the stack's folder yourself"
)


@dataclass(frozen=True)
class Made:
    """What `ensure` did: ids that were generated or taken from the tree, keys that left `.env` or stayed there.

    kept: ids for which the tree has another value. left: keys for which `.env` has another value; the files count.
    """

    folder: Path
    generated: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def ensure(settings: Settings) -> Made:
    """Make the folder and each file that is missing; move what an older `.env` holds into files.

    A file that holds something stays as it is: the stores know its value. What docker/secrets/ of the tree in
    WEPPPY_SRC holds is copied for ids that have no value here. Raise StackError when the folder or `.env` cannot be
    read or written.
    """
    env = settings.env
    named = settings.setting("WEPPPY_SRC")
    tree = settings.root / "docker" / named / TREE_SECRETS if named else None
    made = [_fill(folder, env, tree) for folder in _folders(settings)]
    # Another value than that of the file stays where it is: it may be wanted, and nothing else has it.
    left = made[0].left
    gone = [key for key in secret_ids.BY_KEY if key in env.values and key not in left]
    if gone:
        # Their values are on the disk now.
        env_editing.set_keys(env.path, dict.fromkeys(gone))
        settings.forget()
    return dataclasses.replace(made[-1], moved=tuple(key for key in gone if env.get(key)), left=left)


def remove_older(settings: Settings) -> None:
    """Delete files under an older name. To be called when no container mounts them any more."""
    for secret in secret_ids.ALL:
        if secret.older and (settings.secrets_dir / secret.id).is_file():
            (settings.secrets_dir / secret.older).unlink(missing_ok=True)


def _folders(settings: Settings) -> list[Path]:
    """Return the stack's folder and, where it is another, the one of the stack that `.env` is written for.

    A project name that is only exported makes a second stack with the same `.env`: what leaves it belongs to both.
    """
    ours = settings.secrets_dir
    if not secret_ids.BY_KEY.keys() & settings.env.values.keys():
        return [ours]
    exported = {"COMPOSE_PROJECT_NAME", "DOCKER_DATA_DIR", "SECRETS_DIR"}
    kept = {key: value for key, value in settings.environment.items() if key not in exported}
    theirs = Settings(settings.root, kept).secrets_dir
    return [ours] if theirs == ours else [theirs, ours]


def _fill(folder: Path, env: envfile.EnvFile, tree: Path | None) -> Made:
    generated, taken, kept, left = [], [], [], []
    try:
        found = env.path.stat()
        private_folder(folder, owner := (found.st_uid, found.st_gid))
        with _alone(folder):
            first = not (folder / secret_ids.ALL[-1].id).exists()
            for secret in secret_ids.ALL:
                path, named = folder / secret.id, env.get(secret.key)
                value = here = read(path)
                theirs = read(tree / secret.id, TREE_FIX) if tree else ""
                # In a folder of the time before, `.env` is what the services were started with at every compose-up;
                # the database's password alone was not: the role keeps the one that the file had at its start.
                if named and (not here or (first and secret.id != secret_ids.DATABASE)):
                    value = named
                elif not here and (earlier := (secret.older and read(folder / secret.older)) or theirs):
                    value = earlier
                    taken += [secret.id]
                elif not here and secret.generate:
                    value = secret.generate()
                    generated += [secret.id]
                left += [secret.key] if named and named != value else []
                kept += [secret.id] if theirs and theirs != value else []
                if value != here or not path.exists():
                    replace(path, value, FILE_MODE, owner)
                elif stat.S_IMODE(path.stat().st_mode) != FILE_MODE:
                    path.chmod(FILE_MODE)
    except OSError as error:
        raise StackError(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            f"make the folder your own: sudo chown -R {os.getuid()} {folder.parent}",
        ) from error
    return Made(folder, tuple(generated), tuple(taken), tuple(kept), (), tuple(left))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other tasks from filling the same folder meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(path: Path, fix: str = "") -> str:
    """Return the secret in the file without surrounding blanks; empty when there is none.

    Raise StackError, with that fix or its own, when the file is there and cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise StackError(
            f"{envfile.display_path(path)} is not UTF-8 text",
            fix or "write the secret again, as one line of text",
        ) from error
    except OSError as error:
        raise StackError(
            f"{envfile.display_path(path)} cannot be read: {error.strerror}",
            fix or f"make it readable for yourself: sudo chown -R {os.getuid()} {path.parent}",
        ) from error


def first_line(path: Path, code: ExitCode) -> str:
    """Return the first line of a file that holds a password. Raise StackError with this code when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(
            f"{path} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8 text')}",
            "name a file that holds the password as its first line",
            code,
        ) from error
    return text.partition("\n")[0].rstrip("\r")


def value(settings: Settings, name: str) -> str:
    """Return the secret with that id; empty when there is none. Raise StackError as `read` does."""
    return read(settings.secrets_dir / name)


def tell(console: Console, made: Made) -> None:
    """Say what `ensure` did, never a value."""
    where = envfile.display_path(made.folder)
    if made.moved:
        console.say(f"moved from .env into files in {where}: {', '.join(made.moved)}")
    if made.taken:
        console.say(f"taken over into {where}: {', '.join(made.taken)}")
    if secret_ids.ADMIN in made.generated:
        console.say(
            f"secrets generated in {where}; the first account's password is in {where}/{secret_ids.ADMIN}"
        )


def tell_kept(console: Console, made: Made) -> None:
    """Say which values of the tree and of `.env` do not count."""
    where = envfile.display_path(made.folder)
    if made.kept:
        console.warn(
            f"{where} keeps its own values, the stores may know them; the tree has others: {', '.join(made.kept)}"
        )
    for key in made.left:
        console.warn(f"{key} in .env is another value than {where}/{secret_ids.BY_KEY[key].id}, which counts")
