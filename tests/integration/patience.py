"""How long a test waits before it calls something broken.

Tests wait for conditions, never for time to pass; these limits only end a test that would hang. IMD_TEST_SLOW
stretches all of them, for daemons that run under valgrind or a sanitizer.
"""

import os
import time

SLOW = float(os.environ.get("IMD_TEST_SLOW", "1"))
PATIENCE = 10 * SLOW


class Impatient(AssertionError):
    """A condition did not become true in time."""


def until(condition, what, seconds=PATIENCE):
    """Calls condition until it returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Impatient(f"{what}: not within {seconds:g} s")
        time.sleep(0.01)
