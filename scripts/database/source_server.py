"""What the flags of `bare-metal-migrate` say of the source server: where it listens, as whom to log in."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.base.errors import ExitCode, refuse, usage
from scripts.settings import secret_files

# Where the mover's container sees the folder of the source's socket.
SOCKETS = "/source"
LOCAL = ("", "localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class SourceServer:
    """A server outside the stack, and the database on it. password: empty where none is asked for."""

    host: str
    port: int
    database: str
    user: str
    # Tracebacks and failing tests show representations.
    password: str = field(repr=False)
    socket_dir: Path | None
    uid: int
    gid: int

    @property
    def local(self) -> bool:
        """True for a server on this machine."""
        return self.socket_dir is not None or self.host in LOCAL

    @property
    def description(self) -> str:
        """The source in words."""
        return f"{self.database} at {self.socket_dir or self.host} port {self.port} as {self.user}"


def source_server(
    *,
    host: str,
    port: int,
    database: str,
    user: str,
    password_file: str,
    socket_dir: str,
    account: Callable[[str], tuple[int, int] | None] | None = None,
) -> SourceServer:
    """Return the source that the flags name. account: numbers of an account of this machine. Raise StackError.

    Over a socket the server may ask the kernel who comes (peer): the account named like the database user shall.
    """
    if not 1 <= port <= 65535:
        usage(f"--port={port} is no port", "give a number from 1 to 65535")
    if socket_dir and host not in LOCAL:
        usage(f"--socket-dir is on this machine and --host={host} is not", "give one of the two")
    for flag, value in (("--dbname", database), ("--user", user)):
        if not value:
            usage(f"{flag} is empty", "name the database and the user of the source, as for psql")
    folder = (Path.cwd() / Path(socket_dir).expanduser()).resolve() if socket_dir else None
    if ":" in str(folder):
        usage(f"{folder} has a colon in its name, which no container can be given", "use --host instead")
    ids = (account or _account)(user) if folder else None
    uid, gid = ids or (os.getuid(), os.getgid())
    password = _password(Path.cwd() / Path(password_file).expanduser()) if password_file else ""
    return SourceServer(host or "localhost", port, database, user, password, folder, uid, gid)


def _account(name: str) -> tuple[int, int] | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _password(path: Path) -> str:
    """Return the first line of the file. Raise StackError when it is missing, empty or readable for others."""
    password = secret_files.first_line(path, ExitCode.REFUSED)
    if (mode := path.stat().st_mode & 0o777) & 0o077:
        what = f"others may read the password file {path} (mode {mode:04o})"
        refuse(what, f"chmod 0600 {path}, and think of who may have read it")
    if not password:
        refuse(f"the password file {path} begins with an empty line", "write the password as its first line")
    return password
