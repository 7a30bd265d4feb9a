"""Owns the swap as its user sees it: quiesce, swap, start, probe, the way back, and the truth about which one is live.

The program at the database swaps in one transaction. Whatever dies around that moment, the program itself included, the
server knows whether it was committed, so it is asked before anybody is told that nothing was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scripts.compose import Compose
from scripts.console import Console
from scripts.dialogue import Dialogue, answer
from scripts.errors import ExitCode, StackError
from scripts.quiesce import Keeper

ROLLBACK = "`invoke db-rollback` brings the one from before back"


def swap(
    keeper: Keeper, talk: Dialogue, before: int, *, upgrade: bool = False
) -> tuple[Mapping[str, Any], float]:
    """Quiesces the writers, has the program swap, starts the writers; swaps back when they do not come up.

    before: number of the database that is live until then. upgrade: bring the schema up to date before they start.
    Returns what the program told of the swap, and for how many seconds the application was away. Raises StackError,
    which says what is live: the database from before wherever that can be had.
    """
    swapped: Mapping[str, Any] | None = None
    asked = False
    try:
        with keeper.quiesced() as pause:
            asked = True
            talk.say("swap")
            try:
                swapped = talk.ready()
            except KeyboardInterrupt:
                # It ends what it has begun; what it did can be seen only then.
                talk.leave()
                raise
            talk.standing = f"{_is_live(swapped['database'], swapped['kept'])}; {ROLLBACK}"
            if upgrade:
                _upgrade(keeper.compose, keeper.console)
        return swapped, pause.seconds
    except (StackError, KeyboardInterrupt) as error:
        if swapped is None:
            if asked and not (isinstance(error, StackError) and error.exit_code == ExitCode.REFUSED):
                _demand_unswapped(keeper, before, error)
            raise
        if not swapped["kept"]:
            raise
        _swap_back(keeper, talk, before, swapped, error)
        raise StackError(
            f"the services did not come up with it ({_reason(error)}); the database from before is live again",
            "see `invoke compose-logs`; what was tried is kept, `invoke db-prune` drops it",
            ExitCode.FAILED,
            details=getattr(error, "details", ""),
        ) from error


def _swap_back(
    keeper: Keeper,
    talk: Dialogue,
    before: int,
    swapped: Mapping[str, Any],
    error: StackError | KeyboardInterrupt,
) -> None:
    """Makes the database from before live again. Raises StackError when another one is then."""
    keeper.console.warn(f"{_reason(error)}; swapping back")
    try:
        with keeper.quiesced():
            talk.say("back")
            talk.result()
    except StackError as failed:
        standing = _look(keeper, failed)
        if standing["id"] == before:
            keeper.console.warn(f"{failed.what}; {failed.mend}")
            return
        raise StackError(
            f"the services did not come up with it ({_reason(error)}), and it was not swapped back ({failed.what}): "
            + _is_live(swapped["database"], swapped["kept"]),
            ROLLBACK,
            ExitCode.FAILED,
            details=failed.details,
        ) from error


def _demand_unswapped(keeper: Keeper, before: int, error: StackError | KeyboardInterrupt) -> None:
    """Raises StackError unless the database from before is live, and the error says nothing else."""
    standing = _look(keeper, error)
    if standing["id"] == before:
        if isinstance(error, StackError) and error.exit_code == ExitCode.NOT_READY:
            raise StackError(
                f"the swap did not take place, {standing['database']} is the one from before: the server went away",
                "see the server's log (`invoke compose-logs --services=postgres`), then run it again",
                ExitCode.FAILED,
                details=error.details,
            ) from error
        return
    raise StackError(
        f"{_reason(error)}; but the swap had taken place: {_is_live(standing['database'], standing['kept'])}",
        f"see that all is well with it; {ROLLBACK}",
        ExitCode.FAILED if isinstance(error, StackError) else ExitCode.INTERRUPTED,
        details=getattr(error, "details", ""),
    ) from error


def _look(keeper: Keeper, error: StackError | KeyboardInterrupt) -> Mapping[str, Any]:
    """Which database is live, told by the server as soon as it is there. Raises StackError when it does not come."""
    try:
        standing: Mapping[str, Any] = answer(keeper.compose, keeper.console, ["live"])
    except StackError as silent:
        raise StackError(
            f"{_reason(error)}; whether the databases were swapped is not known: {silent.what}",
            "once the server runs (`invoke compose-up`), `invoke db-prune --dry-run` lists what was kept, and when: "
            "one of this minute means that they were",
            ExitCode.NOT_READY,
            details=silent.details,
        ) from error
    return standing


def _reason(error: StackError | KeyboardInterrupt) -> str:
    return error.what if isinstance(error, StackError) else "interrupted"


def _is_live(database: str, kept: str) -> str:
    return f"the new {database} is live now" + (f", the one from before is kept as {kept}" if kept else "")


def _upgrade(compose: Compose, console: Console) -> None:
    console.say("the dump's schema is of another revision: bringing it up to date")
    if not compose.stream("run", "--rm", "--no-deps", "-T", "db-upgrade").ok:
        raise StackError(
            "the restored schema could not be brought up to date, see above",
            "check out the source of the dump's time, or choose another dump",
            ExitCode.FAILED,
        )
