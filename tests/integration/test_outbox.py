"""The outbox: what was answered `queued` reaches the server, in order, at least once, under the id that was told."""

import re
import time

import msgpack
import pytest

from patience import PATIENCE, until

UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
QUIET = {"PingGap": "60min"}  # the server's `frames` are messages only
DAY = 24 * 3600 * 1000


def put(client, text, id=None, **more):
    """Queues one; the id of the request."""
    message = {**({"messageId": id} if id else {}), "content": {"message": text}}
    return client.request("send", {"message": message, "queue": True, **more})


def queue(client, *ids, **more):
    """Queues messages whose text is their id."""
    numbers = [put(client, id, id, **more) for id in ids]
    for number, id in zip(numbers, ids):
        assert client.result(number) == {"messageId": id, "state": "queued"}


def entries(daemon):
    client = daemon.client()
    try:
        return client.call("outbox")["entries"]
    finally:
        client.close()


def states(daemon):
    return {e["messageId"]: e["state"] for e in entries(daemon)}


def entry(client, id):
    found = client.call("outbox", messageId=id)["entries"]
    assert len(found) == 1 and found[0]["messageId"] == id
    return found[0]


def wait_entry(client, id, state):
    def ask():
        found = entry(client, id)
        return found if found["state"] == state else None

    return until(ask, f"{id} is {state}")


def drained(client):
    """All messages have ended."""
    client.wait_status(lambda s: s["queued"] == 0, "nothing is queued any more")


def ack(server, id, code=0):
    server.push({"code": code, "data": {"messageId": id}})


def ids(server, **which):
    return [m["messageId"] for m in server.messages(**which)]


def conflict(client, method, **params):
    refused = client.refused(method, params)
    assert (refused.code, refused.reason) == (-80, "conflict"), refused.error


def unreachable(server, daemon):
    """The server cannot be reached until start_listening."""
    server.do("stop_listening")
    server.do("drop")
    daemon.wait_state("waiting")


@pytest.fixture
def quiet(server, imd):
    return imd(server.url(), **QUIET).connected()


@pytest.fixture
def cut(server, quiet):
    """A daemon that is not connected, on purpose: `connect` connects it."""
    client = quiet.client()
    client.call("disconnect")
    server.wait("connections", max=0)
    client.close()
    return quiet


# ---- The way to the server ----

def test_queued_while_disconnected(server, cut):
    client, watcher = cut.client(), cut.subscriber("OUTBOX", "SENT")
    assert client.refused("send", message={"content": {"message": "x"}}).reason == "not_connected"
    names = [f"m{i}" for i in range(5)]
    queue(client, *names)
    assert client.call("status")["queued"] == 5 and client.call("status")["storage"] == "ok"
    told = [watcher.event("OUTBOX").params for _ in names]
    assert [(t["messageId"], t["state"]) for t in told] == [(name, "queued") for name in names]
    assert server.received() == []
    client.call("connect")
    drained(client)
    assert ids(server) == names
    assert [m["content"]["message"] for m in server.messages()] == names
    events = [watcher.event() for _ in range(15)]
    for kind, state in (("OUTBOX", "sent"), ("OUTBOX", "acked"), ("SENT", None)):
        assert [e.params.get("messageId") or e.params["data"]["messageId"] for e in events
                if e.method == kind and e.params.get("state") == state] == names
    for name in names:
        own = [e.params["state"] for e in events if e.method == "OUTBOX" and e.params["messageId"] == name]
        assert own == ["sent", "acked"]
    watcher.nothing()
    assert states(cut) == dict.fromkeys(names, "acked")


