"""Programs that live through restarts of imd under load, and the judge of what came to them."""

import json
import random
import select
import threading

from client import Client
from patience import PATIENCE, Impatient, until


class Listener:
    """A program that takes every byte, now and then slowly, and looks at the lines at the end."""

    def __init__(self, client, pace, **params):
        self.client = client
        self.from_seq = self.client.call("subscribe", params)["seq"]
        self.params = params
        self.pace = pace  # bytes that it reads at a time; None: all there is
        self.senders = params.get("filter", {}).get("from")
        self.raw = bytearray()
        self.searched, self.ended = 0, False

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
        """Has it come to the end of what is pushed?"""
        last = b'"the last for some"' if self.senders else b'"the last"'
        if not self.ended:
            self.ended = self.raw.find(last, max(0, self.searched - len(last))) >= 0
            self.searched = len(self.raw)
        return self.ended


class Asker:
    """A program that asks all kinds of things, many at a time, and counts the answers."""

    def __init__(self, client, seed):
        self.client = client
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


def listeners_of(client_of, chance, count):
    """Such as want all, some, or other kinds; such as read at once, or slowly."""
    return [Listener(client_of(), chance.choice([None, None, 7, 700, 5000]), **chance.choice([
        {}, {"events": ["MESSAGE"]}, {"events": ["MESSAGE", "STATUS", "SENT", "OUTBOX"]}, {"filter": {"from": ["user1"]}}]))
        for _ in range(count)]


def push_the_last(server):
    """What every listener gets at the end."""
    server.push_text("the last for some", **{"from": "user1"})
    server.push_text("the last", **{"from": "user0"})


def settle(askers, listeners):
    def done():
        for listener in listeners:
            listener.read()
        for asker in askers:
            asker.take()
        return all(listener.has_all() for listener in listeners) and not any(asker.waiting for asker in askers)
    try:
        until(done, "every request is answered and every listener has read all", 3 * PATIENCE)
    except Impatient:
        print("not answered:", [asker.waiting for asker in askers])
        print("not read:", [(listener.params, len(listener.raw), bytes(listener.raw[-200:]))
                            for listener in listeners if not listener.has_all()])
        raise
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


def judge(client, listeners, askers):
    """client: one more, to ask what there was."""
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
