"""What holds for every test, wherever it runs."""

from __future__ import annotations

import signal

# A shell's background job ignores SIGINT, and all its children would: tests of Ctrl-C waited for nothing then.
signal.signal(signal.SIGINT, signal.default_int_handler)
