"""What was, told again as it was: by `history`, and by `subscribe` with `since`."""

import json
import socket
import sqlite3
import time

import pytest

from patience import PATIENCE, until
from test_filter import CASES, MESSAGES

LOGGED = ["MESSAGE", "SENT"]
UNSPEAKABLE = "\x01" * 400_000  # as JSON more than 2 x MaxMessage=1M: it cannot be told, and is announced as lost


def subscribed(daemon, since=None, events=LOGGED, **more):
    client = daemon.client()
    begin(client, since, events, **more)
    return client


def begin(client, since=None, events=LOGGED, **more):
    return client.call("subscribe", {"events": events, **({} if since is None else {"since": since}), **more})


def range_of(raw):
    """The numbers that a line covers: one, or those of a GAP."""
    params = json.loads(raw)["params"]
    return (params["seq"], params["seq"]) if "seq" in params else (params["from"], params["to"])


def seq_of(raw):
    return range_of(raw)[1]


def assert_covered(lines, first, last):
    """Each number once and in order: told, or announced as missing."""
    at = first
    for raw in lines:
        low, high = range_of(raw)
        assert low == at and high >= low, f"{raw[:200]!r} follows {at - 1}"
        at = high + 1
    assert at == last + 1


def lines_until(client, last):
    """Raw lines up to the one that covers `last`."""
    lines = []
    while not lines or seq_of(lines[-1]) < last:
        lines.append(client.event().raw)
    return lines


def assert_same(got, expected):
    """Without pages of difference."""
    if got == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
    part, instead = (str(x[max(0, at - 50):at + 200])[:600] for x in (got, expected))
    pytest.fail(f"they part at {at} of {len(got)} and {len(expected)}: {part} instead of {instead}")


def expect(client, lines, more=False, **params):
    """The answer to `history`, in its bytes. The client must not be subscribed."""
    number = client.request("history", params)
    body = b",".join(line[:-1] for line in lines)
    assert_same(client.line(), b'{"jsonrpc":"2.0","id":%d,"result":{"events":[%s],"more":%s}}\n'
                % (number, body, b"true" if more else b"false"))


def gap(low, high, reason):
    return b'{"jsonrpc":"2.0","method":"GAP","params":{"from":%d,"to":%d,"reason":"%s"}}\n' % (low, high,
                                                                                           reason.encode())


def past(ms):
    """A later event has a later time."""
    until(lambda: time.time() * 1000 > ms + 1, "the clock moves on")


class Told:
    """A daemon with some events of each kind, and the lines that a subscriber saw."""

    def __init__(self, server, daemon):
        self.daemon = daemon
        self.first = daemon.client().call("status")["seq"] + 1
        subscriber = daemon.subscriber(*LOGGED)
        sender = daemon.client()
        for number, message in enumerate(MESSAGES):
            server.push({"code": 0, "data": {**message, "n": number}})
        sender.call("send", message={"from": "ann", "content": {"message": "mine"}})
        server.push_text(UNSPEAKABLE)
        subscriber.barrier()
        self.lines = lines_until(subscriber, self.first + len(MESSAGES) + 1)
        past(json.loads(self.lines[0])["params"]["time"])
        server.mode(ack="reject", code=4)
        sender.refused("send", message={"conversationType": 1, "to": "me", "content": {"message": "no"}})
        server.push_text("中文 \"\\ \u2028 😀")
        self.last = self.first + len(MESSAGES) + 3
        self.lines += lines_until(subscriber, self.last)
        server.mode(ack="echo")
        subscriber.close()


@pytest.fixture
def told(server, imd):
    return Told(server, imd(server.url(), MaxMessage="1M").connected())


# ---- history ----

def test_lines_are_those_that_subscribers_got(told):
    methods = [json.loads(line)["method"] for line in told.lines]
    assert methods == ["MESSAGE"] * 9 + ["SENT", "GAP", "SENT", "MESSAGE"]
    lost = told.first + 10
    assert told.lines[10] == gap(lost, lost, "too_large")
    assert_covered(told.lines, told.first, told.last)
    client = told.daemon.client()
    expect(client, told.lines)
    assert client.call("status")["storage"] == "ok"


