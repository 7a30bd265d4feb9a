"""Owns what a move leaves that dies: taken back by starting the program once more, over a new way to the source.

The slot of a live move matters most: for one that nobody reads the source keeps its log until its disk is full.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from scripts import bare_metal, relay
from scripts.bare_metal import Origin
from scripts.compose import Compose
from scripts.console import Console
from scripts.dialogue import Dialogue, answer
from scripts.errors import StackError
from scripts.journal import Move
from scripts.quiesce import Keeper, uninterrupted

BY_HAND = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'wepp\\_move\\_%'"

# Typed inside the database itself a transaction is read-only unless it says otherwise.
OPENING = 'BEGIN READ WRITE; ALTER DATABASE "{}" RESET default_transaction_read_only; COMMIT;'


def note_begin(keeper: Keeper, origin: Origin, *, live: bool) -> None:
    """From here on the move may leave something."""
    folder = str(origin.socket_dir or "")
    move = Move(origin.host, origin.port, origin.database, origin.user, origin.password_file, folder, live)
    keeper.note(replace(keeper.entry, move=move))


def note_prepared(keeper: Keeper, before: int) -> None:
    """From here on it may be swapped. before: number of the database that is live until then, 0 for none."""
    assert keeper.entry.move is not None  # noqa: S101 - it was begun
    keeper.note(replace(keeper.entry, move=replace(keeper.entry.move, before=before)))


@contextmanager
def unless_finished(keeper: Keeper, talk: Dialogue, origin: Origin) -> Iterator[None]:
    """What the block's program leaves is taken back afterwards if it died, or if it told that it could not."""
    try:
        yield
    finally:
        if keeper.entry.move and talk.unfinished:
            with uninterrupted(keeper.console):
                attempt(keeper.compose, keeper.console, keeper.entry.move, origin)


def attempt(compose: Compose, console: Console, move: Move, origin: Origin | None = None) -> bool:
    """Takes back what the move left on both servers; False when it could not, which is then told.

    origin: the source, where its password is still known; otherwise what the flags named is read again.
    """
    console.say("the move did not come to its own end: taking back what it left")
    command = ["takeback", *([] if move.before is None else ["--before", str(move.before)])]
    try:
        if move.live:
            _on_both(compose, console, command, move, origin)
        else:
            answer(compose, console, command)
    except StackError as error:
        console.warn(f"it could not be taken back: {error.what}; {error.mend}")
        if move.live:
            _tell_left(console, move, _here(compose, console, command))
        return False
    return True


def _on_both(
    compose: Compose, console: Console, command: list[str], move: Move, origin: Origin | None
) -> None:
    origin = origin or bare_metal.origin(
        host=move.host, port=move.port, database=move.database, user=move.user,
        password_file=move.password_file, socket_dir=move.socket_dir,
    )  # fmt: skip
    # A folder that is not there would be made by the engine, as root's.
    bare_metal.demand_socket(origin, starting=False)
    with relay.leading(compose, origin) as lead:
        way = ["--relay", lead.folder, "--user", origin.user, "--dbname", origin.database]
        answer(compose, console, [*command, *way])


def _here(compose: Compose, console: Console, command: list[str]) -> bool | None:
    """Takes back what is on the stack's side alone; whether the moved database is live, None where nobody knows."""
    try:
        return bool(answer(compose, console, command)["moved"])
    except StackError as error:
        console.warn(f"nor could the stack's side: {error.what}; {error.mend}")
        return None


def _tell_left(console: Console, move: Move, moved: bool | None) -> None:
    where = f"the database {move.database} at {move.socket_dir or move.host} port {move.port}"
    console.warn(
        f"{where} may have a slot wepp_move_... that keeps the server's log until its disk is full. The next `invoke "
        f"bare-metal-migrate --live` out of it removes it, or by hand, there: {BY_HAND};"
    )
    if move.before is not None and not moved:
        unless = "" if moved is False else " (leave it so if the moved database is the live one)"
        name = move.database.replace('"', '""')
        console.warn(
            f"and it may be read-only{unless}: the next --live opens it, or by hand, there: {OPENING.format(name)}"
        )
