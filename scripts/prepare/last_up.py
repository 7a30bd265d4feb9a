"""What the last `compose-up` that ended well left running, by which the next one sees that nothing is to be changed.

`docker compose up` takes longer to find that out: it reads every file again and looks at each service in turn. Measured
in pairs on two busy cores, a `compose-up` with nothing to do took 8.4, 10.0 and 13.2 s; without this file 12.3, 14.7
and 24.8 s, so the goal of 2 s on a quiet machine would be missed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from scripts.base.files import read_state, write_state
from scripts.engine.catalogue import Service
from scripts.engine.compose import Compose
from scripts.engine.container import Container, by_service
from scripts.prepare.ownership import LAST_UP


def describe(
    compose: Compose, services: Iterable[Service], containers: Iterable[Container]
) -> dict[str, Any] | None:
    """Return what runs for these services, from which model and images; None when one of them is not as it should be.

    containers: the project's. Raise StackError when the engine does not answer.
    """
    there = by_service(containers)
    found = {each.name: there.get(each.name) for each in services}
    if not all(each and each.fine for each in found.values()):
        return None
    return {
        "model": hashlib.sha256(json.dumps(compose.model, sort_keys=True).encode()).hexdigest(),
        "containers": {name: each.id for name, each in sorted(found.items()) if each},
        # What the names mean now; a new build makes them mean something else.
        "images": compose.engine.image_ids(sorted({service.image for service in services})),
    }


def matches(compose: Compose, services: Iterable[Service], containers: Iterable[Container]) -> bool:
    """Return True when everything is just as the last good `compose-up` of these services left it."""
    written = read_state(compose.data_dir / LAST_UP)
    return bool(written) and written == describe(compose, services, containers)


def write(compose: Compose, services: Iterable[Service], containers: Iterable[Container]) -> None:
    """Write down how things are after a good `compose-up`."""
    write_state(compose.data_dir / LAST_UP, describe(compose, services, containers))
