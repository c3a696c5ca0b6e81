"""A change of the machine's addresses cuts the wait for the next try short."""

import sys

import pytest

from patience import until
from process import run

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
    daemon = imd("ws://127.0.0.1:9/", launcher=launcher, ReconnectMin="60min", ReconnectMax="60min")
    client = daemon.client()
    client.subscribe("STATUS")
    waiting = client.wait_status(lambda s: s["state"] == "waiting", "it waits")
    assert waiting["lastError"]["reason"] == "unreachable"

    def long_wait():
        """Full jitter: the wait may by chance be a short one; then another is drawn."""
        status = client.call("status")
        if status["state"] == "waiting" and status["nextRetryMs"] > 120_000:
            return True
        client.call("reconnect")
        return False

    until(long_wait, "a wait of more than two minutes")
    client.barrier()
    client.events_waiting.clear()
    enter = ["nsenter", f"--net=/proc/{daemon.process.pid}/ns/net"]
    status, _, error = run([*enter, sys.executable, "-c", LOOPBACK_UP])
    assert status == 0, error
    assert client.status("connecting", "the change is noticed")
    assert client.status("waiting", "nobody listens there")["reason"] == "refused"
