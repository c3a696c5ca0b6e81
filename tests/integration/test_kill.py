"""kill -9 at any moment, again and again, over one state folder: what was promised before is kept after.

What holds, and is tested here:
- A message that was answered `queued` reaches the server, at least once, under the one messageId that was told.
- An event is durable once the commit that it is in has ended; that is soon after, not before, it is delivered. What a
  subscriber saw is in the history with the same number and bytes, or its number is in the GAP "crash" that the next
  start writes: from the first number that is not durable, to the last that can have been given. No number is given twice.
- A consumer gets every number once from the one that it acked last: no gap but that GAP, and no repeat of what an
  answered ack covers.
"""

import json
import os
import random
import select
import socket
import time

import pytest

from patience import PATIENCE, SLOW, until
from vitals import is_instrumented

ROUNDS = int(os.environ.get("IMD_KILL_ROUNDS", "10" if is_instrumented() else "100"))
CONSUMED = ["MESSAGE", "SENT"]


class Wire:
    """A connection that is written and read without ever waiting; what came before the end is kept."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.out, self.buffer, self.number, self.ended = b"", b"", 0, False

    def ask(self, method, params):
        self.number += 1
        line = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}
        self.out += json.dumps(line).encode() + b"\n"
        return self.number

    def write(self):
        try:
            while self.out:
                self.out = self.out[self.sock.send(self.out):]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self.out = b""

    def lines(self):
        """All whole lines that are there now."""
        while not self.ended:
            try:
                got = self.sock.recv(1 << 18)
            except BlockingIOError:
                break
            except ConnectionResetError:
                got = b""
            self.ended = not got
            self.buffer += got
        *lines, self.buffer = self.buffer.split(b"\n")
        return [line + b"\n" for line in lines]


class Producer(Wire):
    """Queues numbered messages, a few at a time."""

    def __init__(self, path, book):
        super().__init__(path)
        self.book, self.asked = book, {}

    def move(self):
        while len(self.asked) < 20:
            name = f"q{self.book.next}"
            self.book.next += 1
            message = {"messageId": name, "content": {"message": name}}
            self.asked[self.ask("send", {"message": message, "queue": True})] = name
        self.write()
        self.take()

    def take(self):
        for line in self.lines():
            reply = json.loads(line)
            name = self.asked.pop(reply["id"])
            assert reply["result"] == {"messageId": name, "state": "queued"}, reply
            self.book.queued.add(name)


class Subscriber(Wire):
    """Keeps the bytes of all that it sees."""

    def __init__(self, path, book):
        super().__init__(path)
        self.book = book
        self.ask("subscribe", {"events": CONSUMED})

    def move(self):
        self.write()
        self.take()

    def take(self):
        for line in self.lines():
            event = json.loads(line)
            if "method" in event:
                seq = event["params"]["seq"]
                assert self.book.seen.setdefault(seq, line) == line, f"number {seq} was given twice"


class Consumer(Wire):
    """Follows the numbers, and acks now and then."""

    def __init__(self, path, book, rng):
        super().__init__(path)
        self.book, self.rng, self.acks, self.at = book, rng, {}, None
        self.ask("subscribe", {"events": CONSUMED, "consumer": "c"})

    def move(self):
        self.write()
        self.take()
        if self.at is not None and self.at > self.book.acked and self.rng.random() < 0.3:
            self.acks[self.ask("ack", {"seq": self.at})] = self.at
            self.book.ack_sent = max(self.book.ack_sent, self.at)
            self.write()

    def take(self):
        for line in self.lines():
            value = json.loads(line)
            if value.get("method") == "GAP":
                self.follow(value["params"]["from"], value["params"]["to"], value["params"]["reason"])
            elif "method" in value:
                self.follow(value["params"]["seq"], value["params"]["seq"], None)
                assert self.book.seen.setdefault(self.at, line) == line, f"number {self.at} was given twice"
            elif value["id"] == 1:
                self.at = value["result"]["seq"]
                if not self.book.begun:  # a new one begins now, wherever that is
                    self.book.begun = True
                    self.book.acked = self.book.ack_sent = self.at
                assert self.book.acked <= self.at <= self.book.ack_sent, "it begins where nobody acked"
            else:
                assert "result" in value, value
                self.book.acked = max(self.book.acked, self.acks.pop(value["id"]))

    def follow(self, low, high, reason):
        assert low == self.at + 1, f"{low} follows {self.at}"
        if reason:
            assert reason == "crash", reason
            self.book.gaps_told.add((low, high))
        self.at = high


class Book:
    """What was promised, over all rounds."""

    def __init__(self):
        self.next = 0
        self.queued, self.seen, self.gaps_told = set(), {}, set()
        self.acked = self.ack_sent = 0
        self.begun = False  # the consumer is known to imd
        self.checked = 0  # the history up to this number has been compared


def load(daemon, server, book, rng):
    """Until a random moment; then the kill, and what is still in the sockets."""
    programs = [Producer(daemon.socket_path, book), Subscriber(daemon.socket_path, book),
                Consumer(daemon.socket_path, book, rng)]
    end = time.monotonic() + rng.uniform(0.0, 0.25) * min(SLOW, 3)
    while time.monotonic() < end:
        for program in programs:
            program.move()
        if rng.random() < 0.5:
            server.do("push_many", count=rng.randrange(1, 200), size=rng.randrange(1, 400))
        select.select([p.sock for p in programs], [], [], 0.005)
    daemon.crash()
    for program in programs:
        program.take()
        program.sock.close()


def history(client, after):
    """All lines behind a number, by their last number; GAPs too."""
    while True:
        result = client.call("history", after=after, limit=10000)
        for event in result["events"]:
            p = event["params"]
            after = p["to"] if event["method"] == "GAP" else p["seq"]
            yield event
        if not result["more"]:
            return


def compare(client, book):
    """The history against what was seen since it was compared last."""
    kept, crashed = {}, []
    for event in history(client, book.checked):
        p = event["params"]
        if event["method"] == "GAP":
            assert p["reason"] == "crash", event
            crashed.append((p["from"], p["to"]))
        else:
            kept[p["seq"]] = event
    for seq, line in book.seen.items():
        if seq <= book.checked:
            continue
        if seq in kept:
            assert kept[seq] == json.loads(line), f"number {seq} is another event now"
        else:
            assert any(low <= seq <= high for low, high in crashed), f"number {seq} is neither kept nor in a GAP"
    numbers = sorted([(seq, seq) for seq in kept] + crashed)
    for (_, high), (low, _) in zip(numbers, numbers[1:]):
        assert low == high + 1, f"{low} follows {high} in the history"
    for low, high in book.gaps_told:
        assert not any(low <= seq <= high for seq in kept), "a GAP told that an event is lost which is there"
    if numbers:
        book.checked = numbers[-1][1]
    return len(kept)


@pytest.mark.limit(60 + 3 * ROUNDS)
def test_kill(server, imd_of):
    rng = random.Random(os.environ.get("IMD_KILL_SEED", "4711"))
    daemon = imd_of(server.url(), HistoryMaxSize="1G", OutboxWindow="8", AckTimeout="1s")
    book, kept = Book(), 0
    server.do("record", on=True)
    arrived = {}
    for round in range(ROUNDS):
        daemon.start().connected()
        client = daemon.client()
        kept += compare(client, book)
        client.close()
        load(daemon, server, book, rng)
        for message in server.messages(type="TxtMsg", clear=True):
            arrived.setdefault(message["content"]["message"], set()).add(message["messageId"])
    daemon.start().connected()
    client = daemon.client()
    client.wait_status(lambda s: s["queued"] == 0, "the outbox is empty", 60 * SLOW)
    for message in server.messages(type="TxtMsg", clear=True):
        arrived.setdefault(message["content"]["message"], set()).add(message["messageId"])
    kept += compare(client, book)
    assert book.queued <= arrived.keys(), f"lost: {sorted(book.queued - arrived.keys())[:10]}"
    assert all(ids == {name} for name, ids in arrived.items()), "a message has two messageIds"
    states = {entry["state"] for entry in client.call("outbox")["entries"]}
    assert states <= {"acked"}, states
    print(f"{ROUNDS} kills: {len(book.queued)} messages queued and delivered, {len(book.seen)} events seen, "
          f"{kept} kept, acked to {book.acked}")
