"""Consumers: named cursors that imd keeps. What was not acked comes again, and nothing else does."""

import json

import pytest

from patience import PATIENCE
from test_history import assert_covered, assert_same, begin, fed, gap, lines_until, range_of, seq_of, subscribed

MESSAGE = ["MESSAGE"]


def consumer(daemon, name="c", since=None, events=MESSAGE, **more):
    return subscribed(daemon, since, events, consumer=name, **more)


def conflict(client, method="subscribe", **params):
    refused = client.refused(method, params)
    assert (refused.code, refused.reason) == (-80, "conflict"), refused.error
    return refused


def leave(daemon, *clients):
    """The daemon knows that they have gone."""
    witness = daemon.client()
    before = witness.call("stats")["subscribers"]
    for client in clients:
        client.close()
    witness.wait_stats(lambda s: s["subscribers"] <= before - len(clients), "they are gone")
    witness.close()


def told(server, witness, count):
    """So many messages more: their lines."""
    server.do("push_many", count=count, size=50)
    return [e.raw for e in witness.messages(count)]


@pytest.fixture
def witness(bridge):
    return bridge.subscriber("MESSAGE")


def test_the_first_time_it_begins_now(server, bridge, witness):
    told(server, witness, 5)
    client = bridge.client()
    result = begin(client, None, MESSAGE, consumer="c")
    assert set(result) == {"seq", "status"} and result["seq"] == 5 and result["status"]["state"] == "connected"
    lines = told(server, witness, 3)
    assert_same([e.raw for e in client.messages(3)], lines)
    client.nothing()


@pytest.mark.parametrize("since, first", [(0, 1), (3, 4), (5, 6), ("earliest", 1)])
def test_the_first_time_with_since(server, bridge, witness, since, first):
    lines = told(server, witness, 5)
    client = consumer(bridge, since=since)
    lines += told(server, witness, 1)
    assert_same(lines_until(client, 6), lines[first - 1:])
    client.nothing()
    leave(bridge, client)
    # Nothing was acked: the same again, and since is only for the first time.
    client = consumer(bridge, since=6)
    assert_same(lines_until(client, 6), lines[first - 1:])
    client.nothing()


def test_comes_back_behind_what_it_acked(server, bridge, witness):
    lines = told(server, witness, 10)
    client = consumer(bridge, since=0)
    client.messages(10)
    assert client.call("ack", seq=4) == {}
    leave(bridge, client)
    lines += told(server, witness, 5)
    client = bridge.client()
    assert begin(client, None, MESSAGE, consumer="c")["seq"] == 4
    lines += told(server, witness, 5)
    assert_same(lines_until(client, 20), lines[4:])
    client.nothing()
    # What it acks is all up to there.
    assert client.call("ack", seq=20) == {}
    leave(bridge, client)
    client = consumer(bridge)
    client.nothing()
    lines = told(server, witness, 1)
    assert_same([client.event("MESSAGE").raw], lines)


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_over_restarts(server, imd, end):
    """An ack that was answered is on disk."""
    daemon = imd(server.url()).connected()
    acked, last, lines = 0, 0, []
    for round in range(4):
        client, witness = consumer(daemon, since=0), subscribed(daemon, last)
        lines += told(server, witness, 20)
        last = seq_of(lines[-1])
        got = lines_until(client, last)
        assert_same(got, [x for x in lines if seq_of(x) > acked])
        client.nothing()
        assert daemon.client().call("history", before=last + 1, limit=1)  # what was told is on disk
        acked = seq_of(lines[-7])
        assert client.call("ack", seq=acked) == {}
        getattr(daemon, end)()
        daemon.start().connected()
        seq = daemon.client().call("status")["seq"]
        if end == "crash":
            lines.append(gap(last + 1, seq, "crash"))
            last = seq
        assert seq == last
    assert_same(lines_until(consumer(daemon), last), [x for x in lines if seq_of(x) > acked])


