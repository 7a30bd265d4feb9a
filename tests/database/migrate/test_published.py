"""The layout of the published image from 18 on: the data lies in the volume of the stack all the same, in no other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.database.migrate.bare import FOLDER, docker
from tests.database.migrate.target import SERVICES, Target
from tests.engine.lifetime import own_stack


@pytest.fixture(scope="module")
def published() -> Iterator[Target]:
    """A stack on such an image. The stand-in that it is made of is built by asking for one of its major."""
    image = f"wepp-checks-published:18-{os.getpid()}"
    with own_stack(Target, "published", POSTGRES_IMAGE="postgres:18-trixie") as made:
        made.invoke("images-base", "--names=postgres", timeout=1500)
        stand_in = made.settings["POSTGRES_IMAGE"]
        system = stand_in.replace("postgres:18-", "debian:")
        docker(
            "build", "--quiet", "--tag", image, "--build-arg", f"POSTGRES_IMAGE={stand_in}",
            "--build-arg", f"DEBIAN_IMAGE={system}", str(FOLDER / "published"),
        )  # fmt: skip
        try:
            made.env_file.write_text(made.env_file.read_text().replace(stand_in, image))
            made.invoke("compose-up", f"--services={SERVICES}", timeout=1500)
            yield made
        finally:
            made.compose("--profile", "*", "down", "--volumes", "--rmi", "local", check=False)
            docker("rmi", "--force", image, check=False)


def volumes(stack: Target) -> list[tuple[str, str]]:
    """Names and places of the volumes that the containers of the stack have."""
    found = []
    for name in (f"{stack.name}-postgres", f"{stack.name}-postgres-backup-1"):
        for mount in json.loads(docker("inspect", "--format", "{{json .Mounts}}", name)):
            if mount["Type"] == "volume":
                found.append((mount["Name"], mount["Destination"]))
    return sorted(found)


def test_such_an_image_is_what_the_published_one_is(published: Target) -> None:
    image = published.settings["POSTGRES_IMAGE"]
    declared = docker("image", "inspect", "--format", "{{json .Config.Volumes}} {{.Config.Env}}", image)
    assert '{"/var/lib/postgresql":{}}' in declared
    assert "PGDATA=/var/lib/postgresql/18/docker" in declared
    mount = ["--env", "POSTGRES_PASSWORD=x", "--user", "999:999", "--volume", "/var/lib/postgresql/data"]
    assert docker("run", "--rm", *mount, image, "postgres", "--version", check=False) == ""


def test_its_data_lies_in_the_stacks_volume_and_stays_when_the_containers_go(published: Target) -> None:
    assert published.psql("SHOW data_directory") == "/var/lib/postgresql/data\n"
    published.psql("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    expected = [
        (f"{published.name}_postgres-data", "/var/lib/postgresql/data"),
        (f"{published.name}_postgres-tmp", "/tmp"),
    ]  # fmt: skip
    assert volumes(published) == expected
    published.invoke("compose-down")
    published.invoke("compose-up", f"--services={SERVICES}")
    assert published.psql("SELECT id FROM kept") == "7\n"
    assert volumes(published) == expected


def test_its_backups_can_be_restored(published: Target) -> None:
    published.reset()
    published.invoke("db-backup")
    published.psql("INSERT INTO before VALUES (2)")
    published.invoke("db-restore", "--dump=latest", "--yes")
    assert published.psql("SELECT id FROM before") == "1\n"
