"""A TCP line to a server that a test can cut: nothing arrives any more, nobody is told, and later all of it arrives."""

from __future__ import annotations

import contextlib
import socket
import threading


class Line:
    """Forwards connections from a port of its own."""

    def __init__(self, port: int) -> None:
        self.server = ("127.0.0.1", port)
        self.whole = threading.Event()
        self.whole.set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Let nothing through."""
        self.whole.clear()

    def heal(self) -> None:
        """Let everything through, what was sent meanwhile first."""
        self.whole.set()

    def close(self) -> None:
        """Take no connection any more."""
        self.listener.close()
        self.heal()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self.whole.wait()
        try:
            server = socket.create_connection(self.server)
        except OSError:
            client.close()
            return
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.whole.wait()
                target.sendall(data)
        self.whole.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
