"""Which backups may be pruned: a rule over what the folder holds, without a clock or a disk of its own.

A generation is a verified backup that can be restored. At least so many of the newest good ones stay, whatever their
age. After a collapse (the newest backup holds nothing, or far less than the last good one) nothing is pruned at all:
what is missing may be in the oldest one only.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from wepp_backup.catalog import Entry, Manifest

# Of rows and tables. Below these a share says nothing: a new stack's tables come and go. That all is gone counts at any
# size.
LEAST = (1000, 10)


class Collapse(NamedTuple):
    """The newest backup holds far less than the last good one."""

    good: Entry
    newest: Entry

    def __str__(self) -> str:
        (rows, tables), (rows_now, tables_now) = _size(self.good), _size(self.newest)
        before = f"{rows} rows in {tables} tables ({self.good.name})"
        return f"the database shrank from {before} to {rows_now} in {tables_now} ({self.newest.name})"


def find_collapse(entries: list[Entry], now: datetime, percent: int) -> Collapse | None:
    """Return the collapse of the newest backup, None when there is none. entries: the newest first.

    percent: a smaller share of the rows or tables of before is a collapse (BACKUP_COLLAPSE_PERCENT).
    """
    generations = _generations(entries, now)
    good = _good(generations, percent)
    return Collapse(good[0], generations[0]) if good and good[0] != generations[0] else None


def expired(entries: list[Entry], now: datetime, keep: timedelta, least: int, percent: int) -> list[Entry]:
    """Return the dumps to be pruned: older than `keep`, with a name of this program or of the operators' command.

    entries: the newest first. least: how many good generations stay whatever their age. Dumps by hand are as old as
    their files.
    """
    good = _good(_generations(entries, now), percent)
    if not good or find_collapse(entries, now, percent):
        return []
    old = [each for each in entries if (each.ours or each.manual) and now - each.created > keep]
    return [each for each in old if each not in good[:least]]


def _generations(entries: list[Entry], now: datetime) -> list[Entry]:
    return [each for each in entries if each.is_generation and not each.is_ahead(now)]


def _good(generations: list[Entry], percent: int) -> list[Entry]:
    """Return those that did not collapse against the good one before them."""
    good: list[Entry] = []
    for each in reversed(generations):
        if not good or not _collapsed(good[0], each, percent):
            good.insert(0, each)
    return good


def _collapsed(good: Entry, later: Entry, percent: int) -> bool:
    if later.manifest and later.manifest.collapse_accepted:
        return False
    return any(
        (before and not after) or (before >= least and after * 100 < before * percent)
        for before, after, least in zip(_size(good), _size(later), LEAST, strict=True)
    )


def _size(entry: Entry) -> tuple[int, int]:
    """Return how many rows and tables it holds."""
    manifest = entry.manifest or Manifest(entry.created)
    return manifest.rows, len(manifest.tables)
