"""Connections outlive the process: whoever is connected goes on reading, however imd ends."""

import fcntl
import json
import os
import random
import select
import signal
import struct
import termios
import threading

import pytest

from client import Client
from keeper import Keeper
from patience import PATIENCE, until

HOWS = [signal.SIGTERM, signal.SIGKILL]


@pytest.fixture
def managed(folder, imd_of, server):
    """managed(Key=value, …): a manager that has started imd, which is connected."""
    made = []

    def make(keeps=True, **keys):
        manager = Keeper(folder, imd_of(server.url(), **keys), keeps)
        made.append(manager)
        manager.start()
        wait_connected(manager)
        return manager

    yield make
    for manager in made:
        manager.daemon.stop()
        manager.stop()


def wait_connected(manager):
    client = manager.client()
    client.wait_status(lambda s: s["state"] == "connected", "connected")
    client.close()


def wait_seq(manager, seq):
    client = manager.client()
    client.wait_status(lambda s: s["seq"] >= seq, f"event {seq} is there")
    client.close()


def seqs(events):
    return [e.params["seq"] for e in events]


@pytest.mark.parametrize("how", HOWS)
def test_a_subscriber_goes_on(managed, server, how):
    manager = managed()
    client = manager.client()
    client.subscribe("MESSAGE")
    manager.wait_kept(1)
    server.push_text("one")
    first = client.event("MESSAGE")
    manager.restart(how)
    wait_connected(manager)
    server.push_text("two")
    second = client.event("MESSAGE")
    assert second.params["seq"] == first.params["seq"] + 1
    assert client.call("hello")
    client.close()
    manager.wait_kept(0)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("history", ["yes", "no"])
def test_a_slow_reader_goes_on_in_the_middle_of_a_line(managed, server, how, history):
    """Lines of every length, of which its socket holds a part only."""
    manager = managed(History=history)
    client = manager.client()
    client.subscribe("MESSAGE")
    lengths = [10, 300_000, 20, 5_000_000, 30]
    for length in lengths:
        server.push_text("x" * length)
    wait_seq(manager, len(lengths))
    manager.restart(how)
    events = client.messages(len(lengths))
    assert [len(e.params["data"]["content"]["message"]) for e in events] == lengths
    assert seqs(events) == list(range(events[0].params["seq"], events[0].params["seq"] + len(lengths)))


@pytest.mark.parametrize("how", HOWS)
def test_a_consumer_stays_what_it_is(managed, server, how):
    manager = managed()
    client = manager.client()
    client.call("subscribe", {"events": ["MESSAGE"], "consumer": "deploy", "filter": {"from": ["ann"]}})
    server.push_text("one")
    server.push_text("not for it", **{"from": "bob"})
    first = client.event("MESSAGE")
    manager.restart(how)
    wait_connected(manager)
    other = manager.client()
    assert other.refused("subscribe", {"consumer": "deploy"}).reason == "conflict"
    client.call("ack", {"seq": first.params["seq"]})
    server.push_text("not for it either", **{"from": "bob"})
    server.push_text("two")
    assert client.event("MESSAGE").params["data"]["content"]["message"] == "two"
    client.close()
    until(lambda: other.call("stats")["subscribers"] == 0, "it has gone")
    again = other.call("subscribe", {"consumer": "deploy"})
    assert again["seq"] == first.params["seq"]


@pytest.mark.parametrize("how", HOWS)
def test_an_unfinished_line_is_finished_later(managed, how):
    manager = managed()
    client = manager.client()
    client.call("hello")
    line = Client.request_line(77, "status", None)
    client.write(line[:20])
    manager.wait_kept(1)
    until(lambda: unread(client.sock) == 0, "imd has read it")
    manager.restart(how)
    client.write(line[20:])
    assert client.result(77)["state"]


