"""Subscribers that read slowly, or not at all, and what the others notice of it: nothing."""

import socket
import time

import pytest

from patience import PATIENCE, SLOW


def read_all(subscriber, last_seq):
    """Reads until last_seq; (seqs that came, [(from, to) of each GAP])."""
    seqs, gaps = [], []
    while not seqs or seqs[-1] < last_seq:
        event = subscriber.event()
        if event.method == "GAP":
            gaps.append((event.params["from"], event.params["to"]))
            assert event.params["reason"]
            if gaps[-1][1] >= last_seq:
                break
        else:
            seqs.append(event.params["seq"])
    return seqs, gaps


def assert_covered(seqs, gaps, first, last):
    """Each number once: delivered, or announced as missing."""
    told = sorted([(seq, seq) for seq in seqs] + gaps)
    at = first
    for low, high in told:
        assert low == at, f"{low} follows {at - 1}; gaps: {gaps}"
        assert high >= low
        at = high + 1
    assert at == last + 1
    assert seqs == sorted(seqs)


def test_one_that_never_reads_holds_up_nobody(server, imd):
    daemon = imd(server.url(), RingSize="1M").connected()
    stalled = [daemon.subscriber() for _ in range(5)]
    reader = daemon.subscriber()
    client = daemon.client()
    for round in range(10):
        # Less than the ring holds, so that the reader, which reads only then, is not behind itself.
        server.do("push_many", count=1000, size=500)
        events = reader.messages(1000)
        assert [e.params["data"]["n"] for e in events] == list(range(1000))
        client.result(client.send(f"round {round}"))
    assert client.call("stats")["subscribers"] == 6
    assert len(stalled) == 5


def test_behind_is_announced_and_then_it_goes_on(server, imd):
    daemon = imd(server.url(), RingSize="64K", History="no").connected()
    slow, reader = daemon.subscriber("MESSAGE"), daemon.subscriber("MESSAGE")
    first = slow.call("status")["seq"] + 1
    count = 8000
    server.do("push_many", count=count, size=200)
    reader_seqs, reader_gaps = read_all(reader, first + count - 1)
    assert_covered(reader_seqs, reader_gaps, first, first + count - 1)
    seqs, gaps = read_all(slow, first + count - 1)
    assert gaps, "64 KiB of ring cannot hold 2 MB"
    assert_covered(seqs, gaps, first, first + count - 1)
    # It goes on as if nothing had been.
    server.push_text("next")
    assert slow.event("MESSAGE").params["seq"] == first + count
    stats = slow.call("stats")
    assert stats["gaps"] >= 1 and stats["drops"] >= sum(high - low + 1 for low, high in gaps)


def test_gap_bytes(server, imd):
    daemon = imd(server.url(), RingSize="64K", History="no").connected()
    slow, reader = daemon.subscriber("MESSAGE"), daemon.subscriber("MESSAGE")
    last = slow.call("status")["seq"] + 8000
    server.do("push_many", count=8000, size=200)
    read_all(reader, last)
    while True:
        event = slow.event()
        if event.method == "GAP":
            break
    p = event.params
    assert event.raw.decode() == ('{"jsonrpc":"2.0","method":"GAP","params":{"from":%d,"to":%d,"reason":"%s"}}\n'
                                  % (p["from"], p["to"], p["reason"]))


def test_filtered_and_behind(server, imd):
    """Of what the filter lets through, nothing is lost without a word."""
    daemon = imd(server.url(), RingSize="64K", History="no").connected()
    slow = daemon.subscriber("MESSAGE", **{"from": ["ann"]})
    reader = daemon.subscriber("MESSAGE", **{"from": ["end"]})
    first = slow.call("status")["seq"] + 1
    for n in range(300):
        server.push_text("a" * 2000, **{"from": "ann" if n % 2 else "bob"})
    server.push_text("end", **{"from": "end"})
    reader.event("MESSAGE")
    server.push_text("last", **{"from": "ann"})
    last = first + 301
    seqs, gaps = read_all(slow, last)
    ann = {first + n for n in range(300) if n % 2} | {last}
    missing = {seq for low, high in gaps for seq in range(low, high + 1)}
    assert set(seqs) | missing >= ann and not set(seqs) & missing and set(seqs) <= ann


def test_stall_timeout(server, imd):
    daemon = imd(server.url(), StallTimeout="300ms").connected()
    stalled, reader = daemon.subscriber(), daemon.subscriber()
    server.do("push_many", count=3000, size=500)
    reader.messages(3000)
    client = daemon.client()
    client.wait_stats(lambda s: s["subscribers"] == 1, "the stalled one is disconnected")
    daemon.wait_log(r"(?i)stall|no progress|does not read|reads nothing")
    stalled.wait_closed()
    # One that has nothing to read is not stalled; the reader is there still.
    server.push_text("still here")
    assert reader.event("MESSAGE").params["data"]["content"]["message"] == "still here"


def test_a_slow_but_steady_reader_is_not_stalled(server, imd):
    daemon = imd(server.url(), StallTimeout=f"{int(500 * SLOW)}ms").connected()
    slow = daemon.client()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.subscribe("MESSAGE")
    server.do("push_many", count=3000, size=500)
    began = time.monotonic()
    for event in range(3000):
        slow.event("MESSAGE")
        if event % 100 == 0 and time.monotonic() - began < 2 * SLOW:
            time.sleep(0.1)
    assert daemon.client().call("stats")["subscribers"] == 1


@pytest.mark.parametrize("method", ["hello", "stats"])
def test_one_that_does_not_read_its_replies(bridge, method):
    """The daemon stops reading its requests; memory stays bounded and nobody else notices."""
    rude, polite = bridge.client(), bridge.client()
    line = rude.request_line(1, method)
    written = 0
    block = line * 500
    deadline = time.monotonic() + PATIENCE
    pending = b""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 0.5 * SLOW:
        assert time.monotonic() < deadline and written < 200 << 20, "it takes requests without end"
        pending = pending or block
        try:
            sent = rude.sock.send(pending)
        except BlockingIOError:
            polite.barrier()
            continue
        written += sent
        pending = pending[sent:]
        quiet_since = time.monotonic()
    # Now it reads: each whole request is answered.
    whole = written // len(line)
    for _ in range(whole):
        assert rude.line(PATIENCE).startswith(b'{"jsonrpc":"2.0","id":1,"result":')
    polite.barrier()
