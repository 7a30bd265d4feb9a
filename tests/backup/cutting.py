"""Something between client and server that cuts a connection when a certain statement goes by."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from wepp_backup.server import Server

NAME = ".s.PGSQL.5432"


class Between:
    """Passes connections on to a server's socket."""

    def __init__(self, folder: Path, target: str) -> None:
        self.target = target
        self.word = b""
        self.passes = self.closes = self.away = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / NAME))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def cut_at(self, word: str, *, passes: bool, closes: bool = False) -> None:
        """Cut the connection on which the word goes by next.

        passes: the server gets it, its answer reaches nobody. closes: nobody gets in from then on.
        """
        self.passes, self.closes, self.word = passes, closes, word.encode()

    def close(self) -> None:
        """Let nobody in any more."""
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.target)
                if self.away:
                    client.close()
                    continue
                answered = threading.Event()
                answered.set()
                threading.Thread(target=self._up, args=(client, server, answered), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server, answered), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                cut = bool(self.word) and self.word in data
                if cut:
                    self.word, self.away = b"", self.closes
                    answered.clear()
                if not cut or self.passes:
                    server.sendall(data)
                if cut:
                    time.sleep(0.3 if self.passes else 0)  # by then the server has read it
                    break
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if answered.is_set():
                    client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting(server: Server) -> Iterator[tuple[Server, Between]]:
    """Give the server as it is reached through something that can cut its connections."""
    with tempfile.TemporaryDirectory() as folder:
        between = Between(Path(folder), f"{server.host}/{NAME}")
        yield replace(server, host=folder), between
        between.close()
