"""`workers`: each host with its workers, queues and jobs, which revision it runs, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.base.clock import duration, local_time
from scripts.base.console import Console
from scripts.engine import database_server
from scripts.engine.compose import Compose
from scripts.prepare.overlays import ADDRESS
from scripts.stack.service_commands import running
from scripts.stack.worker_hosts import access
from scripts.stack.worker_hosts.containers import WORKER, ask

MAIN = "main"
# A launcher writes every 5 s.
MISSED_SECONDS = 25.0
Row = dict[str, Any]


def workers(compose: Compose, console: Console) -> bool:
    """List all pools of workers; return whether all is well. Raise StackError.

    On the main host what hosts left behind that have gone is deleted: their users and roles at the stores.
    """
    names = [
        each for each in compose.catalogue.services if each.startswith(WORKER) and running(compose, each)
    ]
    found = ask(compose, names[0] if names else WORKER, "list")
    main = bool(compose.setting(ADDRESS))
    hosts: dict[str, dict[str, Any]] = {MAIN: {}}
    if main:
        hosts |= access.hosts(compose)
    rows = _current([_row(each, found["now"], found["jobs"]) for each in found["pools"]])
    rows += [_absent(name, each, found["now"]) for name, each in hosts.items() if not _has_pool(name, rows)]
    _compare(rows)
    gone = (
        access.tidy(compose)
        if main and not compose.runner.dry and database_server.is_running(compose)
        else []
    )
    if console.as_json:
        console.document(
            {"ok": not any(each["wrong"] for each in rows), "hosts": rows, "queues": found["queues"]}
        )
    else:
        console.table(
            ["host", "queues", "workers", "jobs", "revision", "heartbeat", "remark"],
            [
                [row["host"], ",".join(row["queues"]), row["workers"], str(len(row["jobs"])), row["revision"],
                 row["seen"], row["wrong"] or row["note"]]
                for row in rows
            ],
        )  # fmt: skip
        waiting = ", ".join(f"{name} {count}" for name, count in found["queues"].items() if count)
        console.say(f"waiting jobs: {waiting or 'none'}")
    for name in gone:
        console.say(f"{name} has left: its user and role at the stores are deleted")
    return not any(each["wrong"] for each in rows)


def _row(pool: Mapping[str, str], now: float, jobs: Sequence[Mapping[str, str]]) -> Row:
    age = now - float(pool["heartbeat"])
    mine = [each["id"] for each in jobs if each["worker"].startswith(f"{pool['host']}.")]
    lost = f"no heartbeat for {duration(age)}" if age > MISSED_SECONDS else ""
    note = pool.get("note", "")
    return {
        "host": pool["host"],
        "container": pool["container"],
        "queues": [name for name in pool["queues"].split(",") if not name.startswith("host-")],
        "workers": pool["workers"],
        "jobs": mine,
        "revision": pool["revision"],
        "seen": f"{duration(max(age, 0))} ago",
        "lost": bool(lost),
        "note": note,
        # A queue that was given to another host is as it should be.
        "wrong": lost or ("" if note.endswith("owns it") else note),
    }


def _current(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without lost pools in whose place the same host has another one."""
    alive = {(row["host"], *row["queues"]) for row in rows if not row["lost"]}
    return [row for row in rows if not row["lost"] or (row["host"], *row["queues"]) not in alive]


def _absent(name: str, entry: Mapping[str, Any], now: float) -> Row:
    """Return the row of a host that has access and no workers, or of the main host."""
    workers = "invited"
    if name == MAIN:
        workers, wrong = "none", "no workers: jobs of a lost host are not found"
    elif entry.get("joined"):
        wrong = f"no workers since it joined at {local_time(entry['joined'])}"
    elif entry["until"] > now:
        wrong = ""
    else:
        wrong = (
            "its invitation is over: invite it again, or `invoke worker-leave --host` takes it off this list"
        )
    return {
        "host": name, "container": "", "queues": list(entry.get("queues", ())), "workers": workers, "jobs": [],
        "revision": "", "seen": "", "lost": False, "note": "", "wrong": wrong,
    }  # fmt: skip


def _has_pool(name: str, rows: Sequence[Row]) -> bool:
    return any(row["host"] == name for row in rows)


def _compare(rows: Sequence[Row]) -> None:
    """Tell of hosts that run another revision than the main host."""
    mine = {row["revision"] for row in rows if row["host"] == MAIN and row["revision"]}
    for row in rows:
        if mine and row["revision"] and row["revision"] not in mine and not row["wrong"]:
            row["wrong"] = f"another revision than {'/'.join(sorted(mine))} of the main host"