def test_bytes(server, quiet):
    client, watcher = quiet.client(), quiet.subscriber("OUTBOX")
    client.write(b'{"jsonrpc":"2.0","id":"a","method":"send","params":{"queue":true,"message":'
                 b'{"messageId":"m\\u00e4\\"1","from":"f","sentTime":5,"content":{"message":"x"}}}}\n')
    assert client.line() == '{"jsonrpc":"2.0","id":"a","result":{"messageId":"mä\\"1","state":"queued"}}\n'.encode()
    for state in ('"queued"', '"sent"', '"acked","code":0'):
        raw = watcher.event("OUTBOX").raw.decode()
        assert re.fullmatch(r'\{"jsonrpc":"2\.0","method":"OUTBOX","params":\{"messageId":"mä\\"1","state":%s,"time":'
                            r'[0-9]{13}\}\}\n' % state, raw), raw
    assert server.received() == [
        msgpack.packb({"messageId": 'mä"1', "from": "f", "sentTime": 5, "content": {"message": "x"},
                       "messageType": "TxtMsg", "conversationType": 0, "to": "server", "messageDirection": 1})]
    number = client.request("outbox")
    raw = client.line().decode()
    assert re.fullmatch(r'\{"jsonrpc":"2\.0","id":%d,"result":\{"entries":\[\{"messageId":"mä\\"1","state":"acked",'
                        r'"code":0,"attempts":1,"queuedTime":[0-9]{13},"expiresTime":[0-9]{13},'
                        r'"changedTime":[0-9]{13}\}\]\}\}\n' % number, raw), raw


def test_defaults(server, quiet):
    """As of any send."""
    client = quiet.client()
    result = client.result(put(client, "hello"))
    assert list(result) == ["messageId", "state"] and UUID.match(result["messageId"]) and result["state"] == "queued"
    drained(client)
    sent = server.messages()[0]
    assert sent.pop("messageId") == result["messageId"]
    assert sent.pop("sentTime") > 1_600_000_000_000
    assert sent == {"content": {"message": "hello"}, "messageType": "TxtMsg", "conversationType": 0, "from": "me",
                    "to": "server", "messageDirection": 1}
    # `queue` false is a send as ever.
    assert client.call("send", message={"content": {"message": "x"}}, queue=False)["code"] == 0
    assert len(entries(quiet)) == 1


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_over_a_restart_while_disconnected(server, quiet, end):
    """What was answered is on disk, with the bytes that it was answered for."""
    daemon = quiet
    unreachable(server, daemon)
    names = [f"m{i}" for i in range(20)]
    for round in range(2):
        client = daemon.client()
        queue(client, *names[10 * round:10 * round + 10])
        before = entries(daemon)
        assert [(e["messageId"], e["state"], e["attempts"]) for e in before] == [
            (name, "queued", 0) for name in names[:10 * round + 10]]
        getattr(daemon, end)()
        daemon.start()
        assert entries(daemon) == before
        assert daemon.client().call("status")["queued"] == len(before)
    queued = before[-1]["changedTime"]
    server.do("start_listening")
    daemon.connected()
    drained(daemon.client())
    assert ids(server) == names
    assert all(m["sentTime"] <= queued for m in server.messages())
    assert states(daemon) == dict.fromkeys(names, "acked")


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_over_a_restart_while_unanswered(server, quiet, end):
    """It is not known whether the server had them: they are sent again, as they were, before what came later."""
    server.mode(ack="swallow")
    client = quiet.client()
    queue(client, *[f"m{i}" for i in range(10)])
    server.wait_frames(10)
    wait_entry(client, "m9", "sent")
    first = server.received(clear=True)
    server.do("stop_listening")
    getattr(quiet, end)()
    quiet.start()
    queue(quiet.client(), "later")
    server.mode(ack="echo")
    server.do("start_listening")
    quiet.connected()
    drained(quiet.client())
    again = server.received()
    assert again[:10] == first and ids(server)[10:] == ["later"]
    assert [e["attempts"] for e in entries(quiet)] == [2] * 10 + [1]


def test_a_stop_waits_for_the_answer(server, quiet):
    """What is answered while it is being ended is recorded: it is not sent again."""
    server.mode(ack="delay", delayMs=300)
    queue(quiet.client(), "m")
    server.wait_frames(1)
    quiet.stop()
    quiet.start().connected()
    assert entry(quiet.client(), "m")["state"] == "acked"
    queue(quiet.client(), "n")
    drained(quiet.client())
    assert ids(server) == ["m", "n"]


