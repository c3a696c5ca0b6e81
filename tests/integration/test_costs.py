"""What an event, a delivery and a send cost: no allocation, and no system call more than must be.

The numbers are those of the thread of the loop; the store's thread may do as it likes. They are exact, however busy the
machine is: who waits for his lines before he pushes the next message gets each in a turn of its own.
"""

import select
import time

import msgpack
import pytest

from meter import Meter, allocations, calls
from patience import until
from vitals import is_instrumented

pytestmark = pytest.mark.skipif(is_instrumented(), reason="a sanitizer or wrapper has an allocator of its own")

MESSAGES, SENDS, SUBSCRIBERS = 20_000, 9_984, 10
WARM_UP = 200
BURST = 100  # messages in one write of the server's; even one a write, their lines fit into a subscriber's socket
BATCH = 64  # requests in one write of a client's; SENDS is a multiple
JOURNAL_INTERVAL = 0.02  # seconds: imd's, see daemon/hub/journal.h
BATCH_EVENTS_MIN = 500   # a full batch of the journal holds at least so many of these messages
# Nothing that comes by the clock: no ping in the time of a test. And a ring that holds the largest burst.
QUIET = {"PingGap": "10m", "RingSize": "32M"}


@pytest.fixture
def metered(folder, server, imd):
    """metered(Key=value, …) is (a connected daemon, the thread of its loop)."""

    def start(**keys):
        meter = Meter(folder)
        server.do("record", on=False)
        daemon = imd(server.url(), env=meter.env, **{**QUIET, **keys}).connected()
        client = daemon.client()
        client.call("outbox")  # the store answers when it has done all that a start asks of it
        client.wait_stats(lambda stats: stats["clients"] == 1, "those who waited for the start are gone")
        return daemon, meter.thread(daemon.process.pid)

    return start


def message(kind="TxtMsg"):
    data = {"messageType": kind, "conversationType": 0, "from": "ann", "to": "me", "content": {"message": "x" * 100}}
    return msgpack.packb({"code": 0, "data": data, "errMsg": "success!"})


def frame(payload):
    """As a server writes it (RFC 6455, 5.2)."""
    assert 126 <= len(payload) < 1 << 16
    return b"\x82\x7e" + len(payload).to_bytes(2, "big") + payload


def read_lines(clients, count):
    """Until each has got so many lines more, and nothing behind them."""
    left = {client.sock: count for client in clients}
    while left:
        ready = select.select(list(left), [], [], 10)[0]
        assert ready, f"lines that did not come: {list(left.values())}"
        for sock in ready:
            got = sock.recv(1 << 18)
            assert got, "imd has closed the connection"
            left[sock] -= got.count(b"\n")
            assert left[sock] >= 0, f"too many lines: {got[-500:]!r}"
            if left[sock] == 0:
                assert got.endswith(b"\n")
                del left[sock]


HALF = (message("ImgMsg"), message("TxtMsg"))


