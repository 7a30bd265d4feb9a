"""Build the stack's own images, upon base images that are here by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scripts.base.console import Console
from scripts.base.errors import fail
from scripts.engine.compose import Compose
from scripts.prepare import ownership, public_files
from scripts.prepare.images import chosen_images, ensure
from scripts.prepare.source_check import checks

EnsureImages = Callable[[Compose, Console], None]


def build(
    compose: Compose,
    console: Console,
    services: Sequence[str] = (),
    *,
    no_cache: bool = False,
    pull: bool = False,
    base: EnsureImages = ensure,
) -> None:
    """Make sure that base images are here, then build. Raise StackError when one fails; what runs is left alone."""
    ownership.require(compose, in_swarm=True)
    if not compose.runner.dry:
        before = chosen_images(compose.model)
        base(compose, console)
        # They may have been chosen anew, and `.env` with them.
        compose.forget()
        if chosen_images(compose.model) != before:
            checks.require_buildable(compose)
        # Files keep their modes on the way into an image.
        public_files.make_readable(compose)
    flags = [flag for flag, wanted in (("--no-cache", no_cache), ("--pull", pull)) if wanted]
    console.say("building the images (only what changed is built anew)")
    result = compose.stream("build", *flags, *services, profiles=compose.profiles)
    if not result.ok:
        fail(
            "the build of the images failed, the lines above show the step",
            "fix it and run the same command again: finished steps are kept, running services were left alone",
        )