def test_lost_link_before_the_ack(server, quiet):
    server.mode(ack="swallow")
    client, watcher = quiet.client(), quiet.subscriber("OUTBOX")
    names = [f"m{i}" for i in range(5)]
    queue(client, *names)
    server.wait_frames(5)
    first = server.received(clear=True)
    for attempt in range(2, 5):
        server.do("drop")
        server.wait_frames(5 * attempt)
        assert server.received(clear=True) == first, "same bytes, same order"
    queue(client, "new")
    server.wait_frames(21)
    server.received(clear=True)
    server.mode(ack="echo")
    server.do("drop")
    drained(client)
    assert server.received()[:5] == first and ids(server)[5:] == ["new"]
    told = [(e.params["messageId"], e.params["state"]) for e in [watcher.event("OUTBOX") for _ in range(18)]]
    for name in [*names, "new"]:
        assert [state for id, state in told if id == name] == ["queued", "sent", "acked"]
    watcher.nothing()


def test_what_is_unanswered_goes_before_what_is_new(server, quiet):
    server.mode(ack="swallow")
    client = quiet.client()
    queue(client, "a", "b", "c")
    server.wait_frames(3)
    ack(server, "b")
    wait_entry(client, "b", "acked")
    unreachable(server, quiet)
    queue(client, "d", "e")
    server.mode(ack="echo")
    server.received(clear=True)
    server.do("start_listening")
    drained(client)
    assert ids(server) == ["a", "c", "d", "e"]


def test_ack_timeout(server, imd):
    """No answer: the same bytes again, after a while; a late ack ends it."""
    daemon = imd(server.url(), AckTimeout="300ms", **QUIET).connected()
    server.mode(ack="swallow")
    client = daemon.client()
    queue(client, "m")
    server.wait_frames(3, 3 * PATIENCE)
    frames = server.received()
    assert frames[0] == frames[1] == frames[2]
    ack(server, "m")
    done = wait_entry(client, "m", "acked")
    assert done["attempts"] >= 3 and done["code"] == 0
    sent = server.stats()["frames"]
    queue(client, "n")
    server.wait("frames", min=sent + 1)
    ack(server, "n")
    wait_entry(client, "n", "acked")
    assert ids(server).count("m") == sent


def test_late_ack_before_it_is_sent_again(server, imd):
    """Its first ack timeout has passed; the answer comes in the pause before the second attempt, or after it."""
    daemon = imd(server.url(), AckTimeout="100ms", **QUIET).connected()
    server.mode(ack="swallow")
    client, watcher = daemon.client(), daemon.subscriber("OUTBOX", "SENT")
    queue(client, "m")
    client.wait_stats(lambda s: s["outboxAckTimeouts"] >= 1, "its time is over")
    ack(server, "m")
    drained(client)
    assert [e.params.get("state", e.method) for e in [watcher.event() for _ in range(4)]] == [
        "queued", "sent", "SENT", "acked"]
    sent = server.stats()["frames"]
    server.stays("frames", sent, 1.5)


def test_rejected(server, quiet):
    """The server's no is final."""
    server.mode(ack="reject", code=9, match="bad")
    client, watcher = quiet.client(), quiet.subscriber("OUTBOX")
    queue(client, "good1", "bad", "good2")
    drained(client)
    assert states(quiet) == {"good1": "acked", "bad": "rejected", "good2": "acked"}
    assert entry(client, "bad")["code"] == 9 and entry(client, "bad")["attempts"] == 1
    told = [watcher.event("OUTBOX").params for _ in range(9)]
    assert [(t["state"], t.get("code")) for t in told if t["messageId"] == "bad"] == [
        ("queued", None), ("sent", None), ("rejected", 9)]
    quiet.stop()
    quiet.start().connected()
    client = quiet.client()
    queue(client, "last")
    drained(client)
    assert ids(server) == ["good1", "bad", "good2", "last"]
    assert states(quiet)["bad"] == "rejected"
    # Its id is known: the answer is its state.
    assert client.result(put(client, "bad", "bad")) == {"messageId": "bad", "state": "rejected", "code": 9}


