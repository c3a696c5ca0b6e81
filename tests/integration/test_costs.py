"""What an event, a delivery and a send cost: no allocation, and no system call more than must be.

The numbers are those of the thread of the loop; the store's thread may do as it likes. They are exact, however busy the
machine is: who waits for his lines before he pushes the next message gets each in a turn of its own.
"""

import select

import msgpack
import pytest

from meter import Meter, allocations, calls
from vitals import is_instrumented

pytestmark = pytest.mark.skipif(is_instrumented(), reason="a sanitizer or wrapper has an allocator of its own")

MESSAGES, SENDS, SUBSCRIBERS = 20_000, 10_000, 10
WARM_UP = 200
BURST = 100  # messages in one write of the server's; their lines fit into a subscriber's socket, even one a write
BATCH = 64   # requests in one write of a client's
# Nothing that comes by the clock: no ping in the time of a test. And a ring that holds the largest burst.
QUIET = {"PingGap": "10m", "RingSize": "32M"}


@pytest.fixture
def metered(folder, server, imd):
    """metered(Key=value, …) is (a connected daemon, the thread of its loop)."""

    def start(**keys):
        meter = Meter(folder)
        server.do("record", on=False)
        daemon = imd(server.url(), env=meter.env, **{**QUIET, **keys}).connected()
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


def request(text="x" * 100):
    return b'{"jsonrpc":"2.0","id":1,"method":"send","params":{"message":{"content":{"message":"%s"}}}}\n' % text.encode()


def send(client, count, outstanding):
    """In turns: so many requests in one write, then all their answers."""
    for _ in range(count // outstanding):
        client.write(request() * outstanding)
        read_lines([client], outstanding)


# The meter itself


def test_the_meter_sees(metered):
    """What costs something: a client, and what it asks."""
    daemon, loop = metered(History="no")
    before = loop.asleep()
    client = daemon.client()
    client.call("hello")
    cost = loop.asleep() - before
    assert cost["calloc"] == 1 and cost["client_reads"] == cost["client_writes"] == 1
    assert cost["epoll_ctl"] == 1 and cost["getsockopt"] == 1
    assert allocations(before)["malloc"] > 10, "the start of a program needs memory"


# Allocations


PUSHES = {"singly": push_singly, "in bursts": push_bursts, "all at once": push_all}


@pytest.mark.parametrize("push", PUSHES.values(), ids=PUSHES)
def test_an_event_costs_no_allocation(server, metered, push):
    daemon, loop = metered(History="no")
    subscribers = [daemon.subscriber() for _ in range(SUBSCRIBERS)]
    push(server, subscribers, MESSAGES if push is push_all else WARM_UP)
    cost = loop.cost(lambda: push(server, subscribers, MESSAGES))
    print(dict(+cost))
    assert allocations(cost) == {}


