"""`python -m wepppy.sample_data`: make the sample geodata unless it is there already."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from wepppy.config.run_paths import geodata_root
from wepppy.sample_data import DEFAULT_SEED, is_complete, read_marker


def main(arguments: list[str]) -> int:
    """Run the command.

    Returns 0 when the geodata is there afterwards, 2 for wrong usage, 3 when it can't be written, 4 when other data
    is in the way: that of another seed (`--replace` makes it anew) or of another origin.
    """
    parser = argparse.ArgumentParser(prog="python -m wepppy.sample_data", description=main.__doc__)
    parser.add_argument("--geodata", type=Path, default=geodata_root(), help="where to put it (%(default)s)")
    parser.add_argument(
        "--seed", type=int, help=f"which landscape; default: the one that is there, else {DEFAULT_SEED}"
    )
    parser.add_argument("--replace", action="store_true", help="replace the landscape of another seed")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
    parser.add_argument(
        "--json-lines", action="store_true", help="print everything as one JSON object a line"
    )
    options = parser.parse_args(arguments)
    if options.seed is not None and options.seed < 0:
        parser.error("--seed must not be negative")
    output = Output(options.json_lines)
    marker = read_marker(options.geodata) or {}
    there = marker.get("seed")
    seed: int = next(each for each in (options.seed, there, DEFAULT_SEED) if isinstance(each, int))
    if is_complete(options.geodata, seed):
        output.answer(f"complete in {options.geodata}", seed=seed, files=len(marker["files"]), made=0)
        return 0
    if there not in (None, seed) and not options.replace:
        output.refuse(
            f"{options.geodata} holds the landscape of seed {there}", "--replace makes that of another"
        )
        return 4
    if options.dry_run:
        output.answer(f"would be made in {options.geodata} from seed {seed}", seed=seed, replaces=there)
        return 0
    # Only now: these imports cost as much as everything above many times over.
    from wepppy.sample_data.generate import ForeignDataError, generate

    try:
        generate(options.geodata, seed, output.progress)
    except ForeignDataError as error:
        output.refuse(str(error), "move it away, or name another folder in GEODATA_DIR")
        return 4
    except OSError as error:
        print(f"sample data: {error.filename or options.geodata}: {error.strerror or error}", file=sys.stderr)
        return 3
    files = len((read_marker(options.geodata) or {"files": {}})["files"])
    output.answer(f"{files} files in {options.geodata}", seed=seed, files=files, made=files)
    return 0


class Output:
    """Print progress and result as text, or as JSON lines for a calling program."""

    def __init__(self, json_lines: bool) -> None:
        self.json_lines = json_lines

    def progress(self, text: str) -> None:
        """Print one step of progress."""
        print(
            json.dumps({"step": "geodata", "state": text}) if self.json_lines else f"sample data: {text}",
            flush=True,
        )

    def answer(self, text: str, **figures: object) -> None:
        """Print the result."""
        print(json.dumps({"answer": figures}) if self.json_lines else f"sample data: {text}", flush=True)

    def refuse(self, what: str, fix: str) -> None:
        """Print why nothing was done, and the flag that does it all the same."""
        if self.json_lines:
            print(json.dumps({"refused": what}), flush=True)
        else:
            print(f"sample data: {what}; nothing was changed\n{fix}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
