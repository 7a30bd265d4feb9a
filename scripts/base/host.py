"""Facts about this machine: free disk, who listens on a TCP port, whether the engine runs here at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

# State of a listening socket in /proc/net/tcp (include/net/tcp_states.h of Linux).
LISTEN = "0A"


class Host:
    """What checks ask of the machine this runs on."""

    def free_bytes(self, path: Path) -> int | None:
        """Return the free bytes for ordinary users where `path` lies or will lie; None when it cannot be told."""
        for folder in (path, *path.parents):
            with contextlib.suppress(OSError):
                return shutil.disk_usage(folder).free
        return None

    def bind_problem(self, address: str, port: int) -> int:
        """Return the errno of listening on address and port now; 0 when it would work or may not be tried.

        Ports below 1024 may be the engine's to take though not ours.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as probe:
            # Connections of a stack that just stopped linger; they do not hinder the engine either.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                return 0 if error.errno == errno.EACCES else error.errno or errno.EIO
        return 0

    def listener(self, port: int) -> str:
        """Return who listens on the port, as `name (process 12)`; empty when it cannot be told.

        Linux only; other users' processes are visible to root alone.
        """
        inodes = listening_inodes(port, Path("/proc"))
        for process in Path("/proc").glob("[0-9]*") if inodes else ():
            with contextlib.suppress(OSError):
                for descriptor in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(descriptor.readlink()) in inodes:
                            name = (process / "comm").read_text(encoding="utf-8").strip()
                            return f"{name} (process {process.name})"
        return ""

    def has_command(self, name: str) -> bool:
        return shutil.which(name) is not None


LOCAL_HOST = Host()


def listening_inodes(port: int, proc: Path) -> set[str]:
    """Return the links of the sockets that listen on the port, as they stand in /proc/PID/fd (proc(5), net/tcp)."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for row in (proc / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = row.split()
                if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return inodes


def free_port_numbers(count: int) -> list[str]:
    """Return the numbers of `count` different TCP ports of the loopback that nobody listens on now."""
    with contextlib.ExitStack() as held:
        numbers = []
        for _ in range(count):
            # Held until all are found: the same one cannot come twice.
            listener = held.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            numbers.append(str(listener.getsockname()[1]))
        return numbers


def engine_is_elsewhere(environment: Mapping[str, str]) -> bool:
    """Return True when `docker` talks to another machine: its ports, memory and disk are not ours to look at."""
    host = environment.get("DOCKER_HOST", "")
    return bool(host) and not host.startswith(("unix://", "fd://"))


def is_root() -> bool:
    """Return True for the administrator, who alone can give files away."""
    return os.getuid() == 0
