"""Name lookups: a silent name server stops nothing, failures are tried again, every address of a name is tried."""

import json
import os
import signal
import time

from patience import SLOW, until
from process import build_dir, run

NAME = "im.example"


def test_status_while_the_name_server_is_silent(server, imd, name_server):
    daemon = imd(f"ws://{NAME}:{server.port}/im", launcher=name_server.launcher())
    until(lambda: name_server.queries, "the lookup has begun")
    client = daemon.client()
    times = []
    for _ in range(20):
        began = time.monotonic()
        status = client.call("status")
        times.append(time.monotonic() - began)
        assert status["state"] == "connecting" and "lastError" not in status, "the lookup is over"
    assert sorted(times)[len(times) // 2] < 0.05 * SLOW, times
    assert name_server.silent and max(times) < 5 * SLOW
    status, out, error = run([os.path.join(build_dir(), "cli/imctl"), "status", "--json"],
                             env={"IMCTL_SOCKET": daemon.socket_path})
    assert (status, json.loads(out)["state"]) == (69, "connecting"), error  # 69: not connected
    assert client.refused("send", message={"content": {"message": "x"}}).reason == "not_connected"
    assert client.call("status")["state"] == "connecting", "all that was while the lookup was pending"


def test_disconnect_and_connect_while_the_name_server_is_silent(server, imd, name_server):
    daemon = imd(f"ws://{NAME}:{server.port}/im", launcher=name_server.launcher())
    until(lambda: name_server.queries, "the lookup has begun")
    client = daemon.client()
    assert client.call("disconnect") == {"state": "disconnected"}
    assert client.call("status")["state"] == "disconnected"
    # The next lookup does not wait for the forgotten one.
    name_server.silent, name_server.addresses = False, ["127.0.0.1"]
    assert client.call("connect")["state"] == "connecting"
    daemon.connected()
    assert server.headers()["host"] == f"{NAME}:{server.port}"


def test_sigterm_while_the_name_server_is_silent(server, imd, name_server):
    daemon = imd(f"ws://{NAME}:{server.port}/im", launcher=name_server.launcher())
    until(lambda: name_server.queries, "the lookup has begun")
    daemon.process.signal(signal.SIGTERM)
    assert daemon.process.wait(8 * SLOW) == 0  # the lookup alone would take 10 s


# Row: DNS failure
def test_dns_failure(server, imd, name_server):
    name_server.silent = False
    daemon = imd(f"ws://{NAME}:{server.port}/im", launcher=name_server.launcher())
    client = daemon.client()
    status = client.wait_status(lambda s: s.get("attempt", 0) >= 3, "three attempts")
    assert status["lastError"]["reason"] == "dns"
    assert status["lastError"]["detail"]
    name_server.addresses = ["127.0.0.1"]
    daemon.connected()


def test_every_address_is_tried_before_the_backoff_grows(im_server, imd, name_server):
    """getaddrinfo puts first what is nearest to our own address, 127.0.0.1: so the server is far from it."""
    server = im_server(listen="127.200.0.1")
    name_server.silent, name_server.addresses = False, ["127.0.0.1", "127.0.0.2", "127.200.0.1"]
    daemon = imd(f"ws://{NAME}:{server.port}/im", launcher=name_server.launcher(), ReconnectMin="60min",
                 ReconnectMax="60min")
    status = daemon.wait_state("connected")
    assert "attempt" not in status and daemon.client().call("stats")["reconnects"] == 0
    assert server.headers()["host"] == f"{NAME}:{server.port}"


def test_all_addresses_refuse(server, imd, name_server):
    name_server.silent, name_server.addresses = False, ["127.0.0.2", "127.0.0.3"]
    daemon = imd(f"ws://{NAME}:{server.port}/im", launcher=name_server.launcher())
    status = daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 2, "all have refused, twice")
    assert status["lastError"]["reason"] == "refused"
    # The name is looked up anew each time.
    name_server.addresses = ["127.0.0.1"]
    daemon.connected()


def test_the_name_server_is_asked_anew_at_each_attempt(server, imd, name_server):
    name_server.silent, name_server.addresses = False, ["127.0.0.1"]
    daemon = imd(f"ws://{NAME}:{server.port}/im", launcher=name_server.launcher()).connected()
    queries = name_server.queries
    watcher = daemon.watcher()
    server.do("drop")
    watcher.status("connected", "it comes back")
    assert name_server.queries > queries
