"""SIGTERM ends it in order, SIGHUP reloads what can be reloaded."""

import os
import signal
import time

import pytest

from client import Client, Closed
from patience import PATIENCE, until


def refuses_clients(daemon):
    try:
        Client(daemon.socket_path).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


# SIGTERM

def test_sigterm_closes_with_1001(server, bridge):
    subscriber = bridge.subscriber()
    bridge.terminate()
    assert bridge.process.wait() == 0
    subscriber.wait_closed()
    server.wait("connections", max=0)
    assert server.stats()["lastCloseCode"] == 1001
    assert not os.path.exists(bridge.socket_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end_without_a_link(server, imd, number):
    server.do("stop_listening")
    daemon = imd(server.url())
    daemon.process.signal(number)
    assert daemon.process.wait() == 0


def test_sigterm_waits_for_acks_and_then_says_unknown(server, bridge):
    server.mode(ack="swallow")
    client = bridge.client()
    number = client.request("send", message={"messageId": "late", "content": {"message": "x"}})
    server.wait_frames(1)
    began = time.monotonic()
    bridge.terminate()
    until(lambda: refuses_clients(bridge), "no new clients are taken")
    assert bridge.process.running()
    refused = client.refusal(number)
    assert refused.code == -124 and refused.data == {"reason": "unknown", "messageId": "late"}
    assert time.monotonic() - began > 4, "5 s for acks"
    assert bridge.process.wait() == 0
    assert server.stats()["lastCloseCode"] == 1001


def test_sigterm_an_ack_in_time_is_delivered(server, bridge):
    server.mode(ack="delay", delayMs=700)
    client = bridge.client()
    number = client.send("x")
    server.wait_frames(1)
    bridge.terminate()
    assert client.result(number)["code"] == 0
    assert bridge.process.wait(PATIENCE) == 0


def test_sigterm_no_send_is_taken_while_it_ends(server, bridge):
    server.mode(ack="swallow")
    client = bridge.client()
    client.send("x")
    server.wait_frames(1)
    bridge.terminate()
    until(lambda: refuses_clients(bridge), "it is ending")
    try:
        assert client.refused("send", message={"content": {"message": "y"}}).reason in ("not_connected", "busy")
    except Closed:
        pass
    assert len(server.received()) == 1
    server.push({"code": 0, "data": {"messageId": server.messages()[0]["messageId"]}})
    assert bridge.process.wait() == 0


def test_sigterm_when_the_server_does_not_answer_the_close(server, bridge):
    server.do("stop_reading")
    bridge.terminate()
    assert bridge.process.wait() == 0


def test_sigterm_with_a_stalled_subscriber(server, bridge):
    stalled, reader = bridge.subscriber(), bridge.subscriber()
    server.do("push_many", count=3000, size=500)
    reader.messages(3000)
    bridge.terminate()
    assert bridge.process.wait() == 0
    assert stalled.wait_closed()


def test_sigpipe_and_others_do_not_end_it(server, bridge):
    bridge.process.signal(signal.SIGPIPE)
    bridge.client().barrier()
    server.push_text("x")
    assert bridge.process.running()


# SIGHUP

def reload(daemon, url, **keys):
    daemon.configure(url, **keys)
    daemon.process.signal(signal.SIGHUP)


def test_sighup_changes_ping_gap(server, imd):
    daemon = imd(server.url(), PingGap="60min").connected()
    client = daemon.client()
    assert client.call("status")["pingGapMs"] == 3600000
    pings = server.stats()["pings"]
    reload(daemon, server.url(), PingGap="100ms")
    client.wait_status(lambda s: s["pingGapMs"] == 100, "the new PingGap")
    server.wait("pings", min=pings + 3)
    assert server.stats()["accepted"] == 1, "the link stays"


def test_sighup_says_what_it_cannot(server, imd):
    daemon = imd(server.url(), RingSize="1M").connected()
    reload(daemon, server.url(), RingSize="2M", PingGap="3s")
    daemon.wait_log(r"RingSize")
    daemon.client().wait_status(lambda s: s["pingGapMs"] == 3000, "the rest is done")


def test_sighup_with_a_bad_file_changes_nothing(server, imd):
    daemon = imd(server.url(), PingGap="7s").connected()
    with open(daemon.config_path, "a") as f:
        f.write("Nonsense = 1\n")
    daemon.process.signal(signal.SIGHUP)
    daemon.wait_log(daemon.config_path + r":\d+: ")
    status = daemon.client().call("status")
    assert status["pingGapMs"] == 7000 and status["state"] == "connected"
    reload(daemon, server.url(), PingGap="8s")
    daemon.client().wait_status(lambda s: s["pingGapMs"] == 8000, "a good file again")


def test_sighup_new_headers_from_the_next_attempt_on(server, imd):
    daemon = imd(server.url(), Header="X-Token: one").connected()
    watcher = daemon.watcher()
    reload(daemon, server.url(), Header="X-Token: two", PingGap="9s")
    watcher.wait_status(lambda s: s["pingGapMs"] == 9000, "it is reloaded")
    server.do("drop")
    watcher.status("connected", "it comes back")
    assert server.headers()["x-token"] == "two"


def test_sighup_new_url(im_server, imd):
    """In `status` at once; the link moves to the other server with the next attempt at the latest."""
    one, two = im_server(), im_server()
    daemon = imd(one.url()).connected()
    reload(daemon, two.url())
    client = daemon.client()
    client.wait_status(lambda s: s["url"] == two.url(), "the new Url")
    client.call("reconnect")
    two.wait("accepted", min=1)
    one.wait("connections", max=0)


def test_sighup_limits(server, imd):
    daemon = imd(server.url(), StallTimeout="60min").connected()
    stalled, reader = daemon.subscriber(), daemon.subscriber()
    server.do("push_many", count=3000, size=500)
    reader.messages(3000)
    reload(daemon, server.url(), StallTimeout="200ms")
    daemon.client().wait_stats(lambda s: s["subscribers"] == 1, "the stalled one is disconnected")
    stalled.wait_closed()