def test_acked_in_the_middle_of_a_replay(server, imd):
    """It acks while it is fed, is cut off, and comes back."""
    daemon = imd(server.url(), RingSize="64K").connected()
    witness = daemon.subscriber("MESSAGE")
    lines = []
    for _ in range(5):
        lines += told(server, witness, 1000)
    at = 0
    while at < 5000:
        client = fed(daemon, 0, consumer="c")
        events = [client.event("MESSAGE") for _ in range(min(700, 5000 - at))]
        assert_same([e.raw for e in events], lines[at:at + len(events)])
        at += len(events)
        assert client.call("ack", seq=at) == {}
        leave(daemon, client)
    consumer(daemon).nothing()


def test_ack_never_moves_back(server, bridge, witness):
    told(server, witness, 10)
    client = consumer(bridge, since=0)
    for seq in (7, 3, 7, 0):
        assert client.call("ack", seq=seq) == {}
    leave(bridge, client)
    client = consumer(bridge, since=0)
    assert client.event("MESSAGE").params["seq"] == 8


def test_pipelined_acks(server, bridge, witness):
    told(server, witness, 500)
    client = consumer(bridge, since=0)
    client.messages(500)
    numbers = [client.request("ack", seq=seq) for seq in range(1, 500)]
    assert [client.result(number) for number in numbers] == [{}] * 499
    leave(bridge, client)
    client = consumer(bridge)
    assert client.event("MESSAGE").params["seq"] == 500
    client.nothing()


def test_ack_is_for_the_connections_consumer_only(server, bridge, witness):
    told(server, witness, 5)
    one, other = consumer(bridge, "one", since=0), consumer(bridge, "other", since=0)
    one.call("ack", seq=4), other.call("ack", seq=2)
    leave(bridge, one, other)
    assert consumer(bridge, "one").event("MESSAGE").params["seq"] == 5
    assert consumer(bridge, "other").event("MESSAGE").params["seq"] == 3


@pytest.mark.parametrize("params", [{}, {"seq": 6}, {"seq": 2 ** 64 - 1}, {"seq": -1}, {"seq": "3"},
                                    {"seq": 1.5}, {"seq": None}, {"seq": [3]}, {"seq": True}])
def test_wrong_ack(server, bridge, witness, params):
    told(server, witness, 5)
    client = consumer(bridge, since=2)
    refused = client.refused("ack", params)
    assert refused.code == -32602 and '"seq"' in refused.error["message"]
    leave(bridge, client)
    assert consumer(bridge).event("MESSAGE").params["seq"] == 3


def test_ack_without_a_consumer(server, bridge, witness):
    told(server, witness, 5)
    client = bridge.client()
    conflict(client, "ack", seq=1)
    client.subscribe()
    conflict(client, "ack", seq=1)
    begin(client, None, MESSAGE, consumer="c")
    assert client.call("ack", seq=1) == {}
    client.call("unsubscribe")
    conflict(client, "ack", seq=1)
    begin(client, None, MESSAGE, consumer="c")
    client.subscribe()
    conflict(client, "ack", seq=1)


def test_one_connection_for_each_name(server, bridge, witness):
    first, second = consumer(bridge), bridge.subscriber("MESSAGE")
    conflict(second, consumer="c")
    conflict(bridge.client(), consumer="c", since=0)
    # Who was refused is what it was before, and so is who has the name.
    lines = told(server, witness, 2)
    for client in (first, second):
        assert_same([e.raw for e in client.messages(2)], lines)
    conflict(second, "ack", seq=1)
    leave(bridge, first)
    assert begin(second, None, MESSAGE, consumer="c")["seq"] == 0
    assert_same([e.raw for e in second.messages(2)], lines)


@pytest.mark.parametrize("frees", [("unsubscribe", None), ("subscribe", None), ("subscribe", {"consumer": "other"})])
def test_the_name_is_free_again(server, bridge, witness, frees):
    first, second = consumer(bridge), bridge.client()
    conflict(second, consumer="c")
    first.call(*frees)
    begin(second, None, MESSAGE, consumer="c")
    conflict(first, consumer="c")
    lines = told(server, witness, 1)
    assert_same([second.event("MESSAGE").raw], lines)