def test_after_and_before(told):
    client = told.daemon.client()
    low, high = told.first - 1, told.last + 1
    for after in range(low, high + 1):
        expect(client, [x for x in told.lines if seq_of(x) > after], after=after)
        expect(client, [x for x in told.lines if seq_of(x) < after], before=after)
    for after in range(low, high + 1, 2):
        for before in range(low, high + 1, 3):
            expect(client, [x for x in told.lines if after < seq_of(x) < before], after=after, before=before)
    expect(client, [], after=2 ** 62)
    expect(client, [], before=0)
    expect(client, told.lines, after=0, before=2 ** 62)


def test_since_and_until(told):
    """Both ends are included. A GAP has no time in its line, but one of its own, between its neighbours'."""
    client = told.daemon.client()
    lost = told.lines[10]
    others = [x for x in told.lines if x != lost]
    times = {x: json.loads(x)["params"]["time"] for x in others}
    assert len(set(times.values())) >= 2
    moments = sorted({t + d for t in times.values() for d in (-1, 0, 1)})
    for since in moments:
        for end in moments:
            events = client.call("history", since=since, until=end)["events"]
            got = [e["params"]["seq"] for e in events if e["method"] != "GAP"]
            assert got == [seq_of(x) for x in others if since <= times[x] <= end]
            if since <= times[others[9]] and times[others[10]] <= end:
                assert json.loads(lost) in events
    expect(client, [], until=0)
    expect(client, [], since=moments[-1])
    expect(client, told.lines, since=moments[0], until=moments[-1])
    expect(client, told.lines[::-1], since=-5, until=2 ** 62, reverse=True)


@pytest.mark.parametrize("restarted", [False, True])
def test_filters(server, told, restarted):
    """Each lets the same lines through, whoever is asked: history, ring or disk; and every GAP."""
    if restarted:
        told.daemon.stop()
        told.daemon.start().connected()
    client = told.daemon.client()
    lost = told.lines[10]
    for filters, expected in CASES:
        events = client.call("history", filter=filters)["events"]
        lines = [x for x in told.lines if json.loads(x) in events]
        assert len(lines) == len(events) and lost in lines
        expect(client, lines, filter=filters)
        expect(client, lines[::-1], filter=filters, reverse=True)
        subscriber = subscribed(told.daemon, told.first - 1, filter=filters)
        assert_same([subscriber.event().raw for _ in lines], lines)
        subscriber.nothing()
        subscriber.close()
        got = [e["params"]["data"]["n"] for e in events if e["method"] == "MESSAGE" and "n" in e["params"]["data"]]
        assert got == list(expected) if expected is not None else 0 in got, filters
    expect(client, [lost], filter={"from": ["nobody"]})
    expect(client, [told.lines[3], lost], filter={"to": ["group"]}, limit=5)
    expect(client, [told.lines[3]], True, filter={"to": ["group"]}, limit=1)


def test_filters_are_those_of_live_subscribers(server, imd):
    daemon = imd(server.url()).connected()
    subscribers = [daemon.subscriber("MESSAGE", **filters) for filters, _ in CASES]
    for number, message in enumerate(MESSAGES):
        server.push({"code": 0, "data": {**message, "n": number}})
    client = daemon.client()
    client.wait_status(lambda s: s["seq"] == len(MESSAGES), "all are there")
    for subscriber, (filters, _) in zip(subscribers, CASES):
        subscriber.barrier()
        expect(client, [event.raw for event in subscriber.events_waiting], filter=filters)


def test_limit_and_reverse(told):
    client = told.daemon.client()
    count = len(told.lines)
    for limit in range(1, count + 2):
        expect(client, told.lines[:limit], limit < count, limit=limit)
        expect(client, told.lines[::-1][:limit], limit < count, limit=limit, reverse=True)
    expect(client, told.lines[5:8], True, after=seq_of(told.lines[4]), limit=3, reverse=False)
    expect(client, told.lines[7:4:-1], True, before=seq_of(told.lines[8]), limit=3, reverse=True)


def test_default_limit(server, bridge):
    subscriber = bridge.subscriber("MESSAGE")
    server.do("push_many", count=101)
    lines = [event.raw for event in subscriber.messages(101)]
    client = bridge.client()
    expect(client, lines[:100], True)
    expect(client, lines[:0:-1], True, reverse=True)
    expect(client, lines[1:], False, after=1)


def pages(client, **params):
    """All pages, oldest first."""
    after = params.pop("after", 0)
    while True:
        result = client.call("history", after=after, **params)
        yield result["events"]
        if not result["more"]:
            return
        assert result["events"], "there is said to be more, but nothing came to go on from"
        after = range_of(json.dumps(result["events"][-1]))[1]


