"""`python -m wepppy.sample_data`: make the sample geodata unless it is there already."""

from __future__ import annotations

import argparse
import sys

from wepppy.config.run_paths import geodata_root
from wepppy.sample_data import DEFAULT_SEED, is_complete


def main(arguments: list[str]) -> int:
    """Run the command; 0 when the geodata is there afterwards, 2 for wrong usage, 4 when other data is in the way."""
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m wepppy.sample_data", description=main.__doc__)
    parser.add_argument("--geodata", type=Path, default=geodata_root(), help="where to put it (%(default)s)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="which landscape (%(default)s)")
    parser.add_argument(
        "--force", action="store_true", help="make it again, also over data of another origin"
    )
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error("--seed must not be negative")
    if not options.force and is_complete(options.geodata, options.seed):
        print(f"sample data: complete in {options.geodata}")
        return 0
    # Only now: these imports cost as much as everything above many times over.
    from wepppy.sample_data.generate import ForeignDataError, generate

    try:
        generate(options.geodata, options.seed, options.force, lambda line: print(line, flush=True))
    except ForeignDataError as error:
        print(f"sample data: {error}; nothing was changed\nuse --force to replace it", file=sys.stderr)
        return 4
    except OSError as error:
        print(f"sample data: {error.filename or options.geodata}: {error.strerror or error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
