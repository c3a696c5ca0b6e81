"""
Anything in any order, from a seed, for a few seconds: first local programs and the server against a running daemon, then
what the session can meet while it is told to connect, to reload and to end. What must hold is said once, in the checks.
"""

import collections
import json
import random
import signal
import socket
import time

import pytest

from client import Closed
from daemon import GRACE
from patience import PATIENCE, SLOW, until
from vitals import descriptors, processor_seconds

TEXTS = ["x", "y" * 1000, "z" * 30_000]
STEPS = 3000
SECONDS = 3


# ---- Local programs ----

class Program:
    """A local program that writes and reads what it likes, when it likes, in pieces."""

    def __init__(self, path, rng):
        self.rng = rng
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.outgoing, self.incoming = bytearray(), bytearray()
        self.piece = rng.choice([100, 4096, 65_536, 1 << 20])  # that it reads at once
        self.reading = rng.random() < 0.8
        self.half_closed = self.ended = False
        self.methods = {}  # of the requests, by id
        self.answers = collections.Counter()
        self.nulls_due = 0  # answers without an id
        self.gets_all = False  # it subscribed once, to all events
        self.subscribed = False
        self.seq = 0

    def ask(self, method, params=None, answer=True):
        line = {"jsonrpc": "2.0", "method": method}
        if answer:
            line["id"] = len(self.methods) + 1
            self.methods[line["id"]] = method
        if params is not None:
            line["params"] = params
        self.outgoing += json.dumps(line).encode() + b"\n"

    # What it may do

    def ask_something(self):
        for _ in range(self.rng.choice([1, 1, 10, 300])):
            self.ask(self.rng.choice(["hello", "status", "stats", "nonsense"]))

    def send(self):
        for _ in range(self.rng.choice([1, 5, 100])):
            params = {"message": {"content": {"message": self.rng.choice(TEXTS)}}}
            if self.rng.random() < 0.5:
                params["timeoutMs"] = self.rng.choice([1, 50, 1000])
            self.ask("send", params, self.rng.random() < 0.9)

    def subscribe_to_all(self):
        if not self.methods:
            self.gets_all = True
            self.ask("subscribe", {"events": ["MESSAGE", "SENT", "STATUS"]})

    def subscribe(self):
        if not self.gets_all:
            self.ask("subscribe", {"filter": {"from": [self.rng.choice(["ann", "load"])]}})

    def subscribe_again(self):
        if self.subscribed and self.gets_all:
            self.ask("subscribe", {"events": ["MESSAGE", "SENT", "STATUS"]})

    def unsubscribe(self):
        if not self.gets_all:
            self.ask("unsubscribe")

    def talk_nonsense(self):
        self.outgoing += self.rng.choice([b"garbage\n", b"[" * 300 + b"\n", b'{"jsonrpc":"2.0","method":"hello"'
                                          + b" " * 3_000_000 + b"}\n"])
        self.nulls_due += 1

    def steer(self):
        self.ask(self.rng.choice(["connect", "disconnect", "reconnect"]))

    def read_or_not(self):
        self.reading = not self.reading

    def half_close(self):
        if not self.outgoing:
            self.half_closed = True
            self.sock.shutdown(socket.SHUT_WR)

    ACTIONS = {ask_something: 25, send: 25, subscribe_to_all: 10, subscribe: 5, subscribe_again: 5, unsubscribe: 3,
               talk_nonsense: 3, steer: 1, read_or_not: 4, half_close: 1, lambda self: None: 20}

    def act(self):
        if not self.half_closed:
            self.rng.choices(list(self.ACTIONS), list(self.ACTIONS.values()))[0](self)

    # Bytes

    def write(self, size):
        try:
            if self.outgoing:
                del self.outgoing[:self.sock.send(self.outgoing[:size])]
        except BlockingIOError:
            pass

    def read(self, size):
        """Whether there was something."""
        try:
            got = self.sock.recv(size)
        except BlockingIOError:
            return False
        self.incoming += got
        self.ended = not got
        assert got or not self.incoming, f"cut off in a line: {bytes(self.incoming[-200:])}"
        *lines, self.incoming = self.incoming.split(b"\n")
        for line in lines:
            self.take(json.loads(line))
        return bool(got)

    def move(self):
        self.write(self.rng.choice([1, 7, 1000, 100_000]))
        if self.reading:
            self.read(self.piece)

    def take(self, line):
        if "id" in line:
            self.take_answer(line)
        elif line["method"] == "GAP":
            self.take_events(line["params"]["from"], line["params"]["to"])
        elif line["method"] != "STATUS":
            self.take_events(line["params"]["seq"], line["params"]["seq"])

    def take_answer(self, line):
        self.answers[line["id"]] += 1
        if self.methods.get(line["id"]) == "subscribe" and not self.subscribed:
            self.seq = line["result"]["seq"]
            self.subscribed = True

    def take_events(self, first, last):
        if self.gets_all:
            assert first == self.seq + 1 and last >= first, f"{first} … {last} after {self.seq}"
            self.seq = last

    def is_answered(self):
        return not self.outgoing and sum(self.answers.values()) >= len(self.methods) + self.nulls_due

    def check(self, seq):
        """Each request was answered once; who asked for all events knows of the last one."""
        wrong = {number: (method, self.answers[number]) for number, method in self.methods.items()
                 if self.answers[number] != 1}
        assert not wrong, f"answers to {len(wrong)} of {len(self.methods)} requests: {list(wrong.items())[:5]}"
        assert self.answers[None] == self.nulls_due
        assert not self.subscribed or not self.gets_all or self.seq == seq