@pytest.mark.parametrize("size, limit", [(30, 7), (100, 1000), (3000, 10000)])
def test_paging_through_all(server, bridge, size, limit):
    """Where limit is not what ends a page, its bytes are (1 MiB)."""
    client = bridge.client()
    server.do("push_many", count=1500, size=size)
    client.wait_status(lambda s: s["seq"] == 1500, "all are there")
    forwards = [[e["params"]["data"]["n"] for e in page] for page in pages(client, limit=limit)]
    assert all(len(page) <= limit for page in forwards)
    assert sum(forwards, []) == list(range(1500))
    if size * 1500 > 2 << 20:
        assert len(forwards) >= 3
    backwards, before = [], 2 ** 60
    while True:
        result = client.call("history", before=before, limit=limit, reverse=True)
        backwards += [e["params"]["seq"] for e in result["events"]]
        if not result["more"]:
            break
        before = backwards[-1]
    assert backwards == list(range(1500, 0, -1))


def test_pages_with_a_filter_that_is_rare(server, bridge):
    """Much must be looked at for little."""
    client = bridge.client()
    for n in range(5):
        server.push_text(n, **{"from": "rare"})
        server.do("push_many", count=4000, size=200)
    client.wait_status(lambda s: s["seq"] == 5 * 4001, "all are there")
    got = [e["params"]["data"]["content"]["message"] for page in pages(client, limit=2, filter={"from": ["rare"]})
           for e in page]
    assert got == list(range(5))
    result = client.call("history", limit=3, reverse=True, filter={"from": ["rare"]})
    assert [e["params"]["data"]["content"]["message"] for e in result["events"]] == [4, 3, 2] and result["more"]
    assert client.call("history", filter={"from": ["nobody"]}) == {"events": [], "more": False}


def test_empty(server, imd):
    client = imd(server.url()).connected().client()
    expect(client, [])
    expect(client, [], reverse=True)
    expect(client, [], after=0, before=1, since=0, until=2 ** 60, limit=10000, filter={"from": ["x"]})


@pytest.mark.parametrize("params, key", [
    ({"after": -1}, "after"), ({"after": "1"}, "after"), ({"after": 1.5}, "after"), ({"after": None}, "after"),
    ({"before": -1}, "before"), ({"before": []}, "before"), ({"before": 2 ** 63}, "before"),
    ({"since": "2024"}, "since"), ({"since": 1.5}, "since"), ({"until": True}, "until"), ({"until": {}}, "until"),
    ({"limit": 0}, "limit"), ({"limit": 10001}, "limit"), ({"limit": "5"}, "limit"), ({"limit": -1}, "limit"),
    ({"reverse": 1}, "reverse"), ({"reverse": "yes"}, "reverse"),
    ({"filter": []}, "filter"), ({"filter": {"sender": ["x"]}}, "sender"), ({"filter": {"from": "x"}}, "from"),
    ({"filter": {"conversationType": ["1"]}}, "conversationType"), ({"from": ["x"]}, "from"), ({"Limit": 5}, "Limit")])
def test_wrong_params(bridge, params, key):
    client = bridge.client()
    refused = client.refused("history", params)
    assert (refused.code, refused.reason) == (-32602, "invalid_params")
    assert key in refused.error["message"], refused.error
    expect(client, [])


def test_no_history(server, imd):
    """What was kept before it was switched off stays; nothing is added."""
    daemon = imd(server.url()).connected()
    subscriber = daemon.subscriber(*LOGGED)
    server.do("push_many", count=10)
    lines = [event.raw for event in subscriber.messages(10)]
    daemon.stop()
    daemon.configure(server.url(), History="no")
    daemon.start().connected()
    server.do("push_many", count=10)
    client = daemon.client()
    client.wait_status(lambda s: s["seq"] == 20, "the numbers go on")
    expect(client, lines)
    assert client.call("status")["storage"] == "ok"


def test_restart(told, server):
    """The numbers go on where they were."""
    daemon, lines, last = told.daemon, told.lines, told.last
    for round in range(3):
        daemon.stop()
        daemon.start().connected()
        client = daemon.client()
        assert client.call("status")["seq"] == last
        expect(client, lines)
        subscriber = subscribed(daemon, last)
        server.push_text(f"round {round}")
        last += 1
        lines = lines + [subscriber.event("MESSAGE").raw]
        assert range_of(lines[-1]) == (last, last)
        expect(client, lines)