def test_sent_event_of_a_rejection(server, quiet):
    server.mode(ack="reject", code=9)
    client, watcher = quiet.client(), quiet.subscriber("SENT")
    queue(client, "m")
    event = watcher.event("SENT").params
    assert event["code"] == 9 and event["data"]["messageId"] == "m"
    drained(client)


# ---- Expiry ----

def test_expired_while_disconnected(server, cut):
    client, watcher = cut.client(), cut.subscriber("OUTBOX")
    queue(client, "short", expiresMs=50)
    queue(client, "long", expiresMs=DAY)
    queue(client, "usual")
    wait_entry(client, "short", "expired")
    assert [watcher.event("OUTBOX").params["state"] for _ in range(4)] == ["queued"] * 3 + ["expired"]
    assert client.call("status")["queued"] == 2
    short, long, usual = (entry(client, name) for name in ("short", "long", "usual"))
    assert short["expiresTime"] - short["queuedTime"] == 50 and "code" not in short and short["attempts"] == 0
    assert long["expiresTime"] - long["queuedTime"] == usual["expiresTime"] - usual["queuedTime"] == DAY
    assert short["changedTime"] >= short["expiresTime"]
    client.call("connect")
    drained(client)
    assert ids(server) == ["long", "usual"]
    assert client.result(put(client, "short", "short")) == {"messageId": "short", "state": "expired"}


def test_expired_while_the_daemon_was_away(server, quiet):
    unreachable(server, quiet)
    client = quiet.client()
    queue(client, "m", expiresMs=300)
    queue(client, "n")
    expires = entry(client, "m")["expiresTime"]
    quiet.stop()
    until(lambda: time.time() * 1000 > expires, "its time is over")
    server.do("start_listening")
    quiet.start().connected()
    wait_entry(quiet.client(), "m", "expired")
    drained(quiet.client())
    assert ids(server) == ["n"]


def test_expired_while_unanswered(server, imd):
    """Not while it is on the wire: only once its AckTimeout has passed."""
    daemon = imd(server.url(), AckTimeout="500ms", **QUIET).connected()
    server.mode(ack="swallow")
    client, watcher = daemon.client(), daemon.subscriber("OUTBOX", "SENT")
    queue(client, "m", expiresMs=100)
    done = wait_entry(client, "m", "expired")
    assert [watcher.event("OUTBOX").params["state"] for _ in range(3)] == ["queued", "sent", "expired"]
    assert done["attempts"] == 1 and done["changedTime"] - done["queuedTime"] >= 500
    assert client.call("status")["queued"] == 0
    # The late ack is told as of any send that nobody waits for.
    ack(server, "m")
    assert watcher.event("SENT").params["data"]["messageId"] == "m"
    watcher.nothing()
    assert entry(client, "m")["state"] == "expired"
    server.stays("frames", 1)


def test_configured_expiry(imd):
    client = imd("ws://127.0.0.1:9/", OutboxExpires="1h").client()
    queue(client, "m")
    m = entry(client, "m")
    assert m["expiresTime"] - m["queuedTime"] == 3600 * 1000


# ---- Cancel ----

def test_cancel(server, cut):
    client, watcher = cut.client(), cut.subscriber("OUTBOX")
    queue(client, "a", "b", "c")
    assert client.call("outbox.cancel", messageId="b") == {}
    assert [(e.params["messageId"], e.params["state"]) for e in [watcher.event("OUTBOX") for _ in range(4)]] == [
        ("a", "queued"), ("b", "queued"), ("c", "queued"), ("b", "cancelled")]
    assert client.call("status")["queued"] == 2
    assert client.refused("outbox.cancel", messageId="b").reason == "not_found"
    assert client.refused("outbox", messageId="b").reason == "not_found"
    client.call("connect")
    drained(client)
    assert ids(server) == ["a", "c"]
    # It is not remembered: the id is as good as new.
    queue(client, "b")
    drained(client)
    assert ids(server) == ["a", "c", "b"]


