"""The session comes back by itself after every loss that nobody here asked for."""

import time

import pytest

from patience import SLOW, until


def lose(daemon, how):
    """Does it and returns (the STATUS that told the loss, the one that told the return)."""
    watcher = daemon.watcher()
    how()
    lost = watcher.status("waiting", "the loss is told")
    assert lost["attempt"] >= 1
    assert 0 <= lost["nextRetryMs"] <= 200
    return lost, watcher.status("connected", "it comes back")


# Row: reconnect after server restart
def test_server_restart(server, bridge):
    watcher = bridge.watcher()
    server.stop()
    watcher.status("waiting", "the loss is told")
    refused = watcher.status(lambda s: s.get("reason") == "refused", "nobody listens")
    assert refused["state"] in ("waiting", "connecting")
    server.start()
    watcher.status("connected", "it comes back")
    assert bridge.client().call("stats")["reconnects"] >= 1


def test_server_killed_and_restarted(server, bridge):
    watcher = bridge.watcher()
    server.kill()
    watcher.status("waiting", "the loss is told")
    server.start()
    watcher.status("connected", "it comes back")
    server.push_text("hello again")
    assert server.stats()["connections"] == 1


# Row: TCP cut
@pytest.mark.parametrize("rst", [False, True], ids=["FIN", "RST"])
def test_tcp_cut(server, bridge, rst):
    lost, _ = lose(bridge, lambda: server.do("drop", rst=rst))
    assert lost["reason"] == "closed"
    server.wait("accepted", min=2)


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_network_cuts(server, imd, proxy_of, how):
    proxy = proxy_of(server.port)
    daemon = imd(f"ws://127.0.0.1:{proxy.port}/im").connected()
    lose(daemon, getattr(proxy, how))
    assert proxy.accepted >= 2


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4000])
def test_server_closes(server, bridge, code):
    lost, _ = lose(bridge, lambda: server.do("close", code=code, reason="bye"))
    assert lost["reason"] == "closed"
    assert bridge.client().call("status")["lastError"]["reason"] == "closed"


# Row: refused
def test_refused(server, imd):
    server.do("stop_listening")
    daemon = imd(server.url())
    status = daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 3, "three attempts")
    assert status["lastError"]["reason"] == "refused"
    assert daemon.client().refused("send", message={"content": {"message": "x"}}).reason == "not_connected"
    server.do("start_listening")
    daemon.connected()


def test_backoff_grows_and_is_reset_after_a_stable_time(server, imd):
    stable = int(600 * SLOW)
    daemon = imd(server.url(), ReconnectMin="50ms", ReconnectMax="400ms", ReconnectStable=f"{stable}ms").connected()
    watcher = daemon.watcher()
    server.do("stop_listening")
    server.do("drop")
    attempts = []
    while len(attempts) < 5:
        status = watcher.status("waiting", "another try")
        attempts.append(status["attempt"])
        assert status["nextRetryMs"] <= min(400, 50 << status["attempt"])
    assert attempts == sorted(attempts) and attempts[-1] >= 4
    server.do("start_listening")
    watcher.status("connected", "it comes back")
    # Lost before it was stable: the count goes on where it was.
    server.do("drop")
    assert watcher.status("waiting", "lost again")["attempt"] > attempts[-1]
    up = watcher.status("connected", "it comes back once more")
    until(lambda: time.time() * 1000 > up["time"] + 1.5 * stable, "it has been up for longer")
    server.do("drop")
    assert watcher.status("waiting", "lost when stable")["attempt"] == 1


def test_reconnect_on_request_cuts_the_wait_short(server, imd):
    server.do("stop_listening")
    daemon = imd(server.url(), ReconnectMin="60min", ReconnectMax="60min")
    client = daemon.client()
    client.wait_status(lambda s: s["state"] == "waiting", "it waits")
    server.do("start_listening")
    assert client.call("reconnect")["state"] == "connecting"
    daemon.connected()


def test_reconnect_when_connected_makes_a_new_link(server, bridge):
    watcher = bridge.watcher()
    assert bridge.client().call("reconnect")["state"] in ("connecting", "waiting")
    watcher.status("connected", "it comes back")
    server.wait("accepted", min=2)
    server.wait("connections", max=1)


def test_starts_by_connecting(server, imd_of):
    daemon = imd_of(server.url()).start()
    server.wait("accepted", min=1)
    status = daemon.wait_state("connected")
    assert "attempt" not in status and "nextRetryMs" not in status and "lastError" not in status
    # A `connect` that finds it connected changes nothing.
    assert daemon.client().call("connect") == {"state": "connected"}
    assert server.stats()["accepted"] == 1