def test_restarts_with_nothing_between(server, imd):
    daemon = imd(server.url()).connected()
    server.push_text("one")
    daemon.client().wait_status(lambda s: s["seq"] == 1, "it came")
    for _ in range(3):
        daemon.stop()
        daemon.start()
    assert daemon.connected().client().call("status")["seq"] == 1


def test_kill(told, server):
    """No number is given twice: those that it may have been about to give are left out, and that is told."""
    daemon, lines, last = told.daemon, told.lines, told.last
    for round in range(3):
        expect(daemon.client(), lines)  # on disk, now that it is answered
        daemon.crash()
        daemon.start().connected()
        client = daemon.client()
        above = client.call("status")["seq"]
        assert above > last
        lines = lines + [gap(last + 1, above, "crash")]
        expect(client, lines)
        subscriber = subscribed(daemon, last)
        assert subscriber.event().raw == lines[-1]
        server.push_text(f"round {round}")
        last = above + 1
        lines = lines + [subscriber.event("MESSAGE").raw]
        assert range_of(lines[-1]) == (last, last)
        expect(client, lines)
    behind = subscribed(daemon, "earliest")
    assert_same(lines_until(behind, last), lines)
    behind.nothing()


def test_kill_twice_with_nothing_between(server, imd):
    daemon = imd(server.url()).connected()
    server.do("push_many", count=3)
    client = daemon.client()
    client.wait_status(lambda s: s["seq"] == 3, "they came")
    client.call("history")
    before = 3
    for _ in range(3):
        daemon.crash()
        daemon.start().connected()
        seq = daemon.client().call("status")["seq"]
        assert seq >= before
        before = seq
    lines = lines_until(subscribed(daemon, 0), before)
    assert_covered(lines, 1, before)
    assert [json.loads(x)["method"] for x in lines[:3]] == ["MESSAGE"] * 3
    assert all(json.loads(x)["params"].get("reason") == "crash" for x in lines[3:])


def test_a_large_line(server, bridge):
    size = 20 << 20
    subscriber = bridge.subscriber("MESSAGE")
    server.push_text("before")
    server.do("push_big", size=size, fragments=3)
    server.push_text("after")
    lines = [event.raw for event in subscriber.messages(3)]
    assert len(lines[1]) > size
    for _ in range(2):
        client = bridge.client()
        expect(client, lines[1:2], True, after=1, limit=1)
        expect(client, lines[1:2], True, before=3, limit=1, reverse=True)
        expect(client, lines[2:], after=2)
        assert_same(lines_until(subscribed(bridge, "earliest"), 3), lines)
        assert [len(page) > 0 for page in pages(client)].count(False) == 0
        assert sum(len(page) for page in pages(client)) == 3
        bridge.stop()
        bridge.start().connected()


def test_pruned_by_size(server, imd):
    daemon = imd(server.url(), HistoryMaxSize="1M", RingSize="64K").connected()
    client = daemon.client()
    for round in range(1, 5):
        server.do("push_many", count=4000, size=300)
        client.wait_status(lambda s: s["seq"] == 4000 * round, "all are there", 2 * PATIENCE)
    client.wait_stats(lambda s: s["pruned"] > 0 and s["oldestSeq"] > 8000, "the oldest are gone")
    # Told by a GAP to who asks for them, but not to who asks for what there is. (More may go while that is read.)
    for round in range(2):
        lines = lines_until(subscribed(daemon, 0), 16000)
        assert_covered(lines, 1, 16000)
        gaps = [x for x in lines if b'"GAP"' in x]
        assert lines[0] == gaps[0] and seq_of(lines[0]) >= 8000
        assert all(x == gap(*range_of(x), "pruned") for x in gaps)
        earliest = lines_until(subscribed(daemon, "earliest"), 16000)
        first = range_of(earliest[0])[0]
        assert b'"GAP"' not in earliest[0] and first > seq_of(lines[0])
        assert_covered(earliest, first, 16000)
        assert set(earliest) <= {x for x in lines if x not in gaps} | {x for x in earliest if b'"pruned"' in x}
        # And history goes on.
        got = [e["params"]["seq"] for page in pages(client, limit=10000) for e in page]
        assert got == sorted(set(got)) and got[-1] == 16000 and got[0] >= first
        assert client.call("history", before=4000) == {"events": [], "more": False}
        daemon.stop()
        daemon.start().connected()
        client = daemon.client()


