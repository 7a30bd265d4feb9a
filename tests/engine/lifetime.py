"""The life of a stack of a test's own: settings that nobody else shares, and everything of it removed at its end."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.engine.stack import ROOT, Stack

SomeStack = TypeVar("SomeStack", bound=Stack)


@contextmanager
def own_stack(
    make: Callable[[Path], SomeStack],
    purpose: str,
    services: str = "",
    init: Sequence[str] = (),
    **changes: str,
) -> Iterator[SomeStack]:
    """A stack with a name, ports, volumes and `.env` of its own, torn down whatever happens.

    services: those that are started before anything else; empty for none, the block starts what it wants.
    init: further arguments of env-init.
    """
    folder = ROOT / ".docker-data" / f"{purpose}-{os.getpid()}"
    folder.mkdir(parents=True)
    made = make(folder / ".env")
    try:
        own_settings(made, folder.name, init, **changes)
        if services:
            made.invoke("compose-up", f"--services={services}", timeout=1500)
        yield made
    finally:
        made.invoke("compose-down", "--volumes", f"--yes={folder.name}", "--timeout=2", check=False)
        # Images of services that are switched off were built, too.
        made.compose("--profile", "*", "down", "--rmi", "local", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def own_settings(stack: Stack, project: str, init: Sequence[str] = (), **changes: str) -> None:
    """Write the `.env` of a stack of its own beside which everything else of it will lie."""
    stack.invoke("env-init", "--free-ports", *init, COMPOSE_PROJECT_NAME=project)
    text = stack.env_file.read_text()
    for key, value in changes.items():
        text, found = re.subn(rf"^{key}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
        assert found == 1, key
    stack.env_file.write_text(text)
