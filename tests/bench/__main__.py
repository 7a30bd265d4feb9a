"""Runs benchmarks: `python -m tests.bench [GROUP...] [GROUP/NAME...]`, all of them without an argument.

A group is a folder beside this file, a benchmark a `bench_*.py` in it, or beside this file for a group of one, that
prints its figures (see `figures`) and ends with 1 when it misses a goal. Those of `sample` run in the container that
the sample's tests run in, with the Go services beside them; all others run on this machine and use its engine.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests import containers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IN_CONTAINER = frozenset({"sample"})


def find(wanted: Sequence[str]) -> list[str]:
    """Benchmarks as [GROUP/]NAME, for groups and names, or all; ends the program when a name means nothing."""
    files = [*HERE.glob("bench_*.py"), *HERE.glob("*/bench_*.py")]
    every = sorted(
        "/".join([*file.relative_to(HERE).parts[:-1], file.stem.removeprefix("bench_")]) for file in files
    )
    chosen: list[str] = []
    for word in wanted or sorted({name.partition("/")[0] for name in every}):
        matching = [name for name in every if word in (name, name.partition("/")[0])]
        if not matching:
            sys.exit(f"there is no benchmark {word}; there are: {', '.join(every)}")
        chosen += matching
    return list(dict.fromkeys(chosen))


def main(wanted: Sequence[str]) -> int:
    """Run what is wanted, one after the other; 1 when a goal was missed or a benchmark failed."""
    image = ""
    failed = []
    for name in find(wanted):
        group, _, bench = name.rpartition("/")
        command = ["python", "-m", ".".join(["tests.bench", *filter(None, [group]), f"bench_{bench}"])]
        if group in IN_CONTAINER:
            image = image or containers.bench_image()
            command = [*containers.in_image(image), *command]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"goals missed or not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
