"""Owns what the flags of `bare-metal-migrate` say of the server that is left: where it listens, as whom to log in."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import ExitCode, StackError, usage

# Where the folder of the source's socket is shown inside the relay's container.
SOCKETS = "/source"
LOCAL = ("", "localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Origin:
    """A server outside the stack, and the database on it. password: empty where none is asked for.

    password_file: where it was read from; empty where it was not.
    """

    host: str
    port: int
    database: str
    user: str
    password: str
    password_file: str
    socket_dir: Path | None
    uid: int
    gid: int

    def __repr__(self) -> str:
        # Tracebacks and failing tests show representations.
        return f"Origin({self.shown!r})"

    @property
    def local(self) -> bool:
        """True for a server on this machine."""
        return self.socket_dir is not None or self.host in LOCAL

    @property
    def shown(self) -> str:
        """The source in words."""
        where = str(self.socket_dir) if self.socket_dir else self.host
        return f"{self.database} at {where} port {self.port} as {self.user}"


def origin(
    *,
    host: str,
    port: int,
    database: str,
    user: str,
    password_file: str,
    socket_dir: str,
    account: Callable[[str], tuple[int, int] | None] | None = None,
) -> Origin:
    """The source that the flags name. account: numbers of an account of this machine. Raises StackError.

    Over a socket the server may ask the kernel who comes (peer): the account named like the database user shall.
    """
    if not 1 <= port <= 65535:
        usage(f"--port={port} is no port", "give a number from 1 to 65535")
    if socket_dir and host not in LOCAL:
        usage(f"--socket-dir is on this machine and --host={host} is not", "give one of the two")
    for flag, value in (("--dbname", database), ("--user", user)):
        if not value:
            usage(f"{flag} is empty", "name the database and the user of the source, as for psql")
    folder = _socket_folder(socket_dir) if socket_dir else None
    ids = (account or _account)(user) if folder else None
    uid, gid = ids or (os.getuid(), os.getgid())
    file = str(Path.cwd() / Path(password_file).expanduser()) if password_file else ""
    return Origin(host or "localhost", port, database, user, _password(file), file, folder, uid, gid)


def _account(name: str) -> tuple[int, int] | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _socket_folder(name: str) -> Path:
    folder = (Path.cwd() / Path(name).expanduser()).resolve()
    if ":" in str(folder):
        usage(f"{folder} has a colon in its name, which no container can be given", "use --host instead")
    return folder


def demand_socket(origin: Origin, *, starting: bool) -> None:
    """Raises StackError when the source shall be met at a socket that is not there.

    starting: the server has only just been started, and makes its socket in a moment.
    """
    folder = origin.socket_dir
    if folder and not folder.is_dir():
        raise StackError(
            f"there is no folder {folder}",
            "the source's unix_socket_directories says where its socket is; is the server running?",
            ExitCode.REFUSED,
        )
    if folder and not starting and not (folder / f".s.PGSQL.{origin.port}").exists():
        raise StackError(
            f"no server has its socket for port {origin.port} in {folder}",
            f"start it, or correct --socket-dir and --port (look with ls -a {folder})",
            ExitCode.REFUSED,
        )


def _password(name: str) -> str:
    """The first line of the file. Raises StackError when it is missing, empty or readable for others."""
    if not name:
        return ""
    path = Path(name)
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(
            f"the password file {path} cannot be read: {error}",
            "name a file that holds the password as its first line",
            ExitCode.REFUSED,
        ) from error
    if mode & 0o077:
        raise StackError(
            f"others may read the password file {path} (mode {mode & 0o777:04o})",
            f"chmod 0600 {path}, and think of who may have read it",
            ExitCode.REFUSED,
        )
    password = text.partition("\n")[0].rstrip("\r")
    if not password:
        raise StackError(
            f"the password file {path} begins with an empty line",
            "write the password as its first line",
            ExitCode.REFUSED,
        )
    return password
