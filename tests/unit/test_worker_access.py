"""What a worker host is given at the stores, and how it is taken away again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.engine.compose import Compose
from scripts.engine.runner import Result
from scripts.prepare import worker_authority
from scripts.settings import scram
from scripts.stack.worker_hosts import access
from tests.unit.fakes import Checkout, container


class Stores:
    """A stack whose Redis and Postgres note what they are told. superuser: of its cluster."""

    def __init__(self, root: Path, superuser: str = "postgres") -> None:
        self.checkout = Checkout(root)
        self.checkout.with_env()
        self.superuser = superuser
        self.roles: list[str] = []
        self.foreign = ""
        self.compose = Compose(root, self.checkout.runner, environment=self.checkout.environment)
        worker_authority.ensure(self.compose)
        runner = self.checkout.runner
        runner.on("exec", "redis")
        runner.do("psql", action=self._psql)
        self.checkout.containers_are([container("postgres")])

    def _psql(self, argv: Sequence[str]) -> Result:
        user = argv[argv.index("--username") + 1]
        if user != self.superuser:
            return Result(tuple(argv), 2, "", f'FATAL:  role "{user}" does not exist')
        statement = self.said[-1]
        if self.foreign and f'CREATE ROLE "{self.foreign}"' in statement:
            error = f"ERROR:  there is a role {self.foreign} that wepp-stack has not made"
            return Result(tuple(argv), 3, "", error)
        return Result(tuple(argv), 0, "\n".join(self.roles) if "SELECT rolname FROM" in statement else "")

    @property
    def said(self) -> list[str]:
        """What psql was told."""
        return [call.stdin for call in self.checkout.runner.calls if call.stdin is not None]

    def file(self, name: str) -> Path:
        return self.compose.data_dir / worker_authority.FOLDER / name


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path)


def test_a_host_gets_a_user_and_a_role_of_its_own_whose_passwords_the_stores_keep_as_hashes(
    stores: Stores,
) -> None:
    granted = access.grant(stores.compose, "wepp2", {"id": "1", "until": 5.0})
    acl, entry = stores.file("wepp2.acl").read_text(), json.loads(stores.file("wepp2.json").read_text())
    assert acl.startswith("user worker-wepp2 on #")
    assert "-@admin -@dangerous" in acl
    assert entry["id"] == "1"
    assert len(entry["certificate"]) == 64
    statement = next(each for each in stores.said if "CREATE ROLE" in each)
    assert 'GRANT "wepppy" TO "worker-wepp2"' in statement
    assert scram.fits(granted.postgres_password, statement.split("PASSWORD '")[1].split("'")[0])
    everything = acl + statement + json.dumps([call.argv for call in stores.checkout.runner.calls])
    assert granted.redis_password not in everything
    assert granted.postgres_password not in everything


def test_on_an_older_volume_the_applications_own_role_is_the_superuser(tmp_path: Path) -> None:
    stores = Stores(tmp_path, superuser="wepppy")
    access.grant(stores.compose, "wepp2", {"id": "1", "until": 5.0})
    assert stores.file("wepp2.json").is_file()


def test_a_role_that_a_dump_brought_is_refused_with_the_command_that_deletes_it(stores: Stores) -> None:
    stores.foreign = "worker-wepp2"
    with pytest.raises(StackError) as refused:
        access.grant(stores.compose, "wepp2", {"id": "1", "until": 5.0})
    assert "there is a role worker-wepp2 that wepp-stack has not made" in refused.value.what
    assert """-U postgres -d postgres -c 'DROP ROLE "worker-wepp2"'""" in refused.value.fix
    assert not stores.file("wepp2.json").exists()


def test_a_host_that_is_granted_nothing_by_a_store_gets_no_access(stores: Stores) -> None:
    stores.checkout.runner.on("exec", "redis", stderr="NOAUTH", returncode=1)
    with pytest.raises(StackError, match="Redis does not take"):
        access.grant(stores.compose, "wepp2", {"id": "1", "until": 5.0})
    assert not stores.file("wepp2.json").exists()
    stores.checkout.runner.on("exec", "redis")
    assert access.tidy(stores.compose) == ["wepp2"]
    assert not stores.file("wepp2.acl").exists()


def test_what_hosts_left_behind_is_deleted_and_foreign_roles_are_not(stores: Stores) -> None:
    access.grant(stores.compose, "wepp2", {"id": "1", "until": 5.0})
    access.grant(stores.compose, "wepp3", {"id": "2", "until": 5.0})
    stores.roles = ["worker-wepp2", "worker-wepp3"]
    stores.file("wepp2.json").unlink()
    assert access.tidy(stores.compose) == ["wepp2"]
    dropped = [each for each in stores.said if "DROP ROLE" in each]
    assert len(dropped) == 1
    assert 'DROP ROLE "worker-wepp2"' in dropped[0]
    assert not stores.file("wepp2.acl").exists()
    assert stores.file("wepp3.acl").exists()
    assert any("shobj_description" in each for each in stores.said), "roles are ours by their comment alone"


def test_a_file_that_cannot_be_read_lets_nobody_in(stores: Stores) -> None:
    stores.file("wepp2.json").write_text("{")
    assert access.hosts(stores.compose) == {}
