"""Whether the backups are well, and their list. The health check runs for ever: it needs the standard library alone."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta

from wepp_backup import catalog as records
from wepp_backup.app import App, Settings
from wepp_backup.catalog import Attempt, Catalog, RestoreTest, RestoreTestDue, as_json, newest
from wepp_backup.events import BUG, Problem
from wepp_backup.retention import find_collapse

# How long the first backup of all may be under way before its container is healthy nevertheless: a start must not wait
# for hours of dumping, and a short one is waited for.
FIRST = timedelta(minutes=1)


def run_health(app: App, _flags: Namespace) -> None:
    """Tell whether the backups are well. Raise Problem when they are not."""
    text, ok = judge(app.catalog, app.settings, datetime.now(UTC))
    if not ok:
        raise Problem(text, "`invoke compose-logs --services=postgres-backup` says more", BUG)
    app.report.message(text)


def run_list(app: App, _flags: Namespace) -> None:
    """List the backups, with how the last attempts went."""
    catalog, now, listed = app.catalog, datetime.now(UTC), []
    for each in catalog.entries():
        # Without thousands of tables that nobody asked for.
        manifest = each.manifest and each.manifest._replace(tables={}, views={})
        listed.append(as_json(each._replace(manifest=manifest)))
    text, ok = judge(catalog, app.settings, now)
    answer = {
        "backups": listed,
        "attempt": as_json(catalog.read(records.ATTEMPT, Attempt)),
        "attempt_by_hand": as_json(catalog.read(records.ATTEMPT_BY_HAND, Attempt)),
        "drill": as_json(catalog.read(records.RESTORE_TEST, RestoreTest)),
        "ok": ok,
        "health": text,
        "now": as_json(now),
    }
    app.report.result(answer, f"{len(listed)} dumps; {text}")


def judge(catalog: Catalog, settings: Settings, now: datetime) -> tuple[str, bool]:
    """Return in one line what there is to say of the backups, and whether they are well.

    Only the schedule's own attempts count: one by hand that failed says nothing of the next.
    """
    try:
        backups = [each for each in catalog.entries() if each.is_backup]
    except Problem as problem:
        return problem.what, False
    attempt = catalog.read(records.ATTEMPT, Attempt)
    test = catalog.read(records.RESTORE_TEST, RestoreTest)
    due = catalog.read(records.RESTORE_TEST_DUE, RestoreTestDue)
    every, limit = settings.restore_test_interval, settings.interval * 5 / 4  # a quarter for making the next
    late = now - due.since if due else timedelta()
    latest, found = newest(backups, now), newest([each for each in backups if each.is_generation], now)
    trouble, last = "", "there is no verified backup yet"
    if found:
        last = f"the last verified backup ({found.name}) is {age(now - found.created)} old"
    if found and found.is_ahead(now):
        why = "the clock was set back, a new one is due"
        return f"the only verified backups are from the future ({found.name}): {why}", False
    if attempt and attempt.ended and not attempt.ok and not (found and found.created > attempt.started):
        trouble = f"the last try failed {age(now - attempt.ended)} ago: {attempt.problem}"
    elif test and not test.ok:
        trouble = f"the last test restore ({test.name}, {age(now - test.drilled)} ago) failed: {test.problem}"
    elif latest and latest != found and latest.manifest:
        trouble = f"{latest.name} is verified, not restorable: {latest.manifest.not_restorable}"
    elif collapse := find_collapse(backups, now, settings.collapse_percent):
        fix = "if that is right: `invoke db-backup --accept-collapse`"
        trouble = f"{collapse}: nothing is pruned, and `latest` has to be forced; {fix}"
    elif due and every and not (test and test.drilled >= due.since) and late > max(every / 4, FIRST):
        why = due.problem or "the first try has not ended"
        trouble = f"no test restore could be held for {age(late)} (one is due every {age(every)}): {why}"
    if trouble:
        return f"{trouble}; {last}", False
    if not found and attempt and not attempt.ended and now - attempt.started > FIRST:
        return f"{last}, the first is being made since {age(now - attempt.started)}", True
    if found and now - found.created > limit:
        return f"{last}, more than the {age(limit)} allowed (BACKUP_INTERVAL_SECONDS and a quarter)", False
    return last, found is not None


def age(span: timedelta) -> str:
    """Return a length of time for people: its two largest units."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // part} {smaller}"
    return f"{seconds} s"