def test_cancel_too_late(server, quiet):
    server.mode(ack="swallow")
    client = quiet.client()
    queue(client, "m")
    server.wait_frames(1)
    conflict(client, "outbox.cancel", messageId="m")
    unreachable(server, quiet)
    conflict(client, "outbox.cancel", messageId="m")  # it may have arrived
    quiet.stop()
    quiet.start()
    client = quiet.client()
    conflict(client, "outbox.cancel", messageId="m")
    server.mode(ack="echo")
    server.do("start_listening")
    drained(client)
    conflict(client, "outbox.cancel", messageId="m")
    assert client.refused("outbox.cancel", messageId="nobody").code == -79


@pytest.mark.parametrize("params", [{}, {"messageId": ""}, {"messageId": 5}, {"messageId": "x" * 129},
                                    {"messageId": None}, {"id": "m"}])
def test_wrong_cancel(bridge, params):
    refused = bridge.client().refused("outbox.cancel", params)
    assert refused.code == -32602 and ("id" if "id" in params else "messageId") in refused.error["message"]


# ---- An id that is known ----

def test_a_known_id_adds_nothing(server, quiet):
    server.mode(ack="swallow")
    unreachable(server, quiet)
    client, watcher = quiet.client(), quiet.subscriber("OUTBOX")
    queue(client, "m")
    assert client.result(put(client, "other text", "m")) == {"messageId": "m", "state": "queued"}
    server.do("start_listening")
    server.wait_frames(1)
    wait_entry(client, "m", "sent")
    assert client.result(put(client, "other text", "m")) == {"messageId": "m", "state": "sent"}
    ack(server, "m")
    wait_entry(client, "m", "acked")
    for _ in range(2):
        assert client.result(put(client, "other text", "m")) == {"messageId": "m", "state": "acked", "code": 0}
        quiet.stop()
        quiet.start().connected()
        client = quiet.client()
    server.mode(ack="echo")
    queue(client, "n")
    drained(client)
    assert [m["content"]["message"] for m in server.messages()] == ["m", "n"]
    assert len(entries(quiet)) == 2


def test_the_same_id_twice_at_once(server, cut):
    client = cut.client()
    numbers = [put(client, i, "m") for i in range(3)]
    assert [client.result(n) for n in numbers] == [{"messageId": "m", "state": "queued"}] * 3
    client.call("connect")
    drained(client)
    assert [m["content"]["message"] for m in server.messages()] == [0]


def test_kept_for_a_while_only(server, imd):
    daemon = imd(server.url(), OutboxKeep="1s", **QUIET).connected()
    client = daemon.client()
    queue(client, "m")
    drained(client)
    until(lambda: client.call("outbox")["entries"] == [], "it is forgotten")
    queue(client, "m")
    drained(client)
    assert ids(server) == ["m", "m"]


# ---- Limits ----

def test_outbox_max(server, imd):
    daemon = imd(server.url(), OutboxMax="5", **QUIET).connected()
    server.mode(ack="swallow")
    client, watcher = daemon.client(), daemon.subscriber("OUTBOX")
    queue(client, "m0", "m1")
    server.wait_frames(2)
    unreachable(server, daemon)
    queue(client, "m2", "m3", "m4")
    refused = client.refusal(put(client, "m5", "m5"))
    assert refused.code == -75 and refused.data == {"reason": "busy", "limit": "OutboxMax"}
    assert client.result(put(client, "m4", "m4")) == {"messageId": "m4", "state": "queued"}  # known: nothing is added
    assert client.call("outbox.cancel", messageId="m3") == {}
    queue(client, "m5")
    assert client.refusal(put(client, "m6", "m6")).reason == "busy"
    server.mode(ack="echo")
    server.do("start_listening")
    drained(client)
    assert ids(server)[2:] == ["m0", "m1", "m2", "m4", "m5"]
    told = [watcher.event("OUTBOX").params["messageId"] for _ in range(2 * 3 + 4 * 3 - 1)]
    assert "m6" not in told
    queue(client, "m6")


