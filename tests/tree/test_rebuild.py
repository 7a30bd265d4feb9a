"""What a change of a checkout builds anew: of a requirement its layer and what stands on it, of a source nothing."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from tests.engine.lifetime import own_stack
from tests.engine.stack import Stack
from tests.tree.checkout import copy_checkout

SERVICE = "weppcloud"
# `#12 [weppcloud dependencies 4/9] RUN ...` names a step, `#12 CACHED` tells that it was not run.
STEP = re.compile(rf"^#(\d+) \[{SERVICE} (\w+) +\d+/\d+\] (.*)$", re.MULTILINE)
CACHED = re.compile(r"^#(\d+) CACHED$", re.MULTILINE)


def steps_run(kit: Stack) -> list[tuple[str, str]]:
    """Build the Python image; return stage and instruction of each step that was not taken from the cache."""
    output = kit.compose("--progress", "plain", "build", SERVICE, timeout=1500)
    text = output.stdout + output.stderr
    cached = set(CACHED.findall(text))
    steps = STEP.findall(text)
    assert steps, text
    # Of the image that a stage begins with nothing is run.
    done = [step for step in steps if step[0] not in cached and not step[2].startswith("FROM ")]
    return [(stage, instruction) for _, stage, instruction in done]


@pytest.mark.full
def test_a_requirement_rebuilds_its_layer_and_what_stands_on_it_and_a_source_file_nothing(
    git_requirement: None, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path)
    changes = {
        "WEPPPY_SIBLINGS_DIR": str(checkout.siblings),
        "WEPPPY_CONSTRAINTS": "constraints.txt",
        "WEPPPY_CONSTRAINTS_DIR": str(checkout.constraints),
    }
    with own_stack(Stack, "tree-rebuild", init=[f"--tree={checkout.root}"], **changes) as kit:
        kit.invoke("compose-build", f"--services={SERVICE}", timeout=1500)
        assert steps_run(kit) == []
        with (checkout.root / "wepppy" / "weppcloud" / "app.py").open("a") as source:
            source.write("# edited\n")
        assert steps_run(kit) == []
        with (checkout.root / "docker" / "requirements-uv.txt").open("a") as requirements:
            # Another text each time: the builder's cache remembers earlier runs of this test.
            requirements.write(f"iniconfig==2.1.0  # {secrets.token_hex(8)}\n")
        run = steps_run(kit)
    first = {stage: next(words for other, words in run if other == stage) for stage, _ in run}
    assert first.keys() == {"dependencies", "base"}
    assert first["dependencies"].startswith("COPY --from=source"), run
    assert first["base"].startswith("COPY --from=dependencies /opt/venv"), run
    # Neither system packages nor tools, nor uv itself.
    assert not [instruction for _, instruction in run if "apt-get" in instruction or "/uv.txt" in instruction]
