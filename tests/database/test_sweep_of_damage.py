"""No damaged dump is restored: it is refused before anything changes, or what it holds is equal to the original.

But for one class, which is counted by itself: where no checksum lies beside a dump whose form holds none either, a
changed letter inside a row cannot be told from a right one by anybody; the task then says that there is none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.database.damage import KINDS, WAYS, Damage, make
from tests.database.stack import LightStack

SMALL = """
DROP TABLE IF EXISTS ballast, measured;
CREATE TABLE measured (id int PRIMARY KEY, word text NOT NULL, value float8, at timestamptz DEFAULT '2026-01-01');
INSERT INTO measured SELECT n, md5(n::text), n / 7.0 FROM generate_series(1, 2000) n;
CREATE INDEX ON measured (word);
"""
# Whoever asks for JSON holds the program's input open for as long as he wants the answer.
VERIFY = """
asker=$(mktemp --dry-run) && mkfifo "$asker" && exec <>"$asker" && rm "$asker"
cd /backups/damage
for dump in "$@"; do
  wepp-backup --json verify --dump "/backups/damage/$dump" >"$dump.answer" 2>/dev/null
  echo "$dump $?"
done
"""
DRILL = """
for dump in "$@"; do
  wepp-backup drill --dump "/backups/damage/$dump" >"/backups/damage/$dump.drill" 2>&1
  echo "$dump $?"
done
"""
# The kinds that hold no sum over their rows, so that one bit may make another right value of one: those that pack
# nothing, and zstd's and lz4's, whose frames pg_dump writes without the sum that they could have. gzip sums (CRC-32,
# RFC 1952), and so does zlib inside a dump (Adler-32, RFC 1950).
WITHOUT_SUMS = (
    "plain", "custom-unpacked", "tar", "custom-zstd", "directory-lz4", "directory-zstd", "directory-unpacked",
)  # fmt: skip
BATCH = 10  # dumps at a time
# How a damaged dump may end.
REFUSED, EQUAL = "refused before anything was changed", "loaded and equal to the original"
REFUSED_BY_THE_LOAD, CHANGED_UNSEEN = "refused by the load", "without any sum and changed unseen"


@pytest.fixture(scope="module")
def good(light: LightStack) -> dict[str, Path]:
    """One good dump of each kind with its checksums."""
    light.wait_until_idle()
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
    damages: int,
    good: dict[str, Path],
    stack: LightStack,
    folder: Path,
    record_property: Callable[[str, object], None],
) -> None:
    original, databases = stack.content(), stack.databases()
    made = {each.path.name: each for each in (make(number, good, folder) for number in range(damages))}
    answers = statuses(stack, VERIFY, list(made))
    assert set(answers) == set(made)
    ends: dict[str, list[Damage]] = {}
    for name, damage in made.items():
        assert answers[name] in ("0", "4"), f"{damage}: exit status {answers[name]}"
        end = REFUSED if answers[name] == "4" else loaded(stack, damage, original)
        ends.setdefault(end, []).append(damage)
    # The product's own load, of every one that it accepted, comes to the same end.
    accepted = [each.path.name for end, some in ends.items() if end != REFUSED for each in some]
    drilled = statuses(stack, DRILL, accepted)
    refused = {each.path.name for each in ends.get(REFUSED_BY_THE_LOAD, [])}
    assert {name: status != "0" for name, status in drilled.items()} == {
        name: name in refused for name in accepted
    }
    # The task's words, once for each kind.
    for damage in {each.kind: each for each in ends.get(REFUSED_BY_THE_LOAD, [])}.values():
        done = stack.task("db-restore", f"--dump={damage.path}", "--yes")
        assert done.returncode == 4, f"{damage}\n{done.stdout}\n{done.stderr}"
        assert "fix:" in done.stderr
    assert stack.left_behind() == []
    for damage in ends.get(CHANGED_UNSEEN, []):
        answer = json.loads((folder / f"{damage.path.name}.answer").read_text().splitlines()[-1])["answer"]
        assert damage.kind in WITHOUT_SUMS, damage
        assert not damage.summed, damage
        assert damage.way != "cut", damage
        assert not answer["checksummed"], damage  # by which the task says that it cannot tell
    assert stack.content() == original
    assert stack.databases() == databases
    found = [f"{len(some)} {end}" for end, some in ends.items()]
    found += [f"unseen: {damage}" for damage in ends.get(CHANGED_UNSEEN, [])]
    record_property(f"{len(made)} damaged dumps", ", ".join(found))


def statuses(stack: LightStack, script: str, dumps: list[str]) -> dict[str, str]:
    """Exit status by dump of a script over all of them: a few at a time, so that a slow machine stays in time."""
    told = [
        stack.in_sidecar("bash", "-c", script, "bash", *dumps[first : first + BATCH])
        for first in range(0, len(dumps), BATCH)
    ]
    return dict(line.split() for line in "".join(told).splitlines())


def loaded(stack: LightStack, damage: Damage, original: str) -> str:
    """How loading an accepted dump ends, asked of Postgres' own programs."""
    stack.psql("DROP DATABASE IF EXISTS scratch WITH (FORCE)", "postgres")
    stack.psql("CREATE DATABASE scratch OWNER wepppy TEMPLATE template0", "postgres")
    path = f"/backups/damage/{damage.path.name}"
    if damage.kind.startswith("plain"):
        reading = f'zcat -f "{path}" | psql -XqAt -v ON_ERROR_STOP=1 -d scratch >/dev/null && echo loaded'
    else:
        reading = f'pg_restore -e -d scratch "{path}" && echo loaded'
    # As the superuser, who may load all that was dumped. What the programs complain of may be any bytes.
    reading = f"export PGUSER=postgres; {{ {reading}; }} 2>/dev/null"
    try:
        if "loaded" not in stack.in_sidecar("bash", "-o", "pipefail", "-c", reading, check=False):
            return REFUSED_BY_THE_LOAD
        return EQUAL if stack.content("scratch") == original else CHANGED_UNSEEN
    finally:
        stack.psql("DROP DATABASE scratch WITH (FORCE)", "postgres")


@pytest.mark.parametrize("number", range(0, len(KINDS) * len(WAYS), 2))
def test_the_task_refuses_a_damaged_dump_and_changes_nothing(
    number: int, good: dict[str, Path], stack: LightStack, folder: Path
) -> None:
    # Every way and every kind, with their checksums.
    damage = make(number, good, folder)
    before, databases = stack.content(), stack.databases()
    done = stack.task("db-restore", f"--dump={damage.path}", "--yes")
    assert done.returncode == 4, f"{damage}\n{done.stdout}\n{done.stderr}"
    assert "fix:" in done.stderr
    assert "Traceback" not in done.stderr
    assert stack.content() == before
    assert stack.databases() == databases
    assert stack.left_behind() == []
