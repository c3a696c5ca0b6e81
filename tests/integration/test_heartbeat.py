"""Pings: how often, how long they take, who sees them, and what happens when nothing comes back."""

import time

import msgpack

from patience import PATIENCE, SLOW


# Row: heartbeat interval
def test_interval(server, imd):
    daemon = imd(server.url(), PingGap="200ms", PingTimeout="30s").connected()
    server.wait("pings", min=6)
    server.wait("wsPings", min=6)
    pings = server.messages(type="PingMsg", pings=True)
    times = [ping["sentTime"] for ping in pings]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    # A late one may be followed by an early one, but on the whole it is one in 200 ms.
    mean = (times[-1] - times[0]) / len(gaps)
    assert 190 <= mean <= 200 + 300 * SLOW, gaps
    assert len({ping["messageId"] for ping in pings}) == len(pings)
    assert {(ping["messageType"], ping["from"], ping["messageDirection"]) for ping in pings} == {("PingMsg", "me", 1)}
    status = daemon.client().call("status")
    assert status["pingGapMs"] == 200
    stats = daemon.client().call("stats")
    assert stats["pingsSent"] >= 6 and stats["pongsReceived"] >= 1 and stats["reconnects"] == 0


# Row: heartbeat rtt
def test_rtt(server, imd, proxy_of):
    proxy = proxy_of(server.port)
    daemon = imd(f"ws://127.0.0.1:{proxy.port}/im", PingGap="200ms", PingTimeout="30s").connected()
    client = daemon.client()
    near = client.wait_status(lambda s: "rttMs" in s, "a round trip is known")["rttMs"]
    assert 0 < near < 150 * SLOW
    proxy.delay(0.06)
    far = client.wait_status(lambda s: s.get("rttMs", 0) >= 120, "the round trip has grown")["rttMs"]
    assert 120 <= far < 1000 * PATIENCE


def test_pings_are_nobodys_message(server, imd):
    daemon = imd(server.url(), PingGap="100ms").connected()
    subscriber = daemon.subscriber("MESSAGE", "SENT")
    pings = server.stats()["pings"]
    server.wait("pings", min=pings + 4)
    daemon.client().wait_stats(lambda s: s["pongsReceived"] >= 3, "echoes come")
    subscriber.nothing()


def test_foreign_pings_are_dropped_and_counted(server, bridge):
    subscriber = bridge.subscriber()
    ping = {"messageType": "PingMsg", "messageId": "11111111-2222-4333-8444-555555555555", "from": "ann"}
    server.push({"code": 0, "data": ping}, count=3)
    server.push({"code": 0, "data": {"messageType": "PingMsg"}})
    server.push_text("marker")
    assert subscriber.event("MESSAGE").params["data"]["content"]["message"] == "marker"
    assert bridge.client().call("stats")["foreignPings"] == 4


def test_a_pong_alone_keeps_the_link(server, imd):
    server.mode(ping="swallow")
    daemon = imd(server.url(), PingGap="100ms", PingTimeout="300ms").connected()
    server.wait("pings", min=12)
    assert server.stats()["accepted"] == 1
    assert daemon.client().call("stats")["reconnects"] == 0


# Row: half-open link (a proxy that swallows bytes)
def test_half_open_link(server, imd, proxy_of):
    proxy = proxy_of(server.port)
    daemon = imd(f"ws://127.0.0.1:{proxy.port}/im", PingGap="200ms", PingTimeout=f"{int(600 * SLOW)}ms").connected()
    watcher = daemon.watcher()
    server.mode(ack="swallow")
    waiting = daemon.client()
    number = waiting.send("never answered")
    server.wait_frames(1)
    began = time.monotonic()
    proxy.swallow()
    assert watcher.status(lambda s: s["state"] != "connected", "the dead link is found")["reason"] == "heartbeat"
    assert time.monotonic() - began < PATIENCE
    assert waiting.refusal(number).reason == "unknown"
    assert proxy.swallowed > 0
    # Tries through the dead proxy fail or hang, none is fatal; then the network is there again.
    proxy.swallow(False)
    daemon.client().call("reconnect")
    watcher.status("connected", "it comes back")


def test_server_that_reads_nothing(server, imd):
    daemon = imd(server.url(), PingGap="200ms", PingTimeout="500ms").connected()
    watcher = daemon.watcher()
    server.do("stop_reading")
    assert watcher.status(lambda s: s["state"] != "connected", "the dead link is found")["reason"] == "heartbeat"
    server.do("start_reading")
    watcher.status("connected", "it comes back")


def test_any_byte_is_a_sign_of_life(server, imd):
    """Neither echo nor pong, but messages: the link is not dead."""
    daemon = imd(server.url(), PingGap="200ms", PingTimeout=f"{int(1000 * SLOW)}ms").connected()
    watcher = daemon.watcher()
    server.do("stop_reading")
    end = time.monotonic() + 2.5 * SLOW
    while time.monotonic() < end:
        server.push_text("alive")
        time.sleep(0.05)
    watcher.nothing()
    status = watcher.call("status")
    assert status["state"] == "connected" and status["lastInboundMs"] < 1000 * SLOW
    # And when they stop, it is.
    assert watcher.status(lambda s: s["state"] != "connected", "the dead link is found")["reason"] == "heartbeat"
    server.do("start_reading")


def test_ping_frame_is_the_protocols(server, imd):
    imd(server.url(), PingGap="100ms").connected()
    server.wait("pings", min=1)
    ping = msgpack.unpackb(server.received(type="PingMsg")[0])
    assert set(ping) >= {"messageType", "messageId", "conversationType", "from", "to", "sentTime", "messageDirection"}
    assert (ping["conversationType"], ping["to"]) == (0, "server")
