"""Run a command only when the compiled library is there: `wepppyo3-interchange-preflight.py -- COMMAND...`."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> None:
    """Become the command after `--`; exit 64 without one, 70 when the library does not work."""
    if len(arguments) < 2 or arguments[0] != "--":
        sys.exit(64)
    try:
        import wepppyo3

        wepppyo3.hillslope_loss(0.1, 10.0)
    except (ImportError, AttributeError) as error:
        print(f"wepppyo3 does not work: {error}", file=sys.stderr)
        sys.exit(70)
    os.execvp(arguments[1], arguments[1:])  # noqa: S606 - a list of arguments, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