def test_window(server, imd):
    """Never more unanswered on the wire."""
    daemon = imd(server.url(), OutboxWindow="4", **QUIET).connected()
    server.mode(ack="swallow")
    client = daemon.client()
    names = [f"m{i:02}" for i in range(20)]
    queue(client, *names)
    server.wait_frames(4)
    server.stays("frames", 4)
    for done, name in enumerate(names[:16]):
        assert list(states(daemon).values()).count("sent") <= 4
        ack(server, name)
        server.wait_frames(5 + done)
        server.stays("frames", 5 + done, 0.05)
    assert ids(server) == names
    for name in names[16:]:
        ack(server, name)
    drained(client)
    # The same after a lost link.
    queue(client, *[f"n{i}" for i in range(10)])
    server.wait_frames(24)
    server.do("drop")
    server.wait_frames(28)
    server.stays("frames", 28)
    assert ids(server)[20:] == ["n0", "n1", "n2", "n3"] * 2


@pytest.mark.parametrize("connected", [True, False])
def test_a_thousand_in_order(server, quiet, connected):
    client = quiet.client()
    if not connected:
        client.call("disconnect")
        server.wait("connections", max=0)
    client.write(b"".join(client.request_line(f"id{i}", "send", {"message": {"content": {"message": i}}, "queue": True})
                          for i in range(1000)))
    answers = [client.reply(f"id{i}")["result"] for i in range(1000)]
    assert {a["state"] for a in answers} == {"queued"}
    client.call("connect")
    drained(client)
    assert [m["content"]["message"] for m in server.messages()] == list(range(1000))
    assert ids(server) == [a["messageId"] for a in answers]
    stats = client.call("stats")
    assert stats["acks"] == 1000 and stats["unknowns"] == 0


def test_many_clients_at_once(server, quiet):
    """Each one's messages go in its order."""
    clients = [quiet.client() for _ in range(10)]
    numbers = [[put(client, [c, i]) for i in range(50)] for c, client in enumerate(clients)]
    for client, own in zip(clients, numbers):
        assert {client.result(n)["state"] for n in own} == {"queued"}
    drained(clients[0])
    got = [m["content"]["message"] for m in server.messages()]
    assert len(got) == 500
    for c in range(10):
        assert [i for who, i in got if who == c] == list(range(50))


def test_too_large(server, imd):
    daemon = imd(server.url(), MaxMessage="64K", **QUIET).connected()
    client = daemon.client()
    refused = client.refusal(put(client, "x" * 70_000))
    assert (refused.code, refused.reason) == (-78, "too_large")
    assert entries(daemon) == [] and client.call("status")["queued"] == 0
    queue(client, "fits")
    number = put(client, "y" * 65_000)
    assert client.result(number)["state"] == "queued"
    drained(client)
    assert [len(m["content"]["message"]) for m in server.messages()] == [4, 65_000]


def test_large_messages(server, imd):
    """More than the send queue holds, and than one transaction should."""
    daemon = imd(server.url(), MaxLine="8M", **QUIET).connected()
    client = daemon.client()
    client.call("disconnect")
    server.do("record", on=False)
    for n in range(8):
        assert client.result(put(client, "z" * (6 << 20), f"m{n}"))["state"] == "queued"
    server.do("record", on=True)
    client.call("connect")
    client.wait_status(lambda s: s["queued"] == 0, "all are acked", 3 * PATIENCE)
    assert ids(server) == [f"m{n}" for n in range(8)]
    assert {len(m["content"]["message"]) for m in server.messages()} == {6 << 20}