def push_singly(server, subscribers, count, payloads=(message(),)):
    """Round by round through payloads, of which each subscriber gets the last."""
    for _ in range(count // len(payloads)):
        for payload in payloads:
            server.push(payload)
        read_lines(subscribers, 1)


def push_bursts(server, subscribers, count):
    burst = (frame(message()) * BURST).hex()
    for _ in range(count // BURST):
        server.do("raw", hex=burst)
        read_lines(subscribers, BURST)


def push_all(server, subscribers, count):
    """All that the server has, as fast as it can. Nobody reads before the sockets are full."""
    server.push(message(), count=count)
    server.wait("queued", max=0)
    read_lines(subscribers, count)


def request(message_id=None):
    own = f'"messageId":"{message_id}",' if message_id else ""
    return ('{"jsonrpc":"2.0","id":1,"method":"send","params":{"message":{%s"content":{"message":"%s"}}}}\n'
            % (own, "x" * 100)).encode()


def send_in_turns(server, client, count, outstanding):
    """So many requests in one write, then all their answers."""
    for _ in range(count // outstanding):
        client.write(request() * outstanding)
        read_lines([client], outstanding)


def ack(message_id):
    data = {"messageId": message_id, "content": {"message": "x" * 400}}
    return frame(msgpack.packb({"code": 0, "data": data, "errMsg": "success!"}))


def send_answered_together(server, client, count):
    """So many requests in one write, then all their acks in one write of the server's."""
    sent = server.stats()["frames"]
    for at in range(sent, sent + count, BATCH):
        ids = [f"id-{n}" for n in range(at, at + BATCH)]
        client.write(b"".join(map(request, ids)))
        server.wait("frames", min=at + BATCH)
        server.do("raw", hex=b"".join(map(ack, ids)).hex())
        read_lines([client], BATCH)


# The meter itself


def test_the_meter_sees(metered):
    """What costs something: a client, and what it asks."""
    daemon, loop = metered(History="no")
    before = loop.asleep()
    client = daemon.client()
    client.call("hello")
    cost = loop.asleep() - before
    assert cost["calloc"] == 2 and cost["client_reads"] == cost["client_writes"] == 1
    assert cost["epoll_ctl"] == 1 and cost["getsockopt"] == 1, dict(+cost)
    assert allocations(before)["malloc"] > 10, "the start of a program needs memory"


# Events


def test_pushed_singly(server, metered):
    """All that the loop asks of the kernel for a message: to wait, to read it, to write it to each subscriber once."""
    daemon, loop = metered(History="no")
    subscribers = [daemon.subscriber() for _ in range(SUBSCRIBERS)]
    push_singly(server, subscribers, WARM_UP)
    cost = loop.cost(lambda: push_singly(server, subscribers, MESSAGES))
    assert allocations(cost) == {}
    assert calls(cost) == {"epoll_wait": 2 * MESSAGES, "recv": MESSAGES, "send": SUBSCRIBERS * MESSAGES}


def test_pushed_in_bursts(server, metered):
    """Each read of the server's socket costs a subscriber one write, whatever number of messages it brought."""
    daemon, loop = metered(History="no")
    subscribers = [daemon.subscriber() for _ in range(SUBSCRIBERS)]
    push_bursts(server, subscribers, WARM_UP)
    cost = loop.cost(lambda: push_bursts(server, subscribers, MESSAGES))
    assert allocations(cost) == {}
    assert cost["server_reads"] < MESSAGES / 10
    assert cost["client_writes"] <= SUBSCRIBERS * cost["server_reads"]
    assert cost["epoll_wait"] == 2 * cost["server_reads"]
    assert calls(cost).keys() == {"epoll_wait", "recv", "send"}


def test_pushed_all_at_once(server, metered):
    """Subscribers that do not read at once are written to when the kernel says so."""
    daemon, loop = metered(History="no")
    subscribers = [daemon.subscriber() for _ in range(SUBSCRIBERS)]
    push_all(server, subscribers, MESSAGES)
    cost = loop.cost(lambda: push_all(server, subscribers, MESSAGES))
    assert allocations(cost) == {}
    assert cost["client_writes"] < SUBSCRIBERS * MESSAGES / 10
    assert calls(cost).keys() == {"epoll_wait", "epoll_ctl", "recv", "send"}


def test_filtered(server, metered):
    """What a filter keeps back costs no write."""
    daemon, loop = metered(History="no")
    subscribers = [daemon.subscriber(messageType=["TxtMsg"]) for _ in range(SUBSCRIBERS)]
    push_singly(server, subscribers, WARM_UP, HALF)
    cost = loop.cost(lambda: push_singly(server, subscribers, MESSAGES, HALF))
    assert allocations(cost) == {}
    assert cost["client_writes"] == SUBSCRIBERS * MESSAGES // 2
    assert calls(cost).keys() == {"epoll_wait", "recv", "send"}


PUSHES = {"singly": push_singly, "in bursts": push_bursts, "all at once": push_all}


@pytest.mark.parametrize("push", PUSHES.values(), ids=PUSHES)
def test_history(server, metered, push):
    """The store takes events in batches, one each JOURNAL_INTERVAL or when one is full. Of these the first few are made,
    and what the disk is behind by; the others come back from it."""
    daemon, loop = metered()
    subscribers = [daemon.subscriber() for _ in range(SUBSCRIBERS)]
    push(server, subscribers, MESSAGES if push is push_all else WARM_UP)
    began = time.monotonic()
    cost = loop.cost(lambda: push(server, subscribers, MESSAGES))
    batches = (time.monotonic() - began) / JOURNAL_INTERVAL + MESSAGES / BATCH_EVENTS_MIN
    assert allocations(cost).keys() <= {"malloc", "calloc", "free"}
    assert cost["malloc"] <= batches and cost["free"] <= batches
    assert cost["eventfd_write"] <= batches
    if push is push_singly:
        assert cost["client_writes"] == SUBSCRIBERS * MESSAGES and cost["server_reads"] == MESSAGES


def test_batches_are_recycled(server, metered):
    """While the disk keeps up, the one that there is goes round."""
    daemon, loop = metered()
    subscriber = daemon.subscriber()

    def push_and_store(count):
        for _ in range(count):
            answers = loop.counts()["eventfd_read"]
            push_singly(server, [subscriber], 1)
            until(lambda: loop.counts()["eventfd_read"] > answers, "the store has given the batch back")

    push_and_store(2)
    cost = loop.cost(lambda: push_and_store(10))
    assert allocations(cost) == {}


# Sends


def test_sent_singly(server, metered):
    """Two turns: the request goes out, the answer comes back."""
    daemon, loop = metered(History="no")
    server.mode(ack="self")
    client = daemon.client()
    send_in_turns(server, client, WARM_UP, 1)
    cost = loop.cost(lambda: send_in_turns(server, client, SENDS, 1))
    assert allocations(cost) == {}
    random = calls(cost).pop("getrandom")
    assert random < SENDS / 16, "randomness, for ids and masks, is had in large portions"
    assert calls(cost) == {"epoll_wait": 4 * SENDS, "recvmsg": SENDS, "recv": SENDS, "send": 2 * SENDS,
                           "getrandom": random}
    assert cost["server_writes"] == cost["client_writes"] == SENDS


def test_sent_together(server, metered):
    """All that a turn brings goes out in one write, and what the server answers at a time in another."""
    daemon, loop = metered(History="no")
    server.mode(ack="swallow")
    client = daemon.client()
    send_answered_together(server, client, 4 * BATCH)
    cost = loop.cost(lambda: send_answered_together(server, client, SENDS))
    turns = SENDS // BATCH
    assert allocations(cost) == {}
    assert cost["server_writes"] <= cost["client_reads"] < 2 * turns
    assert cost["client_writes"] <= cost["server_reads"] < 2 * turns
    assert calls(cost).keys() == {"epoll_wait", "recvmsg", "recv", "send", "getrandom"}


def test_many_outstanding(server, metered):
    """Answered one by one, as fast as the server can."""
    daemon, loop = metered(History="no")
    client = daemon.client()
    server.mode(ack="swallow")
    send_answered_together(server, client, 4 * BATCH)  # the largest reply that there will be
    server.mode(ack="self")
    cost = loop.cost(lambda: send_in_turns(server, client, SENDS, BATCH))
    assert allocations(cost) == {}
    assert cost["server_writes"] <= cost["client_reads"] < 2 * SENDS / BATCH
    assert cost["client_writes"] <= cost["server_reads"]
