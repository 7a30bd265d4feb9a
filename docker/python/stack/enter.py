"""Start a Python service of a real tree: `enter.py [--preflight] [--own-address PORT=HOST:PORT] COMMAND...`.

A secret that nobody has filled in is an empty file; the tree's own code takes `NAME_FILE` for a promise and refuses an
empty one, so variables that name such files are dropped. Then COMMAND takes this process' place.

--preflight: by way of the tree's own check of its compiled parts, where the tree has one.
--own-address: what this container says to its own loopback on PORT goes to HOST:PORT. The application verifies a
CAPTCHA under the very address that the browser used, and `localhost` would be this container.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from pathlib import Path

PREFLIGHT = Path("/workdir/wepppy/docker/wepppyo3-interchange-preflight.py")
SECRETS = "/run/secrets/"
CHUNK = 65536


def drop_empty_secrets() -> None:
    """Forget each `NAME_FILE` whose file below /run/secrets is missing or empty."""
    for name, path in list(os.environ.items()):
        if name.endswith("_FILE") and (not path or path.startswith(SECRETS)):
            try:
                filled = bool(path) and bool(Path(path).read_text(encoding="utf-8").strip())
            except FileNotFoundError:
                filled = False
            if not filled:
                del os.environ[name]


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _forward(port: int, host: str, target: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(host, target)
        except OSError as error:
            print(f"enter: {host}:{target} does not answer: {error}", file=sys.stderr, flush=True)
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))

    async with await asyncio.start_server(connected, "127.0.0.1", port) as server:
        await server.serve_forever()


def forward(rule: str) -> None:
    """Forward `PORT=HOST:PORT` in a process of its own; it ends with the container."""
    port, _, address = rule.partition("=")
    host, _, target = address.rpartition(":")
    if os.fork() == 0:
        asyncio.run(_forward(int(port), host, int(target)))
        os._exit(1)


def main(arguments: list[str]) -> None:
    """Prepare the environment and become the command."""
    parser = argparse.ArgumentParser(prog="enter.py")
    parser.add_argument("--preflight", action="store_true")
    parser.add_argument("--own-address", default="")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    if not options.command:
        parser.error("no command")
    drop_empty_secrets()
    if options.own_address:
        forward(options.own_address)
    command = options.command
    if options.preflight and PREFLIGHT.is_file():
        command = ["/opt/venv/bin/python", str(PREFLIGHT), "--", *command]
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
