"""What git asks before it takes a push into a run: `python3 -m wepppy.weppcloud.bootstrap.pre_receive`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

BRANCH = "refs/heads/main"


def refused(lines: Iterable[str]) -> list[str]:
    """Return the names of what a push changes besides the one branch of a run; lines are `old new name`."""
    names = [line.split()[2] for line in lines if line.strip()]
    return [name for name in names if name != BRANCH]


def main() -> int:
    """Read the push from standard input; return 1 when it is refused."""
    others = refused(sys.stdin)
    if others:
        print(f"only {BRANCH} of a run can be pushed, not {', '.join(others)}", file=sys.stderr)
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
