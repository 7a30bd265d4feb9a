"""The menu's page of Docker Swarm: the production stack on several machines."""

from __future__ import annotations

from invoke.context import Context

from scripts.menu.task import LOOKED, require_well, split_names, stack_for, task

# What Ctrl-C leaves behind.
GOES_ON = "Swarm goes on with what it was given; the next run gives it the rest"


@task(
    help={
        "dry_run": "Print the file for `docker stack deploy` and what Swarm cannot do; change nothing.",
        "timeout": "Seconds to wait for each stage: stores, one-shots, the rest.",
    },
    interrupted=GOES_ON,
)
def swarm_deploy(c: Context, dry_run: bool = False, timeout: int = 300, json: bool = False) -> None:
    """Bring the production stack onto a Docker Swarm, or update it there; an update that fails is rolled back."""
    from scripts.stack.swarm.deploy import deploy

    deploy(*stack_for(c, json=json), dry_run=dry_run, timeout=timeout)


@task(interrupted=LOOKED)
def swarm_status(c: Context, json: bool = False) -> None:
    """Show the swarm's nodes and the stack's services on them; exit status 3 when something is not well."""
    from scripts.stack.swarm.look import status

    require_well(status(*stack_for(c, json=json)))


@task(
    help={"services": "How many of which, separated by commas: rq-worker=8,weppcloud=2"},
    interrupted=GOES_ON,
)
def swarm_scale(c: Context, services: str) -> None:
    """Change how many of a service run in the swarm, and wait for it: invoke swarm-scale rq-worker=8"""
    from scripts.stack.swarm.look import scale

    scale(stack_for(c)[0], split_names([services]))


@task(interrupted=GOES_ON)
def swarm_remove(c: Context) -> None:
    """Remove the stack from the swarm; its data is kept, where it is."""
    from scripts.stack.swarm.look import remove

    remove(*stack_for(c))
