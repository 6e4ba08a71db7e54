"""For all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# A shell starts what it puts in the background with SIGINT ignored, and children inherit that: tests that send Ctrl-C to a
# program of their own would wait in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, so that a change is judged by what it changes; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
