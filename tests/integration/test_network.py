"""A change of the machine's addresses cuts the wait for the next try short."""

import sys
import time

import pytest

from patience import PATIENCE
from process import run

LONG = 6000  # ms; the change is told after 200 ms of quiet, and ReconnectMin after the last try at the earliest
LOOPBACK_UP = """
import fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
"""


def test_an_address_that_appears_ends_the_wait(imd):
    launcher = ["unshare", "--net"]
    status, _, error = run([*launcher, "true"])
    if status != 0:
        pytest.skip(f"no private network namespace to be had here: {error.strip()}")
    daemon = imd("ws://127.0.0.1:9/", launcher=launcher, ReconnectMin="300ms", ReconnectMax="60min")
    client = daemon.client()

    def long_wait(status):
        """The waits grow with each failure, and full jitter may make any of them short: until one is long."""
        return status["state"] == "waiting" and status["nextRetryMs"] > LONG

    waiting = client.wait_status(long_wait, "a long wait", 3 * PATIENCE)
    due = time.monotonic() + waiting["nextRetryMs"] / 1000
    assert waiting["lastError"]["reason"] == "unreachable"
    client.subscribe("STATUS")
    enter = ["nsenter", f"--net=/proc/{daemon.process.pid}/ns/net"]
    status, _, error = run([*enter, sys.executable, "-c", LOOPBACK_UP])
    assert status == 0, error
    client.status("connecting", "the change is noticed")
    assert time.monotonic() < due - 1, "it did not come before its time"
    assert client.status("waiting", "nobody listens there")["reason"] == "refused"