def test_direct_sends_beside_it(server, imd):
    """MaxPending is for those; neither kind is in the way of the other."""
    daemon = imd(server.url(), MaxPending="2", **QUIET).connected()
    server.mode(ack="swallow")
    client, direct = daemon.client(), daemon.client()
    names = [f"q{i}" for i in range(10)]
    queue(client, *names)
    server.wait_frames(10)
    numbers = [direct.request("send", message={"messageId": f"d{i}", "content": {"message": i}}) for i in range(2)]
    server.wait_frames(12)
    refused = direct.refused("send", message={"content": {"message": "one too many"}})
    assert refused.data == {"reason": "busy", "limit": "MaxPending"}
    status = client.call("status")
    assert status["pending"] == 2 and status["queued"] == 10
    queue(client, "q10")
    server.wait_frames(13)
    for name in ["d1", *names, "q10", "d0"]:
        ack(server, name)
    assert [direct.result(n)["data"]["messageId"] for n in numbers] == ["d0", "d1"]
    drained(client)
    # In the order written, whatever their kind.
    server.mode(ack="echo")
    server.received(clear=True)
    for i in range(200):
        if i % 2:
            queue(client, f"x{i}")
        else:
            assert client.result(client.send(i))["code"] == 0
    drained(client)
    assert len(server.messages()) == 200


def test_an_id_that_a_direct_send_has(server, quiet):
    """Its send ends first; then the queued one goes. One ack does not end both."""
    server.mode(ack="swallow")
    client = quiet.client()
    first = client.request("send", message={"messageId": "m", "content": {"message": "direct"}})
    server.wait_frames(1)
    queue(client, "m")
    server.stays("frames", 1, 0.2)
    ack(server, "m")
    assert client.result(first)["code"] == 0
    server.mode(ack="echo")
    drained(client)
    assert [m["content"]["message"] for m in server.messages()] == ["direct", "m"]
    assert entry(client, "m")["state"] == "acked"


def test_a_direct_send_with_a_queued_id(server, quiet):
    server.mode(ack="swallow")
    client = quiet.client()
    queue(client, "m")
    server.wait_frames(1)
    conflict(client, "send", message={"messageId": "m", "content": {"message": "direct"}})
    ack(server, "m")
    drained(client)
    assert len(server.received()) == 1


# ---- Requests ----

@pytest.mark.parametrize("params, key", [
    ({"queue": 1}, "queue"), ({"queue": "yes"}, "queue"), ({"queue": None}, "queue"),
    ({"queue": True, "timeoutMs": 100}, "timeoutMs"), ({"expiresMs": 100}, "expiresMs"),
    ({"queue": False, "expiresMs": 100}, "expiresMs"), ({"queue": True, "expiresMs": 0}, "expiresMs"),
    ({"queue": True, "expiresMs": -1}, "expiresMs"), ({"queue": True, "expiresMs": 2592000001}, "expiresMs"),
    ({"queue": True, "expiresMs": "5"}, "expiresMs"), ({"queue": True, "expiresMs": 1.5}, "expiresMs"),
    ({"queue": True, "expires": 5}, "expires")])
def test_wrong_params(server, quiet, params, key):
    client = quiet.client()
    refused = client.refused("send", {"message": {"content": {"message": "x"}}, **params})
    assert refused.code == -32602 and f'"{key}"' in refused.error["message"]
    assert entries(quiet) == []
    client.barrier()
    assert server.received() == []


@pytest.mark.parametrize("message", [
    None, "text", {"messageType": 5}, {"messageType": ""}, {"messageId": ""}, {"messageId": "x" * 129},
    {"messageId": 1}, {"conversationType": 6}, {"conversationType": 3, "content": {"message": "to is missing"}},
    {"from": 1}, {"to": []},
    {"sentTime": "now"}, {"content": "text"}, {"content": {"message": {"$file": "/etc/passwd"}}},
    {"content": {"message": {"$bin": "no base64!"}}}, {"messageType": "SignalMsg"}])