def test_the_same_connection_again(server, bridge, witness):
    """It begins again behind what it acked."""
    lines = told(server, witness, 5)
    client = consumer(bridge, since=0)
    assert_same([e.raw for e in client.messages(5)], lines)
    client.call("ack", seq=2)
    assert begin(client, None, MESSAGE, consumer="c")["seq"] == 2
    assert_same([e.raw for e in client.messages(3)], lines[2:])
    client.nothing()


def test_with_a_filter(server, bridge):
    """An ack is for all numbers up to it, whoever they were told."""
    for n in range(10):
        server.push_text(n, **{"from": "ann" if n % 2 else "bob"})
    bridge.client().wait_status(lambda s: s["seq"] == 10, "all are there")
    client = consumer(bridge, since=0, filter={"from": ["ann"]})
    assert [e.params["seq"] for e in client.messages(5)] == [2, 4, 6, 8, 10]
    client.call("ack", seq=4)
    leave(bridge, client)
    assert [e.params["seq"] for e in consumer(bridge, filter={"from": ["bob"]}).messages(3)] == [5, 7, 9]


def test_with_sent(server, bridge):
    client, sender = consumer(bridge, events=["SENT"]), bridge.client()
    sender.result(sender.send("one"))
    event = client.event("SENT")
    client.call("ack", seq=event.params["seq"])
    leave(bridge, client)
    sender.result(sender.send("two"))
    client = consumer(bridge, events=["SENT"])
    assert client.event("SENT").params["data"]["content"]["message"] == "two"
    client.nothing()


@pytest.mark.parametrize("name", ["x" * 128, "ü" * 64, "a", " ", "消费者 😀", "\"\\\n", "';DROP TABLE consumer;--",
                                  "\u007f"])
def test_names(server, bridge, witness, name):
    told(server, witness, 3)
    client = consumer(bridge, name, since=0)
    client.call("ack", seq=2)
    conflict(bridge.client(), consumer=name)
    leave(bridge, client)
    for other in (name + "y" if len(name.encode()) < 128 else name[:-1], "other"):
        consumer(bridge, other).nothing()
    assert consumer(bridge, name).event("MESSAGE").params["seq"] == 3


@pytest.mark.parametrize("name", ["", "x" * 129, "ü" * 64 + "x", "a\0b", "\0", 5, None, ["c"], {}, True])
def test_wrong_names(bridge, name):
    refused = bridge.client().refused("subscribe", consumer=name)
    assert refused.code == -32602 and '"consumer"' in refused.error["message"]


def test_wrong_params_make_no_consumer(server, bridge, witness):
    told(server, witness, 3)
    client = bridge.client()
    assert client.refused("subscribe", consumer="c", since=99).code == -32602
    assert client.refused("subscribe", consumer="c", events=[]).code == -32602
    assert client.refused("subscribe", consumer="c", filter={"x": []}).code == -32602
    conflict(client, "ack", seq=1)
    lines = told(server, witness, 1)
    assert begin(client, 3, MESSAGE, consumer="c")["seq"] == 3
    assert_same([client.event("MESSAGE").raw], lines)


@pytest.mark.limit(180)
def test_a_thousand(server, imd):
    """Each comes back where it was."""
    daemon = imd(server.url()).connected()
    witness = daemon.subscriber("MESSAGE")
    told(server, witness, 1000)
    clients = [daemon.client() for _ in range(50)]
    for base in range(0, 1000, 50):
        numbers = [c.request("subscribe", events=MESSAGE, consumer=f"c{base + i}", since=999)
                   for i, c in enumerate(clients)]
        for client, number in zip(clients, numbers):
            assert client.result(number)["seq"] == 999
        numbers = [c.request("ack", seq=base + i) for i, c in enumerate(clients)]
        # Since is above: it was moved neither back to that nor forward.
        for client, number in zip(clients, numbers):
            assert client.result(number) == {}
            client.events_waiting.clear()
    for client in clients:
        client.call("unsubscribe")
    for base in range(0, 1000, 50):
        numbers = [c.request("subscribe", events=["STATUS"], consumer=f"d{base + i}", since=base + i)
                   for i, c in enumerate(clients)]
        for client, number in zip(clients, numbers):
            assert client.result(number)["seq"] == base + clients.index(client)
    daemon.stop()
    daemon.start().connected()
    clients = [daemon.client() for _ in range(50)]
    for base in range(0, 1000, 50):
        for name, at in (("c", lambda i: 999), ("d", lambda i: base + i)):
            numbers = [c.request("subscribe", events=["STATUS"], consumer=f"{name}{base + i}")
                       for i, c in enumerate(clients)]
            assert [c.result(number)["seq"] for c, number in zip(clients, numbers)] == [at(i) for i in range(50)]