def test_pruned_no_more_than_it_must(server, imd):
    """The newest stay, and most of what HistoryMaxSize allows."""
    daemon = imd(server.url(), HistoryMaxSize="1M", RingSize="64K").connected()
    client = daemon.client()
    seen = []
    for round in range(1, 5):
        server.do("push_many", count=4000, size=300)
        while client.call("status")["seq"] < 4000 * round:
            seen.append(client.call("stats")["oldestSeq"])
    client.wait_stats(lambda s: s["oldestSeq"] > 12000 or s["oldestSeq"] == 0 < s["pruned"], "the oldest are gone")

    def kept():
        return sum(len(json.dumps(e, separators=(",", ":"))) + 1 for page in pages(client, limit=10000) for e in page)

    until(lambda: kept() <= 1 << 20, "the rest is gone, too")
    assert kept() >= 400 << 10
    begun = [seq for seq in seen if seq]
    assert begun == sorted(begun) and 0 not in seen[seen.index(begun[0]):], "for a moment there was none"


# ---- subscribe since ----

def test_since_each_number(server, told):
    subscribers = {since: subscribed(told.daemon, since) for since in range(told.first - 1, told.last + 1)}
    earliest = subscribed(told.daemon, "earliest")
    server.push_text("live")
    lines = told.lines + lines_until(earliest, told.last + 1)[-1:]
    for since, subscriber in subscribers.items():
        assert_same(lines_until(subscriber, told.last + 1), [x for x in lines if seq_of(x) > since])
        subscriber.nothing()
    earliest.nothing()


def test_since_after_a_restart(server, told):
    """Nothing is in memory any more."""
    told.daemon.stop()
    told.daemon.start().connected()
    test_since_each_number(server, told)


@pytest.mark.parametrize("again", [False, True])
def test_result_of_since(server, imd, again):
    daemon = imd(server.url()).connected()
    client = daemon.client()
    server.do("push_many", count=20)
    client.wait_status(lambda s: s["seq"] == 20, "they came")
    if again:
        daemon.stop()
        daemon.start().connected()
        client = daemon.client()
    for since in (0, 1, 7, 19, 20):
        result = begin(client, since)
        assert set(result) == {"seq", "status"} and result["seq"] == since
        assert [e.params["seq"] for e in client.messages(20 - since)] == list(range(since + 1, 21))
        client.nothing()
    server.push_text("live")
    assert client.event("MESSAGE").params["seq"] == 21


def test_since_earliest_of_nothing(server, bridge):
    client = subscribed(bridge, "earliest")
    zero = subscribed(bridge, 0)
    server.push_text("x")
    assert client.event("MESSAGE").raw == zero.event("MESSAGE").raw


@pytest.mark.parametrize("since", [4, 2 ** 64 - 1, -1, 1.5, "latest", "3", "", None, True, [], {}])
def test_wrong_since(server, bridge, since):
    client = subscribed(bridge, events=["MESSAGE"])
    server.do("push_many", count=3)
    client.messages(3)
    refused = client.refused("subscribe", since=since)
    assert refused.code == -32602 and '"since"' in refused.error["message"]
    # The subscription is what it was.
    server.push_text("x")
    assert client.event("MESSAGE").params["seq"] == 4
    client.nothing()


def test_since_with_what_is_not_logged(server, bridge):
    """STATUS and OUTBOX are not replayed."""
    server.do("push_many", count=5)
    bridge.client().wait_status(lambda s: s["seq"] == 5, "they came")
    client = subscribed(bridge, 0, ["STATUS", "OUTBOX"])
    client.nothing()
    bridge.client().call("disconnect")
    assert client.event("STATUS").params["state"] == "disconnected"
    client.nothing()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("kind", LOGGED)
def test_since_with_message_or_sent_only(told, kind, restarted):
    if restarted:
        told.daemon.stop()
        told.daemon.start()
    client = subscribed(told.daemon, told.first - 1, [kind])
    expected = [x for x in told.lines if json.loads(x)["method"] in (kind, "GAP")]
    assert_same([client.event().raw for _ in expected], expected)
    client.nothing()