@pytest.mark.parametrize("connected", [True, False])
def test_wrong_message(server, quiet, message, connected):
    """It is told at once, and nothing is queued."""
    client, watcher = quiet.client(), quiet.subscriber("OUTBOX")
    if not connected:
        client.call("disconnect")
    refused = client.refused("send", message=message, queue=True)
    assert refused.code == -32602 and refused.error["message"]
    assert client.refused("send", queue=True).code == -32602
    assert entries(quiet) == [] and client.call("status")["queued"] == 0
    watcher.nothing()


def test_longest_expiry_and_id(server, cut):
    client = cut.client()
    queue(client, "ü" * 64, expiresMs=2592000000)
    queue(client, "x" * 128, expiresMs=2592000000)
    found = entries(cut)
    assert [e["messageId"] for e in found] == ["ü" * 64, "x" * 128]
    assert {e["expiresTime"] - e["queuedTime"] for e in found} == {2592000000}
    client.call("connect")
    drained(client)
    assert ids(server) == ["ü" * 64, "x" * 128]


def test_notification_is_queued_and_not_answered(server, cut):
    client = cut.client()
    client.notify("send", {"message": {"messageId": "m", "content": {"message": "x"}}, "queue": True})
    client.notify("send", {"message": {"messageId": 5}, "queue": True})
    client.nothing()
    until(lambda: states(cut) == {"m": "queued"}, "it is queued")
    client.call("connect")
    drained(client)
    client.nothing()
    assert ids(server) == ["m"]


def test_of_a_client_that_leaves_at_once(server, cut):
    client = cut.client()
    for i in range(10):
        put(client, i, f"m{i}")
    client.close()
    until(lambda: list(states(cut)) == [f"m{i}" for i in range(10)], "all are queued")
    cut.client().call("connect")
    drained(cut.client())
    assert ids(server) == [f"m{i}" for i in range(10)]


def test_list(server, cut):
    client = cut.client()
    assert client.call("outbox") == {"entries": []}
    queue(client, "a", "b")
    client.call("connect")
    drained(client)
    client.call("disconnect")
    server.wait("connections", max=0)
    queue(client, "c", "d")
    found = entries(cut)
    assert [(e["messageId"], e["state"], e["attempts"], e.get("code")) for e in found] == [
        ("a", "acked", 1, 0), ("b", "acked", 1, 0), ("c", "queued", 0, None), ("d", "queued", 0, None)]
    for e in found:
        assert list(e) == ["messageId", "state", *(["code"] if e["state"] == "acked" else []), "attempts", "queuedTime",
                           "expiresTime", "changedTime"]
        assert e["queuedTime"] <= e["changedTime"] < e["expiresTime"] == e["queuedTime"] + DAY
        assert entry(client, e["messageId"]) == e
    refused = client.refused("outbox", messageId="nobody")
    assert (refused.code, refused.reason) == (-79, "not_found")


@pytest.mark.parametrize("params", [{"messageId": ""}, {"messageId": 5}, {"messageId": "x" * 129}, {"messageId": None},
                                    {"id": "m"}, {"limit": 5}])
def test_wrong_list(bridge, params):
    refused = bridge.client().refused("outbox", params)
    assert refused.code == -32602 and f'"{list(params)[0]}"' in refused.error["message"]


def test_status_of_many(server, cut):
    client = cut.client()
    for base in range(0, 3000, 500):
        for number in [put(client, i) for i in range(base, base + 500)]:
            assert client.result(number)["state"] == "queued"
    assert client.call("status")["queued"] == client.call("stats")["queued"] == 3000
    assert len(entries(cut)) == 3000


def test_outbox_events_are_only_for_those_who_ask(server, quiet):
    usual, asked, client = quiet.subscriber(), quiet.subscriber("OUTBOX", **{"from": ["nobody"]}), quiet.client()
    seq = client.call("status")["seq"]
    queue(client, "m")
    drained(client)
    assert [asked.event("OUTBOX").params["state"] for _ in range(3)] == ["queued", "sent", "acked"]
    usual.nothing()
    # They have no number, and are in no history; the SENT is.
    assert client.call("status")["seq"] == seq + 1
    assert [e["method"] for e in client.call("history", after=seq)["events"]] == ["SENT"]