def test_without_history(server, imd):
    """It keeps its place, but what it missed cannot be had; the ring's events can."""
    daemon = imd(server.url(), History="no").connected()
    witness = daemon.subscriber("MESSAGE")
    lines = told(server, witness, 5)
    client = consumer(daemon, since=0)
    assert_same([e.raw for e in client.messages(5)], lines)
    client.call("ack", seq=2)
    leave(daemon, client)
    client = consumer(daemon)
    assert_same([e.raw for e in client.messages(3)], lines[2:])
    client.nothing()
    daemon.stop()
    daemon.start().connected()
    client, witness = consumer(daemon), daemon.subscriber("MESSAGE")
    assert client.event().raw == gap(3, 5, "no_history")
    lines = told(server, witness, 2)
    assert_same([e.raw for e in client.messages(2)], lines)
    client.call("ack", seq=7)
    leave(daemon, client)
    consumer(daemon).nothing()


def test_what_was_pruned_is_told(server, imd):
    daemon = imd(server.url(), HistoryMaxSize="1M", RingSize="64K").connected()
    client = consumer(daemon, since=0)
    server.push_text("x")
    client.event("MESSAGE")
    client.call("ack", seq=1)
    leave(daemon, client)
    other = daemon.client()
    server.do("push_many", count=8000, size=400)
    other.wait_status(lambda s: s["seq"] == 8001, "all are there", 2 * PATIENCE)
    other.wait_stats(lambda s: s["pruned"] > 1000, "the oldest are gone")
    client = consumer(daemon)
    lines = lines_until(client, 8001)
    assert_covered(lines, 2, 8001)
    assert range_of(lines[0])[0] == 2 and seq_of(lines[0]) >= 1000
    assert all(x == gap(*range_of(x), "pruned") for x in lines if b'"GAP"' in x)
    # A GAP can be acked as any number.
    assert client.call("ack", seq=8001) == {}
    leave(daemon, client)
    consumer(daemon).nothing()


def test_a_consumer_that_leaves_before_it_is_answered(server, bridge, witness):
    """Its name does not stay taken."""
    told(server, witness, 3)
    for _ in range(20):
        client = bridge.client()
        client.request("subscribe", events=MESSAGE, consumer="c", since=0)
        client.close()
    bridge.client().wait_stats(lambda s: s["subscribers"] == 1 and s["clients"] <= 3, "they are gone")
    assert consumer(bridge, since=0).event("MESSAGE").params["seq"] == 1


def test_requests_behind_a_subscribe_that_waits_for_the_disk(server, bridge, witness):
    """Written at once: each is answered, and the connection is the consumer in the end."""
    told(server, witness, 3)
    client = bridge.client()
    params = {"events": MESSAGE, "consumer": "c", "since": 0}
    client.write(client.request_line(100, "subscribe", params) + client.request_line(101, "hello")
                 + client.request_line(102, "status"))
    assert client.result(100)["seq"] == 0
    assert client.result(101)["daemon"] == "imd" and client.result(102)["seq"] == 3
    assert [e.params["seq"] for e in client.messages(3)] == [1, 2, 3]
    assert client.call("ack", seq=3) == {}


def test_an_ack_that_nobody_waits_for(server, bridge, witness):
    """As a notification, and right before leaving."""
    told(server, witness, 5)
    client = consumer(bridge, since=0)
    client.notify("ack", {"seq": 4})
    leave(bridge, client)
    client = consumer(bridge)
    assert json.loads(client.event("MESSAGE").raw)["params"]["seq"] == 5