def test_events_that_come_while_it_is_fed(server, imd):
    """RingSize is the smallest: all that is missed must come from the disk."""
    daemon = imd(server.url(), RingSize="64K").connected()
    client = daemon.client()
    server.do("push_many", count=10000, size=200)
    client.wait_status(lambda s: s["seq"] == 10000, "the first are there")
    server.do("push_many", count=10000, size=200)
    subscribers = [subscribed(daemon, since, ["MESSAGE"]) for since in (0, 1, 5000, 9999, 10000, "earliest")]
    for subscriber, first in zip(subscribers, (1, 2, 5001, 10000, 10001, 1)):
        events = subscriber.messages(20001 - first)
        assert [e.params["seq"] for e in events] == list(range(first, 20001))
        assert [e.params["data"]["n"] for e in events] == [seq % 10000 for seq in range(first - 1, 20000)]
    server.push_text("live")
    assert len({s.event("MESSAGE").raw for s in subscribers}) == 1
    stats = client.call("stats")
    assert stats["replays"] >= 1 and stats["gaps"] == 0 and stats["drops"] == 0


def test_events_that_come_while_it_is_fed_with_a_filter(server, imd):
    daemon = imd(server.url(), RingSize="64K").connected()
    witness = daemon.subscriber("MESSAGE")
    lines = []
    for round in range(20):
        server.do("push_many", count=200, size=300)
        server.push_text(round, **{"from": "ann"})
        lines += [e.raw for e in witness.messages(201)]
    ann = [x for x in lines if b'"from":"ann"' in x]
    assert len(ann) == 20
    client = subscribed(daemon, 0, ["MESSAGE"], filter={"from": ["ann"]})
    for round in range(20, 40):
        server.do("push_many", count=200, size=300)
        server.push_text(round, **{"from": "ann"})
    lines += [e.raw for e in witness.messages(20 * 201)]
    ann = [x for x in lines if b'"from":"ann"' in x]
    assert_same([e.raw for e in client.messages(40)], ann)
    client.nothing()


def shrink(client):
    """Little fits into the socket, so what is sent to this client stays with the daemon until it reads."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return client


def fed(daemon, since, events=("MESSAGE",), **more):
    """A subscriber that does not read, in the middle of its replay."""
    client = shrink(daemon.client())
    begin(client, since, list(events), **more)
    return client


@pytest.fixture
def long_history(server, imd):
    """More than fits into ring and sockets; every tenth is of ann."""
    daemon = imd(server.url(), RingSize="64K").connected()
    witness = daemon.subscriber("MESSAGE")
    daemon.lines = []
    for round in range(300):
        server.push_text(f"{round} " + "a" * 300, **{"from": "ann"})
        server.do("push_many", count=9, size=300)
        daemon.lines += [e.raw for e in witness.messages(10)]
    witness.close()
    assert_covered(daemon.lines, 1, 3000)
    return daemon


def test_subscribing_again_while_it_is_fed(server, long_history):
    """Nothing of the first subscription comes behind the second's answer, and no line is broken."""
    lines = long_history.lines
    ann = [x for x in lines if b'"from":"ann"' in x]
    assert len(ann) == 300
    client = fed(long_history, 0)
    assert client.event("MESSAGE").raw == lines[0]
    result = begin(client, 1000, ["MESSAGE"], filter={"from": ["ann"]})
    assert result["seq"] == 1000
    before = [e.raw for e in client.events_waiting]
    assert_same(before, lines[1:len(before) + 1])
    client.events_waiting.clear()
    expected = [x for x in ann if seq_of(x) > 1000]
    assert client.event("MESSAGE").raw == expected[0]
    # Once more, without since: from where it is, now all of them.
    result = begin(client, events=["MESSAGE"])
    got = [expected[0]] + [e.raw for e in client.events_waiting]
    assert_same(got, expected[:len(got)])
    assert result["seq"] >= seq_of(got[-1])
    assert len(got) == len(expected) or result["seq"] < seq_of(expected[len(got)])
    client.events_waiting.clear()
    server.push_text("live")
    assert_same(lines_until(client, 3001)[:-1], lines[result["seq"]:])
    client.nothing()


def test_subscribing_again_and_again_while_it_is_fed(long_history):
    lines = long_history.lines
    client = fed(long_history, 0)
    for since in (2500, 0, 1234, 2999, "earliest", 3000, 17):
        result = begin(client, since, ["MESSAGE"])
        client.events_waiting.clear()
        at = 0 if since == "earliest" else since
        assert result["seq"] == at
        if at < 3000:
            assert client.event("MESSAGE").raw == lines[at]
    assert_same([e.raw for e in client.messages(3000 - 18)], lines[18:])
    client.nothing()


