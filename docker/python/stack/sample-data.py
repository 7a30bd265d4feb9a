"""Make the sample's geodata if the source tree is the sample; a real tree brings its own and is left alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not Path("/workdir/wepppy/wepppy/sample_data").is_dir():
    print("sample-data: this tree has no sample; /geodata stays as it is")
    sys.exit(0)
# The same process goes on: one interpreter start, not two, at every start of the stack.
arguments = [sys.executable, "-m", "wepppy.sample_data", "--geodata", os.environ["GEODATA_DIR"]]
os.execv(sys.executable, arguments)  # noqa: S606 - no shell is wanted
