"""Ask the application which of its runs one store knows and another does not.

How runs are stored is the application's business: here only the sample's command and its JSON answer are known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.base.errors import fail, refuse
from scripts.engine.compose import Compose
from scripts.engine.runner import Result

SERVICE = "weppcloud"
PROGRAM = ("flask", "runs-check")


@dataclass(frozen=True)
class Found:
    """What does not fit together, in the application's words; `fixed` counts what was reconciled."""

    rows: int = 0
    folders: int = 0
    # Each with `runid`, and `name` and `created` or the `problem` for which no row can be made of it.
    without_row: Sequence[Mapping[str, Any]] = ()
    without_folder: Sequence[str] = ()
    only_in_redis: Sequence[str] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not (self.without_row or self.without_folder or self.only_in_redis)

    @property
    def summary(self) -> str:
        """What does not fit together, in one line."""
        parts = [
            f"{len(self.without_row)} on disk without a row in the database" if self.without_row else "",
            f"{len(self.without_folder)} in the database without files" if self.without_folder else "",
            f"{len(self.only_in_redis)} in Redis alone" if self.only_in_redis else "",
        ]
        return f"runs: {', '.join(part for part in parts if part)}"


def find(compose: Compose) -> Found:
    """Return what does not fit together; nothing is changed. Raise StackError when the application cannot tell."""
    return _found(compose.capture("exec", "-T", SERVICE, *PROGRAM))


def reconcile(compose: Compose, *, aside: bool) -> Found:
    """Reconcile it and return what was found and what was done. Raise StackError."""
    flags = ["--fix", *(["--aside"] if aside else [])]
    result = compose.stream("exec", "-T", SERVICE, *PROGRAM, *flags, on_line=lambda _: None)
    return Found() if compose.runner.dry else _found(result)


def _found(result: Result) -> Found:
    said = result.stdout.splitlines() or [""]
    try:
        document = json.loads(said[-1])
    except ValueError:
        document = None
    if isinstance(document, dict) and "refused" in document:
        refuse(
            f"{document['refused']}; nothing was changed",
            "see whether the folder or volume of the runs is mounted: WC1_DIR in .env",
        )
    if not result.ok or not isinstance(document, dict) or "answer" not in document:
        fail(
            f"the application cannot say which runs it has: {result.complaint}",
            f"see `invoke compose-logs --services={SERVICE}`, then `invoke compose-up`",
            details="\n".join(said),
        )
    return Found(**document["answer"])