def test_unsubscribe_while_it_is_fed(server, long_history):
    client = fed(long_history, 0)
    for _ in range(10):
        client.event("MESSAGE")
    assert client.call("unsubscribe") == {}
    got = [e.raw for e in client.events_waiting]
    assert_same(got, long_history.lines[10:10 + len(got)])
    assert len(got) < 2900, "the replay was over before"
    client.events_waiting.clear()
    server.push_text("x")
    client.nothing()
    assert client.call("stats")["subscribers"] == 0
    # And again, from there on.
    begin(client, 10 + len(got), ["MESSAGE"])
    assert_same(lines_until(client, 3000), long_history.lines[10 + len(got):])


def test_leaving_while_it_is_fed(long_history):
    for _ in range(30):
        client = fed(long_history, 0)
        client.event("MESSAGE")
        client.close()
    long_history.client().wait_stats(lambda s: s["subscribers"] == 0, "all have left")


def test_a_slow_reader_gets_all(server, imd):
    """Overtaken by the ring, it goes on from the disk, and comes back to the ring."""
    daemon = imd(server.url(), RingSize="64K").connected()
    slow, reader = shrink(daemon.client()), daemon.subscriber("MESSAGE")
    slow.subscribe("MESSAGE")
    for round in range(3):
        server.do("push_many", count=8000, size=200)
        lines = [e.raw for e in reader.messages(8000)]
        assert_same([e.raw for e in slow.messages(8000)], lines)
        server.push_text("next")
        assert slow.event("MESSAGE").raw == reader.event("MESSAGE").raw
    stats = slow.call("stats")
    assert (stats["gaps"], stats["drops"]) == (0, 0) and stats["replays"] >= 3


def test_a_slow_reader_with_a_filter_gets_all(server, imd):
    daemon = imd(server.url(), RingSize="64K").connected()
    slow, reader = shrink(daemon.client()), daemon.subscriber("MESSAGE")
    slow.subscribe("MESSAGE", **{"from": ["ann"]})
    lines = []
    for n in range(600):
        server.push_text("a" * 2000, **{"from": "ann" if n % 2 else "bob"})
        lines.append(reader.event("MESSAGE").raw)
    assert_same([e.raw for e in slow.messages(300)], lines[1::2])
    slow.nothing()


@pytest.mark.parametrize("since", [0, 100, "earliest"])
def test_since_without_history(server, imd, since):
    """What is not in the ring cannot be had."""
    daemon = imd(server.url(), RingSize="64K", History="no").connected()
    client = daemon.client()
    server.do("push_many", count=4000, size=200)
    client.wait_status(lambda s: s["seq"] == 4000, "all are there")
    lines = lines_until(subscribed(daemon, since, ["MESSAGE"]), 4000)
    if since == "earliest":
        assert_covered(lines, range_of(lines[0])[0], 4000)
        assert b'"GAP"' not in b"".join(lines) and range_of(lines[0])[0] > 100
        return
    assert_covered(lines, since + 1, 4000)
    assert lines[0] == gap(since + 1, seq_of(lines[0]), "no_history")
    assert b'"GAP"' not in b"".join(lines[1:])
    # What the ring has needs no history.
    assert_same(lines_until(subscribed(daemon, 3990, ["MESSAGE"]), 4000), lines[-10:])


def test_since_without_history_when_nothing_is_left(server, imd):
    daemon = imd(server.url(), History="no").connected()
    server.do("push_many", count=10)
    daemon.client().wait_status(lambda s: s["seq"] == 10, "all are there")
    daemon.stop()
    daemon.start().connected()
    client, earliest = subscribed(daemon, 4), subscribed(daemon, "earliest")
    assert client.event().raw == gap(5, 10, "no_history")
    server.push_text("x")
    assert earliest.event("MESSAGE").raw == client.event("MESSAGE").raw
    client.nothing(), earliest.nothing()


