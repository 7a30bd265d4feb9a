"""`flask seed`: people, runs and checklists from one number; again and again, and away again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import RedisServer, subscribed_runs
from flask import Flask
from sqlalchemy import func, select
from test_weppcloud_accounts import EMAIL
from test_weppcloud_runs import make_run
from wepppy.config.redis_settings import RedisDB, redis_client
from wepppy.microservices import webpush_store
from wepppy.prep import RedisPrep
from wepppy.rq.jobs import TASKS
from wepppy.rq.project import read_project
from wepppy.weppcloud.models import Role, Run, User, db
from wepppy.weppcloud.seed_plan import COMPUTED, DOMAIN, PEOPLE, RUNID, runs


@pytest.fixture
def seeded(site: Flask) -> Flask:
    call(site)
    return site


def call(site: Flask, *options: str, status: int = 0) -> dict[str, Any]:
    """Run the command and return what its last line says."""
    result = site.test_cli_runner().invoke(args=["seed", *options])
    assert result.exit_code == status, (result.output, result.exception)
    last: dict[str, Any] = json.loads(result.output.splitlines()[-1])
    return last


def answer(site: Flask, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = call(site, *options)["answer"]
    return found


def everything(site: Flask, data_env: Path) -> dict[str, object]:
    """Return what the three stores hold."""
    with site.app_context():
        rows = [
            (run.runid, run.name, run.owner.email if run.owner else None, run.public, run.date_created)
            for run in db.session.scalars(select(Run).order_by(Run.runid))
        ]
        people = [
            (user.email, user.fs_uniquifier) for user in db.session.scalars(select(User).order_by(User.id))
        ]
    client = redis_client(RedisDB.LOCK)
    hashes = {key: client.hgetall(key) for key in client.scan_iter("*", _type="hash")}
    files = {path: path.read_bytes() for path in (data_env / "wc1").rglob("*") if path.is_file()}
    return {"rows": rows, "people": people, "hashes": hashes, "files": files}


def test_the_plan_of_a_number_is_always_the_same_and_grows_at_its_end() -> None:
    dozen = list(runs(7, 12))
    assert dozen == list(runs(7, 12)) == list(runs(7, 100))[:12]
    assert [plan.name for plan in dozen] != [plan.name for plan in runs(8, 12)]
    assert len({plan.runid for plan in dozen}) == 12
    assert all(RUNID.fullmatch(plan.runid) for plan in dozen)
    assert len({plan.owner for plan in runs(7, 100)}) == len(PEOPLE) + 1  # some belong to nobody
    assert any(not plan.public for plan in runs(7, 100))
    assert all(plan.public for plan in runs(7, 100) if plan.owner is None)


def test_a_made_up_checklist_is_in_order_and_claims_no_run_of_the_model() -> None:
    order = [f"timestamps:{task}" for task, _, _ in TASKS]
    lengths = set()
    for plan in runs(7, 100):
        moments = {
            name: int(value) for name, value in plan.checklist.items() if name.startswith("timestamps:")
        }
        assert list(moments) == order[: len(moments)]
        assert sorted(set(moments.values())) == list(moments.values())
        assert "timestamps:run_wepp_hillslopes" not in moments
        assert plan.checklist["attrs:loaded"] == "true"
        lengths.add(len(moments))
    assert len(lengths) > 4


def test_seeding_fills_all_three_stores(seeded: Flask, data_env: Path, redis_env: RedisServer) -> None:
    with seeded.app_context():
        assert db.session.scalar(select(func.count()).select_from(Run)) == 12
        assert db.session.scalar(select(func.count()).select_from(Role)) == 5
        ada = db.session.scalars(select(User).where(User.email == f"ada@{DOMAIN}")).one()
        assert {role.name for role in ada.roles} == {"User", "PowerUser"}
        assert {run.runid for run in ada.runs} >= {plan.runid for plan in runs(20190401, COMPUTED)}
    for number, plan in enumerate(runs(20190401, 12), 1):
        folder = data_env / "wc1/runs/se" / plan.runid
        project = read_project(folder)
        assert (project.name, project.created) == (plan.name, plan.created.isoformat(timespec="seconds"))
        assert (folder / "PUBLIC").exists() == plan.public
        fields = RedisPrep(plan.runid).fields()
        assert plan.checklist.items() <= fields.items()
        assert ("rq:run_project" in fields) == (number <= COMPUTED)
    assert redis_client(RedisDB.RQ).llen("rq:queue:default") == COMPUTED


def test_nobody_can_log_in_as_a_seeded_person(seeded: Flask) -> None:
    with seeded.app_context():
        found = db.session.scalars(select(User.password).where(User.email.endswith(DOMAIN))).all()
    assert found == [None] * len(PEOPLE)


def test_a_second_call_changes_nothing_and_says_so(seeded: Flask, data_env: Path) -> None:
    before = everything(seeded, data_env)
    found = answer(seeded)
    assert found.pop("runs_kept") == 12
    assert found.pop("seed") == 20190401
    assert set(found.values()) == {0}
    assert everything(seeded, data_env) == before


def test_a_dry_run_counts_and_makes_nothing(site: Flask, data_env: Path) -> None:
    before = everything(site, data_env)
    found = answer(site, "--dry-run", "--scale", "40")
    assert everything(site, data_env) == before
    made = answer(site, "--scale", "40")
    assert {key: made[key] for key in ("runs", "accounts", "checklists", "started")} == {
        key: found[key] for key in ("runs", "accounts", "checklists", "started")
    }


def test_more_runs_are_added_and_fewer_remove_nothing(seeded: Flask) -> None:
    assert (answer(seeded, "--scale", "1500")["runs"], answer(seeded, "--scale", "3")["runs"]) == (1488, 0)
    listed = seeded.test_client().get("/api/runs?limit=1").get_json()["Content"]
    assert 1000 < listed["total"] <= 1500  # the private ones are not shown


def test_a_page_of_very_many_runs_shows_fifty(seeded: Flask) -> None:
    answer(seeded, "--scale", "300")
    page = seeded.test_client().get("/?page=2").text
    assert page.count('name="run" value="') == 50  # one choice for each
    assert "page 2 of" in page


@pytest.mark.parametrize("lost", ["row", "folder", "checklist"])
def test_what_one_store_lost_is_made_again(seeded: Flask, data_env: Path, lost: str) -> None:
    before = everything(seeded, data_env)
    runid = "seed-20190401-00007"
    if lost == "row":
        with seeded.app_context():
            db.session.delete(db.session.scalars(select(Run).where(Run.runid == runid)).one())
            db.session.commit()
    elif lost == "folder":
        folder = data_env / "wc1/runs/se" / runid
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    else:
        redis_client(RedisDB.LOCK).delete(runid)
    answer(seeded)
    assert everything(seeded, data_env) == before


def test_a_reset_removes_what_seed_made_and_nothing_of_what_people_made(site: Flask, data_env: Path) -> None:
    make_run(site.test_client(), name="by a person")
    before = everything(site, data_env)
    answer(site, "--scale", "30")
    assert answer(site, "--reset", "--dry-run")["removed"] == {"runs": 30, "accounts": 6, "accounts_kept": 0}
    found = answer(site, "--reset", "--scale", "0")
    assert found["removed"]["runs"] == 30
    assert redis_client(RedisDB.RQ).llen("rq:queue:default") == 0
    after = everything(site, data_env)
    assert [key for key in before if before[key] != after[key]] == ["people"]  # those are made again at once
    with site.app_context():
        assert db.session.scalars(select(User.email).where(User.email == EMAIL)).one() == EMAIL


def test_a_reset_removes_the_push_subscriptions_of_the_runs_it_removes(seeded: Flask) -> None:
    client = seeded.test_client()
    by_a_person = make_run(client)
    with seeded.app_context():
        [of_seed, *_] = db.session.scalars(select(Run.runid).where(Run.runid != by_a_person))
    for runid in (by_a_person, of_seed):
        assert webpush_store.add(runid, "https://push.example/one", "key", "secret")
    answer(seeded, "--reset", "--scale", "0")
    assert subscribed_runs() == [by_a_person]


def test_an_account_on_which_a_persons_run_depends_stays(seeded: Flask) -> None:
    with seeded.app_context():
        ben = db.session.scalars(select(User).where(User.email == f"ben@{DOMAIN}")).one()
        db.session.add(Run(runid="mine", config="sample", owner=ben, public=False))
        db.session.commit()
        identity = ben.fs_uniquifier
    removed = answer(seeded, "--reset")["removed"]
    assert (removed["accounts"], removed["accounts_kept"]) == (5, 1)
    with seeded.app_context():
        mine = db.session.scalars(select(Run).where(Run.runid == "mine")).one()
        assert mine.owner is not None
        assert mine.owner.fs_uniquifier == identity


def test_another_number_needs_a_reset(seeded: Flask, data_env: Path) -> None:
    before = everything(seeded, data_env)
    assert "seed 20190401" in call(seeded, "--seed", "7", status=4)["refused"]
    assert everything(seeded, data_env) == before
    assert answer(seeded, "--seed", "7", "--reset")["runs"] == 12


def test_a_run_at_work_is_not_pulled_away(seeded: Flask, data_env: Path) -> None:
    job = RedisPrep("seed-20190401-00001").fields()["rq:run_project"]
    redis_client(RedisDB.RQ).hset(f"rq:job:{job}", "status", "started")
    before = everything(seeded, data_env)
    assert "is being computed" in call(seeded, "--reset", status=4)["refused"]
    assert everything(seeded, data_env) == before


def test_without_geodata_nothing_is_made(site: Flask, data_env: Path) -> None:
    (data_env / "geodata/sample-data.json").unlink()
    assert "has not been made" in call(site, status=4)["refused"]
    with site.app_context():
        assert db.session.scalar(select(func.count()).select_from(Run)) == 0
