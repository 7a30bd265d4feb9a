"""The menu's page of what reaches into single services: commands and shells in them, repair of what they store."""

from __future__ import annotations

import sys

from invoke.context import Context

from scripts.menu.task import finish, require_well, stack_for, task


@task(
    help={"service": "Service to run the command in. The command follows two dashes: -- ls -l /wc1"},
    interrupted="what the command did until then stays so",
)
def compose_exec(c: Context, service: str) -> None:
    """Run a command in a running service: invoke compose-exec --service=weppcloud -- ls -l /wc1"""
    from scripts.stack import service_commands

    # Invoke joins what follows the dashes with blanks; the arguments' own borders are only in sys.argv.
    command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    finish(service_commands.run_in(stack_for(c)[0], service, command))


@task(
    help={"service": "Service to open the shell in."},
    interrupted="what was done in the shell stays so",
)
def compose_shell(c: Context, service: str = "weppcloud") -> None:
    """Open a shell in a running service."""
    from scripts.stack import service_commands

    finish(service_commands.shell(stack_for(c)[0], service))


@task(
    interrupted="what was committed stays so",
)
def db_shell(c: Context) -> None:
    """Open psql on the stack's database; SQL on stdin works too."""
    from scripts.stack import service_commands

    finish(service_commands.database_shell(stack_for(c)[0]))


@task(
    interrupted="its program in the container has ended: revisions that were complete are kept, the one at work is not"
)
def db_upgrade(c: Context) -> None:
    """Bring the database's schema up to date (flask db upgrade)."""
    from scripts.stack import service_commands

    service_commands.database_upgrade(*stack_for(c))


@task(
    help={"dry_run": "Only check the files and say what a repair would keep."},
    interrupted="the files are either as they were or the repaired ones; `invoke redis-repair` starts redis again",
)
def redis_repair(c: Context, yes: bool = False, dry_run: bool = False) -> None:
    """Repair Redis' files after a power loss: in a copy, the damaged ones are kept."""
    from scripts.stack import redis_repair

    redis_repair.repair(*stack_for(c), yes=yes, dry_run=dry_run)


@task(
    help={
        "fix": "Reconcile them, after a question: make missing rows again, remove rows and checklists of lost runs.",
        "aside": "With --fix: move runs on disk that have no row away, instead of making their rows again.",
        "dry_run": "Only list them, also with --fix.",
    },
    interrupted="each run is either as it was or reconciled; no run's folder was deleted",
)
def runs_check(
    c: Context,
    fix: bool = False,
    aside: bool = False,
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Find runs that only one of database, disk and Redis knows, as after a restore; exit status 3 when there are."""
    from scripts.stack import runs_check as checking

    require_well(checking.check(*stack_for(c, json=json), fix=fix, aside=aside, yes=yes, dry_run=dry_run))
