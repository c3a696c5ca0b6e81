"""Subscriptions: who gets what, from when on, until when, and in which bytes."""

import pytest


# Row: nothing before `subscribe`
def test_nothing_before_subscribe(server, bridge):
    silent, subscriber = bridge.client(), bridge.subscriber("MESSAGE", "STATUS", "SENT")
    silent.barrier()
    server.push_text("x")
    bridge.client().call("reconnect")
    subscriber.status("connected", "it comes back")
    sender = bridge.client()
    sender.result(sender.send("y"))
    assert subscriber.event("SENT")
    silent.nothing()
    sender.nothing()
    # And what was before is not delivered afterwards.
    silent.subscribe("MESSAGE", "STATUS", "SENT")
    silent.nothing()


def test_result_of_subscribe(server, bridge):
    client = bridge.client()
    result = client.subscribe()
    assert set(result) == {"seq", "status"}
    assert result["status"]["state"] == "connected"
    assert result["seq"] == client.call("status")["seq"]
    server.push_text("x")
    assert client.event("MESSAGE").params["seq"] == result["seq"] + 1


# Row: two subscribers get byte-identical lines
def test_byte_identical_lines(server, bridge):
    subscribers = [bridge.subscriber("MESSAGE", "STATUS", "SENT") for _ in range(3)]
    server.do("push_many", count=500, size=100)
    client = bridge.client()
    client.result(client.send("中文 😀"))
    for subscriber in subscribers:
        subscriber.lines = [subscriber.event().raw for _ in range(501)]
    server.do("drop")
    for subscriber in subscribers:
        while True:
            event = subscriber.event("STATUS")
            subscriber.lines.append(event.raw)
            if event.params["state"] == "connected":
                break
    assert subscribers[0].lines == subscribers[1].lines == subscribers[2].lines
    assert len(subscribers[0].lines) >= 503


def test_order_and_seq(server, bridge):
    subscriber = bridge.subscriber()
    seq = subscriber.call("status")["seq"]
    server.do("push_many", count=5000, size=50)
    events = subscriber.messages(5000)
    assert [e.params["data"]["n"] for e in events] == list(range(5000))
    assert [e.params["seq"] for e in events] == list(range(seq + 1, seq + 5001))
    stats = subscriber.call("stats")
    assert stats["events"] >= 5000 and stats["deliveries"] >= 5000 and stats["gaps"] == 0


def test_seq_grows_without_subscribers(server, bridge):
    client = bridge.client()
    seq = client.call("status")["seq"]
    server.do("push_many", count=10)
    client.wait_status(lambda s: s["seq"] == seq + 10, "ten events were logged")


def test_status_events(server, bridge):
    watcher = bridge.watcher()
    seq = watcher.call("status")["seq"]
    bridge.client().call("disconnect")
    event = watcher.event("STATUS")
    assert event.params["state"] == "disconnected" and event.params["reason"] == "requested"
    assert event.params["time"] > 1_600_000_000_000 and "seq" not in event.params
    assert event.raw.startswith(b'{"jsonrpc":"2.0","method":"STATUS","params":{"state":"disconnected",'
                                b'"reason":"requested"')
    bridge.client().call("connect")
    assert watcher.event("STATUS").params["state"] == "connecting"
    assert watcher.event("STATUS").params["state"] == "connected"
    assert watcher.call("status")["seq"] == seq


def test_default_is_message_and_status(server, bridge):
    subscriber = bridge.subscriber()
    client = bridge.client()
    client.result(client.send("x"))
    server.push_text("y")
    assert subscriber.event().method == "MESSAGE"
    client.call("disconnect")
    assert subscriber.event().method == "STATUS"
    subscriber.nothing()


@pytest.mark.parametrize("chosen", ["MESSAGE", "STATUS", "SENT"])
def test_only_the_events_that_were_asked_for(server, bridge, chosen):
    subscriber = bridge.subscriber(chosen)
    everything = bridge.subscriber("MESSAGE", "STATUS", "SENT")
    server.push_text("x")
    client = bridge.client()
    client.result(client.send("y"))
    client.call("disconnect")
    assert {everything.event().method for _ in range(3)} == {"MESSAGE", "STATUS", "SENT"}
    assert subscriber.event().method == chosen
    subscriber.nothing()


def test_unsubscribe(server, bridge):
    leaver, stayer = bridge.subscriber(), bridge.subscriber()
    server.push_text("one")
    assert leaver.event("MESSAGE") and stayer.event("MESSAGE")
    assert leaver.call("unsubscribe") == {}
    server.push_text("two")
    stayer.event("MESSAGE")
    leaver.nothing()
    # Again: from now on.
    leaver.subscribe()
    server.push_text("three")
    assert leaver.event("MESSAGE").params["data"]["content"]["message"] == "three"
    assert leaver.call("unsubscribe") == leaver.call("unsubscribe") == {}


def test_subscribing_again_replaces(server, bridge):
    client, other = bridge.subscriber(**{"from": ["ann"]}), bridge.subscriber()
    client.subscribe(**{"from": ["bob"]})
    for name in ("ann", "bob"):
        server.push_text("x", **{"from": name})
    assert len(other.messages(2)) == 2
    assert client.event("MESSAGE").params["data"]["from"] == "bob"
    client.nothing()
    client.subscribe("STATUS")
    server.push_text("x")
    other.event("MESSAGE")
    client.nothing()
    assert bridge.client().call("stats")["subscribers"] == 2


def test_replies_and_events_share_a_connection(server, bridge):
    """Replies go out between two lines, never inside one."""
    client = bridge.subscriber()
    server.do("push_many", count=3000, size=300)
    client.write(b"".join(client.request_line(f"n{i}", "stats") for i in range(20)))
    assert len(client.messages(3000)) == 3000
    for i in range(20):
        assert "result" in client.reply(f"n{i}")


def test_a_subscriber_that_leaves_in_the_middle(server, bridge):
    stayer = bridge.subscriber()
    leavers = [bridge.subscriber() for _ in range(20)]
    server.do("push_many", count=2000, size=500)
    for leaver in leavers:
        leaver.event("MESSAGE")
        leaver.close()
    assert len(stayer.messages(2000)) == 2000
    bridge.client().wait_stats(lambda s: s["subscribers"] == 1, "the leavers are forgotten")


def test_status_tells_subscribers_and_clients(bridge):
    client = bridge.client()
    before = client.call("status")
    bridge.subscriber(), bridge.subscriber()
    after = client.call("status")
    assert after["subscribers"] == before["subscribers"] + 2 and after["clients"] == before["clients"] + 2
    assert set(after) >= {"state", "url", "userId", "since", "pingGapMs", "pending", "subscribers", "clients", "seq",
                          "lastInboundMs"}
    assert after["userId"] == "me" and after["since"] > 1_600_000_000_000
