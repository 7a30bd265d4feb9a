"""No damaged dump is restored: it is refused before anything changes, or what it holds is equal to the original.

Where no checksum lies beside a dump, a changed letter inside a row cannot be told from a right one by anybody; the
task must then say that there is none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.database.damage import KINDS, Damage, make
from tests.database.stack import LightStack

SMALL = """
DROP TABLE IF EXISTS ballast, measured;
CREATE TABLE measured (id int PRIMARY KEY, word text NOT NULL, value float8, at timestamptz DEFAULT '2026-01-01');
INSERT INTO measured SELECT n, md5(n::text), n / 7.0 FROM generate_series(1, 2000) n;
CREATE INDEX ON measured (word);
"""
VERIFY = """
cd /backups/damage
for dump in damaged-*; do
  case $dump in *.sha256|*.answer) continue ;; esac
  wepp-backup --json verify --dump "/backups/damage/$dump" >"$dump.answer" 2>/dev/null
  echo "$dump $?"
done
"""
# The kinds whose own form holds a sum over every byte (gzip's CRC-32, RFC 1952).
SUMMED_BY_ITSELF = ("plain-gzip",)


@pytest.fixture(scope="module")
def good(light: LightStack) -> dict[str, Path]:
    """One good dump of each kind with its checksums."""
    light.wait_until_settled()
    light.psql(SMALL)
    made = {}
    for kind, options in KINDS.items():
        light.in_sidecar("rm", "-rf", f"/backups/good-{kind}")
        made[kind] = light.dump(f"good-{kind}", *options)
        sums = light.in_sidecar(
            "sh", "-c", 'cd /backups && find "$1" -type f -exec sha256sum {} +', "sh", f"good-{kind}"
        )
        (light.backups / f"good-{kind}.sha256").write_text(sums)
    return made


@pytest.fixture
def folder(stack: LightStack) -> Iterator[Path]:
    """A folder among the backups for the damaged ones."""
    place = stack.backups / "damage"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


def test_every_good_dump_is_accepted(good: dict[str, Path], stack: LightStack) -> None:
    for path in good.values():
        answer = json.loads(stack.must("db-verify", f"--dump={path.name}", "--json"))
        assert answer["checksummed"], path


def test_every_damaged_dump_is_refused_or_equal(
    damages: int, good: dict[str, Path], stack: LightStack, folder: Path
) -> None:
    original, databases = stack.content(), stack.databases()
    made = {each.path.name: each for each in (make(number, good, folder) for number in range(damages))}
    answers = dict(line.split() for line in stack.in_sidecar("bash", "-c", VERIFY).splitlines())
    assert set(answers) == set(made)
    passed, told = [], 0
    for name, damage in made.items():
        assert answers[name] in ("0", "4"), f"{damage}: exit status {answers[name]}"
        if answers[name] == "4":
            continue
        if restores_equal(stack, damage, original):
            continue
        answer = json.loads((folder / f"{name}.answer").read_text().splitlines()[-1])["answer"]
        if damage.summed or damage.kind in SUMMED_BY_ITSELF or answer["checksummed"]:
            passed.append(str(damage))
        told += 1
    assert not passed
    assert stack.content() == original
    assert stack.databases() == databases
    refused = sum(status == "4" for status in answers.values())
    print(
        f"\n{len(made)} damaged dumps: {refused} refused, {told} taken with a warning, others equal or not loadable"
    )


def restores_equal(stack: LightStack, damage: Damage, original: str) -> bool:
    """True when the dump cannot be loaded at all, or holds what the original held; asked of Postgres' own programs."""
    stack.psql("DROP DATABASE IF EXISTS scratch WITH (FORCE)", "postgres")
    stack.psql("CREATE DATABASE scratch TEMPLATE template0", "postgres")
    path = f"/backups/damage/{damage.path.name}"
    if damage.kind.startswith("plain"):
        reading = f'zcat -f "{path}" | psql -XqAt -v ON_ERROR_STOP=1 -d scratch >/dev/null && echo loaded'
    else:
        reading = f'pg_restore -e -d scratch "{path}" && echo loaded'
    try:
        loaded = "loaded" in stack.in_sidecar("bash", "-o", "pipefail", "-c", reading, check=False)
        return not loaded or stack.content("scratch") == original
    finally:
        stack.psql("DROP DATABASE scratch WITH (FORCE)", "postgres")


@pytest.mark.parametrize("number", range(12))
def test_the_task_refuses_a_damaged_dump_and_changes_nothing(
    number: int, good: dict[str, Path], stack: LightStack, folder: Path
) -> None:
    # Of every way and kind with its checksum, and of cuts without one.
    damage = make(number, good, folder)
    before, databases = stack.content(), stack.databases()
    done = stack.task("db-restore", f"--dump={damage.path}", "--yes")
    assert done.returncode == 4, f"{damage}\n{done.stdout}\n{done.stderr}"
    assert "mend:" in done.stderr
    assert "Traceback" not in done.stderr
    assert stack.content() == before
    assert stack.databases() == databases
    assert stack.left_behind() == []
