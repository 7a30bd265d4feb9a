"""Build `static/js/controllers-gl.js` from the modules beside this file."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "static" / "js" / "controllers-gl.js"


def bundle() -> str:
    """Return the modules as one script, named by what they hold."""
    modules = [
        {"name": file.name, "text": file.read_text(encoding="utf-8")} for file in sorted(HERE.glob("*.js"))
    ]
    digest = hashlib.sha256("".join(module["text"] for module in modules).encode()).hexdigest()[:12]
    loader = FileSystemLoader(HERE / "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701 - no HTML
    return environment.get_template("controllers.js.j2").render(modules=modules, digest=digest)


def main() -> None:
    """Write the bundle to `--output` and to each of CONTROLLERS_JS_EXTRA_OUTPUTS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output: Path = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".part")
    partial.write_text(bundle(), encoding="utf-8")
    partial.replace(output)
    for other in os.environ.get("CONTROLLERS_JS_EXTRA_OUTPUTS", "").split():
        Path(other).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(output, other)


if __name__ == "__main__":
    main()