@pytest.mark.limit(180)
def test_fifty_that_are_fed_hold_up_nobody(server, long_history):
    live = long_history.subscriber("MESSAGE")
    behind = [fed(long_history, 0) for _ in range(50)]
    sender = long_history.client()
    lines = list(long_history.lines)
    for n in range(100):
        server.push_text(f"live {n}")
        lines.append(live.event("MESSAGE").raw)
        sender.result(sender.send("beside it"))
        lines.append(None)  # a SENT, which takes a number and was not asked for
    told = [x for x in lines if x]
    for client in behind:
        assert_same([client.event("MESSAGE").raw for _ in told], told)
        client.nothing()
    assert sender.call("stats")["gaps"] == 0


def test_one_that_is_fed_and_reads_nothing_is_disconnected(server, imd):
    daemon = imd(server.url(), StallTimeout="300ms", RingSize="64K").connected()
    server.do("push_many", count=5000, size=500)
    client = daemon.client()
    client.wait_status(lambda s: s["seq"] == 5000, "all are there")
    stalled = fed(daemon, 0)
    client.wait_stats(lambda s: s["stalled"] == 1 and s["subscribers"] == 0, "the stalled one is disconnected")
    lines = stalled.wait_closed()
    assert_same([seq_of(x) for x in lines], list(range(1, len(lines) + 1)))
    assert len(lines) < 5000


def test_status_at_the_seam(server, imd):
    """STATUS is not replayed, but who was busy while it changed is told what it is now, once it is there."""
    daemon = imd(server.url(), RingSize="64K").connected()
    other = daemon.client()
    server.do("push_many", count=5000, size=300)
    other.wait_status(lambda s: s["seq"] == 5000, "all are there")
    client, unchanged = fed(daemon, 0, ["MESSAGE", "STATUS"]), fed(daemon, 0, ["MESSAGE", "STATUS"])
    assert_covered([e.raw for e in unchanged.messages(5000)], 1, 5000)
    unchanged.nothing()
    other.call("reconnect")
    daemon.connected()
    server.do("push_many", count=2000, size=300)  # the STATUS events leave the ring
    other.wait_status(lambda s: s["seq"] == 7000, "more are there")
    other.call("disconnect")
    client.barrier()
    events = [e for e in client.events_waiting]
    while len([e for e in events if e.method == "MESSAGE"]) < 7000:
        client.events_waiting.clear()
        events.append(client.event())
    client.events_waiting.clear()
    client.barrier()
    events += client.events_waiting
    assert_covered([e.raw for e in events if e.method == "MESSAGE"], 1, 7000)
    states = [e.params["state"] for e in events if e.method == "STATUS"]
    assert states and states[-1] == "disconnected"
    assert {e.method for e in events} == {"MESSAGE", "STATUS"}


def test_outbox_events_that_were_missed(server, imd):
    """They have no number and are not kept: that they were missed is told, once."""
    daemon = imd(server.url(), RingSize="64K").connected()
    other = daemon.client()
    server.do("push_many", count=5000, size=300)
    other.wait_status(lambda s: s["seq"] == 5000, "all are there")
    client, indifferent = fed(daemon, 0, ["MESSAGE", "OUTBOX"]), fed(daemon, 0, ["MESSAGE"])
    other.call("send", message={"messageId": "m", "content": {"message": "x"}}, queue=True)
    other.wait_status(lambda s: s["queued"] == 0, "it is acked")  # which took number 5001
    server.do("push_many", count=2000, size=300)
    other.wait_status(lambda s: s["seq"] == 7001, "more are there")
    server.push_text("last")
    events = [client.event()]
    while events[-1].params.get("seq") != 7002:
        events.append(client.event())
    assert [e.params["seq"] for e in events if e.method == "MESSAGE"] == [*range(1, 5001), *range(5002, 7003)]
    assert [e.raw for e in events if e.method != "MESSAGE"] == [gap(0, 0, "outbox")]
    client.nothing()
    # From here on they come.
    other.call("send", message={"messageId": "n", "content": {"message": "x"}}, queue=True)
    assert client.event("OUTBOX").params["state"] == "queued"
    assert {indifferent.event().method for _ in range(7001)} == {"MESSAGE"}


def test_the_database_can_be_read(server, told):
    """As imd(8) says, when imd does not run: the lines stand there as they are."""
    told.daemon.stop()
    database = sqlite3.connect(f"file:{told.daemon.state_path}/imd.db?mode=ro", uri=True)
    kept = b"".join(bytes(row[0]) for row in database.execute("SELECT lines FROM segment ORDER BY first"))
    database.close()
    assert_same(kept, b"".join(told.lines))
