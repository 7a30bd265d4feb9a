"""`compose-down`: stop and remove containers and networks; data only when its project is named."""

from __future__ import annotations

from scripts.base.console import Console
from scripts.base.errors import fail, usage
from scripts.engine.compose import ALL_PROFILES, Compose
from scripts.prepare import lock, ownership


def down(
    compose: Compose, console: Console, *, volumes: bool = False, yes: str = "", timeout: int | None = None
) -> None:
    """Take the stack down. volumes: its data too, once `yes` or a typed answer names the project.

    timeout: seconds that containers get to finish, instead of each one's own. Raise StackError.
    """
    volume_names: list[str] = []
    if volumes:
        ownership.require(compose)
        volume_names = compose.engine.volumes(compose.project)
        _consent(compose, console, volume_names, yes)
    elif yes:
        usage(
            "--yes says which data may go, and without --volumes none goes",
            "leave --yes out, or add --volumes",
        )
    arguments = ["down", "--remove-orphans"]
    if timeout is not None:
        arguments += ["--timeout", str(timeout)]
    with lock.sole(compose):
        _remove(compose, arguments, volume_names)
    if not volumes and not compose.runner.dry:
        kept = compose.engine.volumes(compose.project)
        if kept:
            console.say(f"{compose.project} is down; its data is kept in {len(kept)} volumes")


def _remove(compose: Compose, arguments: list[str], volume_names: list[str]) -> None:
    if not compose.stream(*arguments, profiles=ALL_PROFILES).ok:
        fail(
            "the stack could not be taken down, see above",
            "run this again; `docker ps -a` shows what is left",
        )
    # Compose knows those of the files alone that are listed now, not of an overlay that was.
    if not compose.runner.dry and (left := compose.engine.networks(compose.project)):
        compose.engine.remove_networks(left)
    if volume_names:
        compose.engine.remove_volumes(volume_names)


def _consent(compose: Compose, console: Console, volume_names: list[str], yes: str) -> None:
    project = compose.project
    fix = f"to delete them: {console.again('compose-down', '--volumes', f'--yes={project}')}"
    if not volume_names:
        if yes:
            # Another project is meant: the containers of this one shall stay as well.
            console.require_name(project, yes, question="", fix=fix)
        console.say(f"project {project} has no volumes")
        return
    console.say(f"these volumes of project {project} would be deleted, with all that is in them:")
    for name in volume_names:
        console.say(f"  {name}")
    console.require_name(project, yes, question="delete them for good", fix=fix)
