"""Large messages, both ways, up to the limit and beyond it."""

from patience import PATIENCE

MIB = 1 << 20


# Row: 5 MB message in 7 fragments
def test_5_mb_in_7_fragments(server, bridge):
    subscribers = [bridge.subscriber() for _ in range(3)]
    server.do("push_big", size=5 * MIB, fragments=7)
    server.push_text("small")
    lines = []
    for subscriber in subscribers:
        event = subscriber.event("MESSAGE")
        assert event.params["data"]["content"]["message"] == "x" * (5 * MIB)
        assert subscriber.event("MESSAGE").params["data"]["content"]["message"] == "small"
        lines.append(event.raw)
    assert lines[0] == lines[1] == lines[2]
    assert server.stats()["accepted"] == 1


# Row: 65 MB refused
def test_65_mb_is_refused_with_1009(server, bridge):
    subscriber = bridge.subscriber("MESSAGE", "STATUS")
    server.do("push_big", size=65 * MIB, fragments=65)
    lost = subscriber.status(lambda s: s["state"] != "connected", "the link is closed")
    assert lost["reason"] == "too_large"
    subscriber.status("connected", "it comes back")
    server.wait("accepted", min=2)
    assert server.stats()["lastCloseCode"] == 1009
    server.push_text("after")
    assert subscriber.event("MESSAGE").params["data"]["content"]["message"] == "after"


def test_just_below_and_just_above_a_configured_limit(server, imd):
    daemon = imd(server.url(), MaxMessage="1M").connected()
    subscriber = daemon.subscriber("MESSAGE", "STATUS")
    envelope = server.do("push_big", size=0)["bytes"]
    subscriber.event("MESSAGE")
    # A string of more than 64 KiB has a header of 5 bytes instead of 1.
    fits = MIB - envelope - 4
    assert server.do("push_big", size=fits, fragments=3)["bytes"] == MIB
    assert len(subscriber.event("MESSAGE").params["data"]["content"]["message"]) == fits
    server.do("push_big", size=fits + 1, fragments=3)
    assert subscriber.event("STATUS").params["reason"] == "too_large"
    server.wait("accepted", min=2)
    assert server.stats()["lastCloseCode"] == 1009


def test_60_mb_passes(server, bridge):
    subscriber = bridge.subscriber("MESSAGE", "STATUS")
    server.do("push_big", size=60 * MIB, fragments=8)
    event = subscriber.event("MESSAGE", 3 * PATIENCE)
    assert len(event.params["data"]["content"]["message"]) == 60 * MIB
    assert server.stats()["accepted"] == 1


def test_large_send(server, imd):
    daemon = imd(server.url(), MaxLine="8M").connected()
    client = daemon.client()
    text = "ä" * (3 * MIB)
    assert client.result(client.send(text))["data"]["content"]["message"] == text
    assert server.messages()[0]["content"]["message"] == text


def test_many_large_sends_do_not_grow_without_bound(server, imd):
    """More than the send queue holds: requests wait in the socket, all arrive, in order."""
    daemon = imd(server.url(), MaxLine="2M").connected()
    client = daemon.client()
    server.do("record", on=False)
    server.mode(ack="reject", code=1)  # a short answer
    text = "y" * MIB
    numbers = [client.send(text) for _ in range(40)]
    for number in numbers:
        assert client.refusal(number).reason == "rejected"
    assert server.stats()["frames"] - server.stats()["pings"] == 40
