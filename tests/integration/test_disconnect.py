"""No reconnect when somebody here, or the server by an agreed word, wanted the end; until `connect`."""

import pytest


def stays_away(server, daemon, reason, connections):
    """Disconnected for that reason; nothing is scheduled, nothing comes; `connect` brings it back."""
    client = daemon.client()
    status = client.wait_status(lambda s: s["state"] == "disconnected", "state disconnected")
    assert status["reason"] == reason
    assert "nextRetryMs" not in status
    server.wait("connections", max=0)
    server.stays("tcp", connections)
    assert client.call("status")["state"] == "disconnected"
    assert client.call("connect")["state"] == "connecting"
    daemon.connected()


# Row: no reconnect after disconnect
def test_after_disconnect(server, imd):
    daemon = imd(server.url(), ReconnectMin="10ms", ReconnectMax="20ms").connected()
    assert daemon.client().call("disconnect") == {"state": "disconnected"}
    stays_away(server, daemon, "requested", 1)


def test_disconnect_is_a_clean_close(server, bridge):
    bridge.client().call("disconnect")
    server.wait("connections", max=0)
    assert server.stats()["lastCloseCode"] == 1000


def test_disconnect_ends_the_wait_for_the_next_try(server, imd):
    server.do("stop_listening")
    daemon = imd(server.url(), ReconnectMin="10ms", ReconnectMax="20ms")
    daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 2, "it tries")
    daemon.client().call("disconnect")
    server.do("start_listening")
    stays_away(server, daemon, "requested", 0)


def test_disconnect_twice_is_fine(bridge):
    client = bridge.client()
    assert client.call("disconnect") == client.call("disconnect") == {"state": "disconnected"}


# Row: no reconnect after a signal
def test_after_a_signal_of_the_list(server, imd):
    daemon = imd(server.url(), ReconnectMin="10ms", ReconnectMax="20ms",
                 DisconnectSignals="kicked logout").connected()
    subscriber = daemon.subscriber("MESSAGE", "STATUS")
    signal = {"messageType": "SignalMsg", "signalName": "logout", "from": "server", "content": {"message": "bye"}}
    server.push({"code": 0, "data": {**signal, "signalName": "other"}})
    assert subscriber.event("MESSAGE").params["data"]["signalName"] == "other"
    # What is no SignalMsg is no signal.
    server.push({"code": 0, "data": {**signal, "messageType": "TxtMsg"}})
    assert subscriber.event("MESSAGE").params["data"]["messageType"] == "TxtMsg"
    server.push({"code": 0, "data": signal})
    # First the message, then the end.
    assert subscriber.event("MESSAGE").params["data"] == signal
    assert subscriber.event("STATUS").params["reason"] == "server_signal"
    stays_away(server, daemon, "server_signal", 1)


# Row: no reconnect after a close code
@pytest.mark.parametrize("code", [4001, 4005, 1000])
def test_after_a_close_code_of_the_list(server, imd, code):
    daemon = imd(server.url(), ReconnectMin="10ms", ReconnectMax="20ms",
                 NoReconnectCodes="4001 4005 1000").connected()
    watcher = daemon.watcher()
    # Another code: it comes back.
    server.do("close", code=4002)
    watcher.status("connected", "it comes back after 4002")
    server.do("close", code=code)
    stays_away(server, daemon, "close_code", 2)


def test_reconnect_also_brings_it_back(server, bridge):
    client = bridge.client()
    client.call("disconnect")
    assert client.call("reconnect")["state"] == "connecting"
    bridge.connected()