def unread(sock):
    """What was written to it and not read at the other end."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0]


@pytest.mark.parametrize("how", HOWS)
def test_who_waits_for_the_server_is_told_unknown(managed, server, how):
    manager = managed(AckTimeout="300ms" if how == signal.SIGTERM else "1h")
    server.mode(ack="swallow")
    client = manager.client()
    numbers = [client.send(f"{n}", messageId=f"id-{n}") for n in range(3)]
    server.wait_frames(3)
    manager.wait_kept(1)
    manager.restart(how)
    for n, number in enumerate(numbers):
        error = client.refusal(number)
        assert error.reason == "unknown" and error.data["messageId"] == f"id-{n}"
    wait_connected(manager)
    server.mode(ack="echo")
    assert client.result(client.send("again"))["code"] == 0


def test_what_was_asked_meanwhile_is_done_by_the_next(managed, server):
    """Also for who has not waited for it."""
    manager = managed()
    stays, goes = manager.client(), manager.client()
    manager.wait_kept(2)
    manager.end(signal.SIGKILL)
    number = stays.request("hello")
    goes.notify("send", {"message": {"messageId": "left", "content": {"message": "left"}}, "queue": True})
    goes.close()
    manager.start()
    assert stays.result(number)
    server.wait_frames(1)
    assert server.messages()[0]["messageId"] == "left"
    manager.wait_kept(1)


@pytest.mark.parametrize("how", HOWS)
def test_descriptors_of_a_request_that_was_not_begun_are_missed(managed, server, how, folder):
    """Files that were passed are gone with the process; the request is not done without them."""
    manager = managed(AckTimeout="1h")
    client = manager.client()
    path = os.path.join(folder, "file")
    with open(path, "wb") as f:
        f.write(b"bytes")
    with open(path, "rb") as f:
        line = Client.request_line(5, "send", {"message": {"content": {"message": {"$fd": 0}}}})
        client.write_with(line[:-1], [f.fileno()])
    manager.wait_kept(1)
    until(lambda: unread(client.sock) == 0, "imd has read it")
    manager.restart(how)
    wait_connected(manager)
    client.write(b"\n")
    error = client.refusal(5)
    assert error.reason == "busy" and error.data["limit"] == "file descriptors"


def test_a_smaller_ring_takes_over_what_it_can(managed, server):
    manager = managed(RingSize="1M")
    client = manager.client()
    client.subscribe("MESSAGE")
    for _ in range(30):
        server.push_text("x" * 30_000)
    wait_seq(manager, 30)
    manager.daemon.configure(server.url(), RingSize="64K")
    manager.restart(signal.SIGKILL)
    events = client.messages(30)
    assert seqs(events) == list(range(events[0].params["seq"], events[0].params["seq"] + 30))


def test_without_a_manager_that_keeps_a_restart_closes(managed, server):
    manager = managed(keeps=False)
    client = manager.client()
    client.subscribe("MESSAGE")
    manager.restart()
    client.wait_closed()
    assert manager.client().call("hello")


@pytest.mark.parametrize("content", [b"", b"imdarena" + b"\xff" * 5000, random.Random(1).randbytes(100_000)],
                         ids=["empty", "headed", "random"])
def test_memory_that_is_none_costs_connections_only(managed, content):
    manager = managed()
    client = manager.client()
    client.call("hello")
    manager.wait_kept(1)
    manager.end(signal.SIGKILL)
    [memory] = [name for name in manager.names if name.startswith("imd-memory-")]
    fd = manager.kept[memory][0]
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)
    manager.start()
    client.wait_closed()
    assert manager.client().call("hello")
    until(lambda: memory not in manager.names and manager.connections() == [], "they are not kept any longer")


def test_memory_that_ends_processes_is_given_up(managed, imd_of):
    """What the memory holds may be what a process dies of: it is not tried for ever."""
    manager = managed()
    client = manager.client()
    client.call("hello")
    manager.wait_kept(1)
    manager.end(signal.SIGKILL)
    [memory] = [name for name in manager.names if name.startswith("imd-memory-")]
    opened = 12  # where the arena's head counts this
    for tries in range(3):
        assert os.pread(manager.kept[memory][0], 4, opened) == tries.to_bytes(4, "little")
        os.pwrite(manager.kept[memory][0], (tries + 1).to_bytes(4, "little"), opened)
    manager.start()
    client.wait_closed()
    assert "connections are not taken over" in manager.daemon.log()


# Under load


class Listener:
    """A program that takes every byte, now and then slowly, and looks at the lines at the end."""

    def __init__(self, manager, pace, **params):
        self.client = manager.client()
        self.from_seq = self.client.call("subscribe", params)["seq"]
        self.pace = pace  # bytes that it reads at a time; None: all there is
        self.senders = params.get("filter", {}).get("from")
        self.raw = bytearray()

    def read(self):
        """False: nothing was there."""
        if not select.select([self.client.sock], [], [], 0)[0]:
            return False
        got = self.client.sock.recv(self.pace or 1 << 18)
        assert got, f"the connection was closed after {self.raw[-300:]!r}"
        self.raw += got
        return True

    def lines(self):
        assert self.raw.endswith(b"\n") or not self.raw, f"a torn line: {self.raw[-300:]!r}"
        return [json.loads(line) for line in self.raw.splitlines()]

    def has_all(self):
        return self.raw.find(b'"the last for some"' if self.senders else b'"the last"', max(0, len(self.raw) - 10_000)) >= 0


class Asker:
    """A program that asks all kinds of things, many at a time, and counts the answers."""

    def __init__(self, manager, seed):
        self.client = manager.client()
        self.random = random.Random(seed)
        self.asked = 0
        self.waiting = set()
        self.twice = []
        self.outcomes = {}

    def ask(self):
        number = self.asked
        method, params = self.random.choice([
            ("hello", None), ("status", None), ("send", {"message": {"content": {"message": f"{number}"}}}),
            ("send", {"message": {"content": {"message": "q" * self.random.choice([1, 3000])}}, "queue": True}),
            ("history", {"limit": 5}), ("outbox", {"messageId": "none"})])
        line = Client.request_line(number, method, params)
        self.asked += 1
        self.waiting.add(number)
        cut = self.random.randrange(len(line))
        self.client.write(line[:cut])
        self.client.write(line[cut:])

    def take(self):
        while select.select([self.client.sock], [], [], 0)[0]:
            got = self.client.sock.recv(1 << 18)
            assert got, "the connection was closed"
            self.client.buffer += got
        while b"\n" in self.client.buffer:
            reply = json.loads(self.client.line())
            number = reply["id"]
            if number not in self.waiting:
                self.twice.append(reply)
            self.waiting.discard(number)
            outcome = reply["error"]["data"]["reason"] if "error" in reply else "ok"
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class Traffic:
    """What the server pushes, in a thread of its own, as long as it is wanted."""

    def __init__(self, server):
        self.server = server
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        number = 0
        while not self.over.wait(0.002):
            for _ in range(4):
                number += 1
                length = 150_000 if number % 97 == 0 else number * 37 % 3000
                self.server.push_text(f"{number} " + "x" * length, **{"from": f"user{number % 3}"})

    def stop(self):
        self.over.set()
        self.thread.join()


def serve(listeners, askers, seconds):
    """Lets everybody read and ask for about so long."""
    turns = max(1, int(seconds / 0.005))
    for turn in range(turns):
        for asker in askers:
            if len(asker.waiting) < 40:
                asker.ask()
            asker.take()
        for listener in listeners:
            if listener.pace is None or turn % 3 == 0:
                listener.read()
        select.select([], [], [], 0.004)


@pytest.mark.limit(120)
@pytest.mark.parametrize("seed", [int(seed) for seed in os.environ.get("IMD_TEST_SEEDS", "1 2").split()])
def test_under_load(managed, server, seed):
    """Kills and restarts at any moment: each listener has each event once, each request has one answer."""
    chance = random.Random(seed)
    manager = managed(RingSize="64K", AckTimeout="2s")
    listeners = [Listener(manager, chance.choice([None, None, 7, 700, 5000]), **chance.choice([
        {}, {"events": ["MESSAGE"]}, {"events": ["MESSAGE", "STATUS", "SENT", "OUTBOX"]}, {"filter": {"from": ["user1"]}}]))
        for _ in range(50)]
    askers = [Asker(manager, seed + n) for n in range(5)]
    manager.wait_kept(55)
    traffic = Traffic(server)
    try:
        for _ in range(6):
            serve(listeners, askers, chance.uniform(0.05, 0.5))
            manager.restart(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
    finally:
        traffic.stop()
    wait_connected(manager)
    server.push_text("the last for some", **{"from": "user1"})
    server.push_text("the last", **{"from": "user0"})
    judge(manager, listeners, askers)


def settle(askers, listeners):
    def done():
        for listener in listeners:
            listener.read()
        for asker in askers:
            asker.take()
        return all(listener.has_all() for listener in listeners) and not any(asker.waiting for asker in askers)
    until(done, "every request is answered and every listener has read all", 3 * PATIENCE)
    for listener in listeners:
        while listener.read():
            pass


def stored(client):
    """seq -> event, all that the history has."""
    found, after = {}, 0
    while True:
        page = client.call("history", {"after": after, "limit": 1000})
        for event in page["events"]:
            found[event["params"]["seq"] if "seq" in event["params"] else event["params"]["from"]] = event
            after = event["params"].get("seq", event["params"].get("to"))
        if not page["more"]:
            return found


def judge(manager, listeners, askers):
    client = manager.client()
    for listener in listeners:
        listener.pace = None
    settle(askers, listeners)
    history = stored(client)
    assert not [e for e in history.values() if e["method"] == "GAP"], "events are missing in the history"
    for listener in listeners:
        lines = listener.lines()
        gaps = [line for line in lines if line.get("method") == "GAP" and line["params"].get("reason") != "outbox"]
        assert not gaps, gaps
        got = [line["params"]["seq"] for line in lines if line.get("method") == "MESSAGE"]
        wanted = [seq for seq, e in history.items() if e["method"] == "MESSAGE" and seq > listener.from_seq and
                  (not listener.senders or e["params"]["data"].get("from") in listener.senders)]
        assert got == sorted(wanted)
        assert [line for line in lines if line.get("method") == "MESSAGE"] == [history[seq] for seq in got]
    for asker in askers:
        assert not asker.twice, f"answered twice: {asker.twice}"
        assert not asker.waiting
        print(asker.outcomes)
    for one in [*listeners, *askers]:
        one.client.close()
    client.close()
