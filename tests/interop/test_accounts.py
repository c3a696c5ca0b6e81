"""Two accounts, each with a daemon of its own, talk to each other through the server."""

import pytest


@pytest.fixture
def pair(server, imd):
    """(Ann's daemon, Bob's daemon)"""
    daemons = [imd(server.url(), account=user, UserId=user, PingGap="100ms") for user in ("ann", "bob")]
    return [daemon.connected() for daemon in daemons]


def talk(sender, receiver, text, **message):
    """Sent by one, acked to it, and a MESSAGE for the other only. Both are (daemon, subscriber)."""
    ack = sender[0].client().call("send", message={"content": {"message": text}, **message})
    event = receiver[1].event("MESSAGE").params
    assert event["code"] == 0
    # Each client gets a frame of its own, with the time at which that one was written.
    assert {**event["data"], "time": 0} == {**ack["data"], "time": 0}
    assert event["data"]["content"]["message"] == text
    sender[1].nothing()
    return ack["data"]


def test_they_talk(server, pair):
    ann, bob = [(daemon, daemon.subscriber()) for daemon in pair]
    for i in range(5):
        there = talk(ann, bob, f"你好 {i} 👋", conversationType=1, to="bob")
        back = talk(bob, ann, {"in reply to": there["messageId"]}, conversationType=1, to="ann")
        assert (there["from"], back["from"]) == ("ann", "bob")
        assert there["messageId"] != back["messageId"]
    sent = server.messages()
    assert len({message["messageId"] for message in sent}) == 10


def test_an_id_of_ones_own_is_what_the_other_sees(pair):
    ann, bob = [(daemon, daemon.subscriber()) for daemon in pair]
    assert talk(ann, bob, "with an id", messageId="from-ann-1")["messageId"] == "from-ann-1"
    # Bob gets his ack though he has seen that id as a MESSAGE; to Ann it is the second answer to hers.
    ack = bob[0].client().call("send", message={"messageId": "from-ann-1", "content": {}})
    assert ack["data"]["from"] == "bob"
    ann[0].client().wait_stats(lambda s: s["duplicateAcks"] == 1, "it is counted")
    for _, subscriber in (ann, bob):
        subscriber.nothing()


def test_both_send_at_once(pair):
    ann, bob = [(daemon, daemon.subscriber()) for daemon in pair]
    clients = [daemon.client() for daemon in pair]
    numbers = [[client.send(f"{i}") for i in range(50)] for client in clients]
    acked = [[client.result(number)["data"] for number in mine] for client, mine in zip(clients, numbers)]
    for (_, subscriber), others in ((ann, acked[1]), (bob, acked[0])):
        got = [event.params["data"]["messageId"] for event in subscriber.messages(50)]
        assert got == [data["messageId"] for data in others]
        subscriber.nothing()


def test_each_others_pings_are_dropped(server, pair):
    subscribers = [daemon.subscriber() for daemon in pair]
    for daemon in pair:
        daemon.client().wait_stats(lambda s: s["foreignPings"] >= 3, "the other's pings come")
    for subscriber in subscribers:
        subscriber.nothing()


def test_the_notice_that_the_other_has_left(pair):
    ann, bob = pair
    subscriber = ann.subscriber()
    bob.client().call("disconnect")
    params = subscriber.event("MESSAGE").params
    assert sorted(params) == ["code", "errMsg", "seq", "time"]
    assert (params["code"], params["errMsg"]) == (4, "close")
    bob.client().call("connect")
    bob.wait_state("connected")
    bob.stop()
    assert subscriber.event("MESSAGE").params["errMsg"] == "close"
    subscriber.nothing()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_both_come_back_after_a_restart(server, pair, end):
    watchers = [daemon.watcher() for daemon in pair]
    getattr(server, end)()
    for watcher in watchers:
        watcher.status(lambda s: s.get("reason") == "refused", "nobody listens")
    server.start()
    for watcher in watchers:
        watcher.status("connected", "it comes back")
    ann, bob = [(daemon, daemon.subscriber()) for daemon in pair]
    talk(ann, bob, "again")
    talk(bob, ann, "again")


def test_both_come_back_after_the_link_is_cut_or_closed(server, pair):
    watchers = [daemon.watcher() for daemon in pair]
    for how in ({"cmd": "drop"}, {"cmd": "close", "code": 1000}, {"cmd": "close", "code": 1011}):
        server.do(**how)
        for watcher in watchers:
            watcher.status("waiting", "the loss is told")
            watcher.status("connected", "it comes back")
    assert server.stats()["accepted"] == 8