class Chaos:
    def __init__(self, daemon, server, rng):
        self.daemon, self.server, self.rng = daemon, server, rng
        self.programs = []

    def shake_server(self):
        rng, ask = self.rng, self.server.ask
        actions = {
            lambda: ask("push_many", count=rng.choice([1, 50, 2000]), size=rng.choice([10, 500])): 20,
            lambda: self.server.push_text("t" * rng.choice([1, 100_000])): 10,
            lambda: ask("drop", rst=rng.random() < 0.5): 5,
            lambda: self.server.mode(ack=rng.choice(["echo", "self", "swallow", "reject", "duplicate", "delay"])): 5,
            lambda: ask("push_big", size=rng.choice([100_000, 1_000_000]), fragments=3): 2,
            lambda: ask("close", code=1001): 2,
            lambda: ask("push", hex="82a4"): 2,
            lambda: ask("stop_reading"): 1,
            lambda: ask("start_reading"): 8,
            lambda: self.server.push({"code": 0, "data": {"messageType": "SignalMsg", "signalName": "bye"}}): 1,
            lambda: ask("stop_listening"): 2,
            lambda: ask("start_listening"): 5,
            lambda: self.daemon.process.signal(signal.SIGHUP): 1,
            lambda: None: 900}
        rng.choices(list(actions), list(actions.values()))[0]()

    def step(self):
        rng = self.rng
        if len(self.programs) < 40 and rng.random() < 0.2:
            self.programs.append(Program(self.daemon.socket_path, rng))
        if not self.programs:
            return
        program = rng.choice(self.programs)
        program.act()
        if rng.random() < 0.02:
            self.programs.remove(program)
            program.sock.close()
        self.shake_server()
        for program in rng.sample(self.programs, min(5, len(self.programs))):
            program.move()
            assert not program.ended or program.half_closed, "the daemon has closed a connection"
            if program.ended:  # all was answered that it asked for
                self.programs.remove(program)
                program.check(program.seq)
                program.sock.close()

    def mend(self):
        self.server.do("start_reading")
        self.server.do("start_listening")
        self.server.mode(ack="echo")

    def all_answered(self):
        """Everybody writes and reads what there is."""
        for program in self.programs:
            program.write(1 << 20)
            while not program.ended and program.read(1 << 20):
                pass
        return all(program.is_answered() for program in self.programs)

    def last_seq(self, watcher):
        """Once everybody who asked for all events has come to the last one: its seq."""
        self.all_answered()
        seq = watcher.call("status")["seq"]
        return seq if all(p.seq == seq for p in self.programs if p.subscribed and p.gets_all) else None


@pytest.mark.parametrize("seed", range(3))
def test_programs_and_a_server_that_do_anything(server, imd, seed):
    rng = random.Random(seed)
    keys = dict(RingSize=["64K", "256K", "8M"][seed % 3], MaxPending=rng.choice(["50", "4096"]), AckTimeout="1s",
                PingGap=f"{int(500 * SLOW)}ms", MaxMessage="4M", DisconnectSignals="bye")
    daemon = imd(server.url(), **keys).connected()
    watcher, pid = daemon.client(), daemon.process.pid
    watcher.wait_stats(lambda s: s["clients"] == 1, "the harness' own client is gone")
    base = descriptors(pid)
    chaos = Chaos(daemon, server, rng)
    end = time.monotonic() + SECONDS * SLOW
    for _ in range(STEPS):
        chaos.step()
        if time.monotonic() > end:
            break
    chaos.mend()
    until(chaos.all_answered, "each request is answered", 2 * PATIENCE)
    watcher.call("connect")
    watcher.wait_status(lambda s: s["state"] == "connected", "it is connected again")
    watcher.call("send", {"message": {"content": {"message": "still at work"}}, "timeoutMs": int(PATIENCE * 1000)})
    seq = until(lambda: chaos.last_seq(watcher), "each event has come, or is announced as missing")
    for program in chaos.programs:
        program.check(seq)
        program.sock.close()
    watcher.wait_stats(lambda s: s["clients"] == 1, "all have left")
    until(lambda: descriptors(pid) == base, "their descriptors are closed")


