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


def note_begin(keeper: Keeper, origin: Origin, *, live: bool) -> None:
    """From here on the move may leave something."""
    folder = str(origin.socket_dir or "")
    move = Move(origin.host, origin.port, origin.database, origin.user, origin.password_file, folder, live)
    keeper.note(replace(keeper.entry, move=move))


def note_prepared(keeper: Keeper, before: int) -> None:
    """From here on it may be swapped. before: number of the database that is live until then."""
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
    command = ["takeback", "--before", str(move.before)]
    try:
        if not move.live:
            answer(compose, console, command)
            return True
        origin = origin or bare_metal.origin(
            host=move.host, port=move.port, database=move.database, user=move.user,
            password_file=move.password_file, socket_dir=move.socket_dir,
        )  # fmt: skip
        with relay.leading(compose, origin) as lead:
            command += ["--relay", lead.folder, "--user", origin.user, "--dbname", origin.database]
            answer(compose, console, command, options=lead.options)
    except StackError as error:
        console.warn(f"it could not be taken back: {error.what}; {error.mend}")
        if move.live:
            console.warn(
                f"the database {move.database} at {move.socket_dir or move.host} port {move.port} may have a slot "
                "wepp_move_... that keeps the server's log until its disk is full. The next `invoke "
                f"bare-metal-migrate --live` out of it removes it, or by hand, there: {BY_HAND};"
            )
        return False
    return True
