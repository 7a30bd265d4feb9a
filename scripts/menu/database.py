"""The menu's page of the database: backups, restores, the way back, passwords, the move from a bare-metal server."""

from __future__ import annotations

from invoke.context import Context

from scripts.menu.task import LOOKED, require_well, stack_for, task

DUMP_HELP = "The dump: a path, a name that db-backups lists, or latest."
# What Ctrl-C leaves behind.
SWAPPED = "the live database is the one from before, and services that were stopped run again"


@task(
    help={
        "accept_collapse": "That it holds far less than those before is right: older ones may be pruned again."
    },
    interrupted="a backup that was not complete is not kept, earlier ones are as they were",
)
def db_backup(c: Context, accept_collapse: bool = False, json: bool = False) -> None:
    """Make a backup now: dumped, read back, counted, checksummed; print where it is."""
    from scripts.database import backup

    backup.back_up(*stack_for(c, json=json), accept_collapse=accept_collapse)


@task(interrupted=LOOKED)
def db_backups(c: Context, json: bool = False) -> None:
    """List the backups: age, size, rows, verified, drilled, versions; and whether they are well."""
    from scripts.database import backup

    require_well(backup.show(*stack_for(c, json=json)))


@task(
    help={"dump": DUMP_HELP, "drill": "Also restore it into a throw-away database and compare."},
    interrupted="dump and live database are as they were; a throw-away database is dropped",
)
def db_verify(c: Context, dump: str = "", drill: bool = False, json: bool = False) -> None:
    """Read a whole dump against its checksum; say what it is."""
    from scripts.database import backup

    backup.verify(*stack_for(c, json=json), dump, drill=drill)


@task(
    help={
        "dump": DUMP_HELP,
        "jobs": "How much is loaded at a time. Default: one for each processor.",
        "force": "End foreign sessions; take a dump of another database, or with little room on the disk.",
        "keep": "Keep the database from before, for db-rollback (the default).",
    },
    interrupted=SWAPPED,
)
def db_restore(
    c: Context,
    dump: str = "",
    yes: bool = False,
    dry_run: bool = False,
    jobs: int = 0,
    force: bool = False,
    keep: bool = True,
    quiesce: bool = False,
    json: bool = False,
) -> None:
    """Bring the database back from a dump: verified first, loaded beside, switched over; db-rollback undoes it."""
    from scripts.database.restore import restore
    from scripts.database.switchover import Options

    options = Options(yes=yes, dry_run=dry_run, jobs=jobs, force=force, quiesce=quiesce, keep=keep)
    restore(*stack_for(c, json=json), dump, options)


@task(
    help={
        "to": "The kept database to go back to, as `db-prune --dry-run` lists them. Default: the newest.",
        "force": "End foreign sessions.",
    },
    interrupted=SWAPPED,
)
def db_rollback(
    c: Context,
    to: str = "",
    yes: bool = False,
    dry_run: bool = False,
    force: bool = False,
    quiesce: bool = False,
    json: bool = False,
) -> None:
    """Make the database from before the last restore or move the live one again."""
    from scripts.database.kept import rollback
    from scripts.database.switchover import Options

    options = Options(yes=yes, dry_run=dry_run, force=force, quiesce=quiesce)
    rollback(*stack_for(c, json=json), options, to=to)


@task(
    help={"keep_days": "Days that a kept database stays. Default: 7."},
    interrupted="databases that were dropped until then are gone, the others are kept",
)
def db_prune(
    c: Context, keep_days: int = 7, yes: bool = False, dry_run: bool = False, json: bool = False
) -> None:
    """Drop the databases that restores and moves kept, once they are old enough."""
    from scripts.database.kept import prune

    prune(*stack_for(c, json=json), keep_days=keep_days, yes=yes, dry_run=dry_run)


@task(
    help={
        "password_file": "File with the new password as its only line (12 characters or more). Default: a random one.",
        "superuser": "Of the superuser `postgres` instead of the application's role.",
        "now": "Do not wait for jobs under way: those not done within seconds are queued again.",
        "dry_run": "Print what would be changed and restarted; change nothing.",
    },
    interrupted="nothing was changed, or the next task completes the change",
)
def db_rotate_password(
    c: Context,
    password_file: str = "",
    superuser: bool = False,
    now: bool = False,
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Give the database another password: role, file and services together, once the jobs under way are done."""
    from scripts.database.rotate_password import Options, rotate

    options = Options(password_file=password_file, superuser=superuser, now=now, yes=yes, dry_run=dry_run)
    rotate(*stack_for(c, json=json), options)


@task(
    help={
        "host": "Where the old server listens; localhost is this machine's.",
        "port": "Its port. Default: 5432.",
        "dbname": "The database to move. Default: wepppy.",
        "user": "Who reads it: its owner, or a superuser of the old server. Default: wepppy.",
        "password_file": "File, readable for you alone, with that user's password. Not needed for peer and trust.",
        "socket_dir": "Folder of the old server's socket, for a server that listens on no network: /var/run/postgresql",
        "service": "Its systemd unit: started for the move if down, left as found. Default: postgresql.service.",
        "jobs": "How much is dumped and loaded at a time. Default: one for each processor.",
        "live": "Let the old server be written meanwhile (logical replication): writers stop for the cut-over only.",
        "stop_source": "Stop the old server's unit afterwards.",
        "force": "Leave behind what is written meanwhile, convert encodings, end foreign sessions.",
    },
    interrupted=SWAPPED,
)
def bare_metal_migrate(
    c: Context,
    host: str = "localhost",
    port: int = 5432,
    dbname: str = "wepppy",
    user: str = "wepppy",
    password_file: str = "",
    socket_dir: str = "",
    service: str = "postgresql.service",
    jobs: int = 0,
    live: bool = False,
    dry_run: bool = False,
    stop_source: bool = False,
    yes: bool = False,
    force: bool = False,
    quiesce: bool = False,
    json: bool = False,
) -> None:
    """Move the database of a server outside the stack into it, proven equal; db-rollback undoes it."""
    from scripts.database.migrate import Options, migrate, source_server

    source = source_server(host, port, dbname, user, password_file=password_file, socket_dir=socket_dir)
    options = Options(
        yes=yes, dry_run=dry_run, jobs=jobs, force=force, quiesce=quiesce, service=service, live=live,
        stop_source=stop_source,
    )  # fmt: skip
    migrate(*stack_for(c, json=json), source, options)