# ---- The session ----

class Session:
    """One daemon, two servers, and everything that can befall the link between them."""

    KEYS = {"MaxMessage": "100K"}

    def __init__(self, servers, rng):
        self.servers, self.rng = servers, rng
        self.numbers = []
        self.daemon = self.client = None

    def url(self, names):
        return self.rng.choice(self.servers).url(host=self.rng.choice(names))

    def reload(self, url, **keys):
        self.daemon.configure(url, **self.KEYS, **keys)
        self.daemon.process.signal(signal.SIGHUP)

    def spoil_servers(self):
        rng = self.rng
        for server in self.servers:
            server.do("upgrade", answer=rng.choice(["ok", "ok", "ok", "silent", "401", "302", "garbage", "badaccept"]))
            server.mode(ack=rng.choice(["echo", "swallow", "delay"]))
            server.do(rng.choice(["stop_reading", "start_reading", "start_reading", "start_reading"]))
            server.do(rng.choice(["stop_listening", "start_listening", "start_listening"]))

    def mend_servers(self):
        for server in self.servers:
            server.do("upgrade", answer="ok")
            server.mode(ack="echo")
            server.do("start_listening")
            server.do("start_reading")

    def steer(self):
        self.client.request(self.rng.choice(["connect", "disconnect", "reconnect"]))

    def send(self):
        self.numbers.append(self.client.send("x"))

    def move(self):
        self.reload(self.url([None, "localhost"]), PingGap=self.rng.choice(["100ms", "6s"]))

    def cut(self):
        for server in self.servers:
            server.ask("drop", rst=self.rng.random() < 0.5)

    def close(self):
        for server in self.servers:
            server.ask("close", code=1000)

    def push(self):
        self.servers[0].ask("push_big", size=200_000)
        self.servers[1].ask("push_many", count=100)

    def wait(self):
        time.sleep(self.rng.random() * 0.2)

    ACTIONS = [steer, steer, steer, send, send, move, cut, close, push, wait, mend_servers]

    def act(self):
        for action in self.rng.choices(self.ACTIONS, k=self.rng.randrange(12)):
            action(self)
            time.sleep(self.rng.choice([0, 0, 0.001, 0.02, 0.1]))

    def recovers(self):
        """With everything in order again it connects, works and rests."""
        self.mend_servers()
        url = self.servers[0].url()
        self.reload(url)
        client = self.daemon.client()
        client.wait_status(lambda s: s["url"] == url, "it is reloaded")
        client.call("reconnect")
        client.wait_status(lambda s: s["state"] == "connected", "it connects")
        client.result(client.send("hi"))
        used = processor_seconds(self.daemon.process.pid)
        time.sleep(0.2)
        assert processor_seconds(self.daemon.process.pid) - used < 0.15 * SLOW, "it turns and turns"

    def ends(self):
        """In order, in time, and each send was answered once."""
        self.daemon.terminate()
        assert self.daemon.process.wait(GRACE + PATIENCE) == 0
        answers = collections.Counter()
        try:
            while True:
                line = json.loads(self.client.line())
                answers[line.get("id")] += 1
        except Closed as closed:
            assert not closed.args[0], "cut off in a line"
        assert {number: answers[number] for number in self.numbers} == dict.fromkeys(self.numbers, 1)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_the_session_meets_it_ends_in_order(im_server, imd_of, seed):
    rng = random.Random(seed)
    session = Session([im_server(), im_server()], rng)
    session.spoil_servers()
    session.daemon = imd_of(session.url([None, None, "localhost", "no.such.name.invalid"]), **session.KEYS).start()
    session.client = session.daemon.client()
    session.client.subscribe()
    time.sleep(rng.choice([0, 0.01, 0.1]))
    session.act()
    if seed % 2:
        session.recovers()
    session.ends()
