"""Local programs and servers that mean harm, or behave as if they did: what others notice of it, and what it costs."""

import array
import fcntl
import json
import os
import socket
import sys
import termios
import time

import pytest

from client import Client
from patience import PATIENCE, SLOW, Impatient, until
from process import Process
from vitals import descriptors, measures_memory, processor_seconds, rss

MIB = 1 << 20


# A server that does not read

class Flood:
    """A client that sends and sends; its lines are written as far as the daemon takes them."""

    def __init__(self, daemon):
        self.client = daemon.client()
        self.numbers = []
        self.unwritten = b""

    def press(self):
        """Writes until the socket is full."""
        while True:
            if not self.unwritten:
                self.numbers.append(len(self.numbers) + 1000)
                message = {"message": {"content": {"message": "x" * 200_000}}}
                self.unwritten = self.client.request_line(self.numbers[-1], "send", message)
            try:
                self.unwritten = self.unwritten[self.client.sock.send(self.unwritten):]
            except BlockingIOError:
                return

    def is_held_up(self, witness):
        """A few turns of the daemon later, which the witness sees pass, nothing more was read."""
        self.press()
        left = len(self.unwritten), len(self.numbers)
        for _ in range(5):
            witness.barrier()
        self.press()
        return left == (len(self.unwritten), len(self.numbers))


@pytest.fixture
def held_up(server, imd):
    """A daemon whose server does not read, and a client that has filled what waits for that server."""
    daemon = imd(server.url(), PingGap="60min", AckTimeout="60min").connected()
    server.do("record", on=False)
    server.mode(ack="reject", code=1)  # a short answer
    server.do("stop_reading")
    flood, witness = Flood(daemon), daemon.client()
    until(lambda: flood.is_held_up(witness), "the send queue is full")
    return daemon, flood


def test_a_server_that_does_not_read_holds_up_senders_only(server, held_up):
    daemon, flood = held_up
    other = daemon.client()
    for method in ("hello", "stats", "connect"):
        other.call(method)
    assert other.call("status")["state"] == "connected"
    other.subscribe("MESSAGE")
    server.push_text("still heard")
    assert other.event("MESSAGE").params["data"]["content"]["message"] == "still heard"
    newcomer = daemon.client()
    refused = newcomer.refused("send", message={"content": {"message": "first"}})
    assert refused.code == -75 and refused.data == {"reason": "busy", "limit": "send queue"}
    server.do("start_reading")
    flood.client.write(flood.unwritten)
    for number in flood.numbers:
        assert flood.client.refusal(number).reason == "rejected"
    flood.client.nothing()
    assert newcomer.refused("send", message={"content": {"message": "again"}}).reason == "rejected"
    newcomer.nothing()
    stats = server.stats()
    assert stats["frames"] - stats["pings"] == len(flood.numbers) + 1 and stats["accepted"] == 1


def test_disconnect_from_a_server_that_does_not_read(server, held_up):
    daemon, flood = held_up
    other = daemon.client()
    assert other.call("disconnect") == {"state": "disconnected"}
    flood.client.write(flood.unwritten)
    reasons = [flood.client.refusal(number).reason for number in flood.numbers]
    assert set(reasons) <= {"unknown", "not_connected"} and reasons == sorted(reasons, reverse=True)
    flood.client.nothing()
    server.do("start_reading")
    server.mode(ack="echo")
    other.call("connect")
    daemon.connected()
    flood.client.result(flood.client.send("after"))
    other.result(other.send("after"))


# Memory

class Miser:
    """
    Reads its replies, but never all of them: what it leaves is more than its socket holds, so that the daemon always has
    something to keep for it, but less than what makes it stop reading requests.
    """

    KEPT = 20_000  # bytes that the daemon shall have to keep between two requests
    KEPT_MAX = 60_000
    MUCH = 600_000  # to begin with: more than a socket holds, even when it was just emptied

    def __init__(self, daemon):
        self.client, self.witness = daemon.client(), daemon.client()
        self.number = 100_000  # all of one length, so that replies are too
        self.acks = 0
        self.unread = 0  # what was replied and is not read
        self.written = 0  # what the daemon writes when it can and has more than that
        self.ask(1000)
        self.overhead = len(self.client.line()) - 1000

    def ask(self, size):
        """Sends a message of this size; when this returns, its reply was made."""
        self.number += 1
        self.client.write(Client.request_line(self.number, "send", {"message": {"content": {"message": "x" * size}}}))
        self.acks += 1
        end = time.monotonic() + PATIENCE
        while self.witness.call("stats")["acks"] < self.acks:
            if time.monotonic() > end:
                raise Impatient("its message is not answered")

    def kept(self):
        """Bytes that the daemon keeps for it: the rest is in the socket."""
        self.witness.barrier()
        waiting = array.array("i", [0])
        fcntl.ioctl(self.client.sock, termios.FIONREAD, waiting)
        return self.unread - waiting[0]

    def read_until_written(self):
        """Reads until the daemon could write some more of what it keeps."""
        before = self.kept()
        while before and self.kept() == before:
            self.unread -= len(self.client.sock.recv(16_384))
        if self.kept():
            self.written = before - self.kept()

    def turn(self):
        """One reply more, as long as what is then read. Returns how long, and what the daemon keeps at the end."""
        kept = self.kept()
        size = self.written + self.KEPT - kept if kept else self.MUCH
        self.ask(size - self.overhead)
        self.unread += size
        self.read_until_written()
        while self.kept() > self.KEPT_MAX:
            self.read_until_written()
        return size, self.kept()


@measures_memory
def test_replies_that_are_never_all_read_do_not_pile_up(server, bridge):
    server.do("record", on=False)
    miser, pid = Miser(bridge), bridge.process.pid
    for _ in range(20):
        miser.turn()
    base, since_empty = rss(pid), 0
    for _ in range(1000):
        size, kept = miser.turn()
        since_empty = since_empty + size if kept else 0
        if since_empty > 30 * MIB:
            break
    assert since_empty > 30 * MIB, "the test did not do what it is for"
    assert rss(pid) - base < 12 * MIB


@measures_memory
def test_a_large_event_is_freed_when_everybody_has_read_it(server, bridge):
    subscribers = [bridge.subscriber("MESSAGE") for _ in range(2)]
    pid = bridge.process.pid
    before = rss(pid)
    server.do("push_big", size=40_000_000)
    for subscriber in subscribers:
        assert len(subscriber.event("MESSAGE").params["data"]["content"]["message"]) == 40_000_000
    # No event follows, and no request either.
    until(lambda: rss(pid) < before + 20_000_000, "the event is freed")


# Slow readers

def test_less_than_a_socket_buffer_within_stall_timeout_is_progress_enough(server, imd):
    """The kernel calls a socket writable only when most of it was read; whoever reads less in that time is not dead."""
    stall = SLOW
    daemon = imd(server.url(), StallTimeout=f"{int(stall * 1000)}ms").connected()
    slow, dead, watcher = daemon.subscriber("MESSAGE"), daemon.subscriber("MESSAGE"), daemon.client()
    server.do("push_many", count=3000, size=500)
    watcher.wait_status(lambda s: s["seq"] == 3000, "all events are there")
    began, read = time.monotonic(), 0
    while time.monotonic() < began + 3 * stall:
        due = int((time.monotonic() - began) * 80_000 / stall) - read
        slow.buffer += slow.sock.recv(max(due, 1))
        read = len(slow.buffer)
        time.sleep(0.05)
    watcher.wait_stats(lambda s: s["subscribers"] == 1, "who reads nothing is disconnected")
    dead.wait_closed()
    assert [e.params["data"]["n"] for e in slow.messages(3000)] == list(range(3000))


# Descriptors

def is_served(client):
    """Or else it was told why not, and the connection ends."""
    try:
        client.write(client.request_line(1, "hello"))
    except (BrokenPipeError, ConnectionResetError):
        pass
    answer = json.loads(client.line())
    if "result" in answer:
        return True
    assert answer["id"] is None and answer["error"]["code"] == -75
    assert answer["error"]["data"] == {"reason": "busy", "limit": "descriptors"}
    assert client.wait_closed() == []
    return False


@pytest.mark.skipif("IMD_WRAPPER" in os.environ, reason="a wrapper may have descriptors of its own")
def test_clients_cannot_take_the_links_descriptors(server, imd_of):
    daemon = imd_of(server.url(), launcher=["prlimit", "--nofile=64:64"]).start().connected()
    pid = daemon.process.pid
    served = [client for client in [daemon.client() for _ in range(80)] if is_served(client)]
    assert 20 < len(served) < 64
    for accepted in (2, 3):
        server.do("drop")
        # What the link had is taken at once, if it can be.
        served += [client for client in [daemon.client() for _ in range(10)] if is_served(client)]
        server.wait("accepted", min=accepted)
        status = served[0].wait_status(lambda s: s["state"] == "connected", "it comes back")
        assert status["clients"] == len(served)
    used = processor_seconds(pid)
    server.stays("accepted", 3, seconds=1)
    assert processor_seconds(pid) - used < 0.5 * SLOW, "it turns and turns"
    for client in served:
        client.barrier()
    # A place that becomes free is given away again.
    served.pop().close()
    served[0].wait_status(lambda s: s["clients"] == len(served), "one has left")
    assert is_served(daemon.client())


def test_vanishing_in_the_middle_of_a_line_leaves_nothing_behind(server, bridge):
    pid, watcher = bridge.process.pid, bridge.client()
    before = watcher.wait_stats(lambda s: s["clients"] == 1, "the harness' own client is gone")["accepted"]
    base = descriptors(pid)
    hello = Client.request_line(1, "hello")
    ends = [b"", b'{"jsonrpc":"2.0","id":1,"meth', hello * 3 + hello[:-1], b"x" * 100_000,
            Client.request_line(2, "subscribe") + b'{"jsonrpc":']
    for i in range(2000):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(bridge.socket_path)  # waits when the backlog is full
        client = Client(sock=sock)
        client.write(ends[i % len(ends)])
        client.close()
    watcher.wait_stats(lambda s: s["accepted"] >= before + 2000 and s["clients"] == 1, "all were served and are forgotten")
    assert watcher.call("stats")["subscribers"] == 0
    until(lambda: descriptors(pid) == base, "their descriptors are closed")
    bridge.client().barrier()


# The socket's folder

def test_a_lock_on_the_sockets_folder_does_not_hang_it(server, imd_of, folder):
    daemon = imd_of(server.url())
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        status, log = daemon.start_fails()
        assert status == 1 or status > 63, status
        assert daemon.socket_path in log and "busy" in log, log
        assert not os.path.exists(daemon.socket_path)
    finally:
        os.close(fd)
    daemon.start().connected()


# A second `subscribe`

def fill(server, daemon, first):
    """Events that nobody reads for now: by turns of `load` and of `ann`. Returns the last seq."""
    for _ in range(10):
        server.do("push_many", count=300, size=500)
        server.push_text("a" * 500, **{"from": "ann"})
    last = first + 10 * 301 - 1
    daemon.client().wait_status(lambda s: s["seq"] == last, "all events are there")
    return last


def lines_up_to(client, last):
    """[reply or event] in the order in which they came, up to the event with this seq or the gap that holds it."""
    lines = []
    while True:
        lines.append(json.loads(client.line()))
        params = lines[-1].get("params", {})
        if params.get("seq", params.get("to")) == last:
            return lines


def seqs(lines):
    """Delivered or announced as missing."""
    return [seq for line in lines if "method" in line
            for seq in ([line["params"]["seq"]] if line["method"] == "MESSAGE"
                        else range(line["params"]["from"], line["params"]["to"] + 1))]


def place_of_reply(lines, number):
    replies = [i for i, line in enumerate(lines) if "id" in line]
    assert [lines[i]["id"] for i in replies] == [number]
    return replies[0]


def test_subscribing_again_loses_nothing(server, bridge):
    client = bridge.subscriber("MESSAGE")
    last = fill(server, bridge, 1)
    number = client.request("subscribe", events=["MESSAGE"])
    lines = lines_up_to(client, last)
    assert all(line.get("method") != "GAP" for line in lines)
    assert seqs(lines) == list(range(1, last + 1))
    at = place_of_reply(lines, number)
    behind = lines[at]["result"]["seq"]
    assert seqs(lines[:at]) == list(range(1, behind + 1)), "its seq is the one behind which events go on"
    assert behind < last, "there was something that waited"
    client.nothing()


def test_subscribing_again_when_overtaken_tells_what_is_lost(server, imd):
    daemon = imd(server.url(), RingSize="64K", History="no").connected()
    client = daemon.subscriber("MESSAGE")
    last = fill(server, daemon, 1)
    number = client.request("subscribe", events=["MESSAGE", "SENT"])
    last = fill(server, daemon, last + 1)
    server.push_text("end")
    lines = lines_up_to(client, last + 1)
    place_of_reply(lines, number)
    assert any(line.get("method") == "GAP" for line in lines)
    assert seqs(lines) == list(range(1, last + 2))


def test_subscribing_again_with_another_filter(server, bridge):
    """Up to the reply's seq what was asked for before, behind it what is asked for now; of neither anything is lost."""
    client = bridge.subscriber("MESSAGE", **{"from": ["load"]})
    last = fill(server, bridge, 1)
    number = client.request("subscribe", filter={"from": ["ann"]}, events=["MESSAGE"])
    lines = lines_up_to(client, last)
    at = place_of_reply(lines, number)
    behind = lines[at]["result"]["seq"]
    assert 0 < behind < last
    ann = [seq for seq in range(1, last + 1) if seq % 301 == 0]
    assert seqs(lines[:at]) == [seq for seq in range(1, behind + 1) if seq not in ann]
    assert seqs(lines[at:]) == [seq for seq in ann if seq > behind]
    client.nothing()


# Requests that are refused are refused under their own id

def nested(depth):
    return b"[" * depth + b"]" * depth


def send_line(message):
    return b'{"jsonrpc":"2.0","method":"send","params":{"message":' + message + b'},"id":"own"}\n'


@pytest.mark.parametrize("line, reason", [
    *[(send_line(b'{"content":{"message":' + nested(depth) + b"}}"), "invalid_params")
      for depth in (65, 66, 67, 68, 100, 200)],
    *[(send_line(b'{"content":{"message":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}}"), "invalid_params")
      for depth in (65, 200)],
    (b'{"id":"own","jsonrpc":"2.0","method":"hello","params":{"a":' + nested(200) + b"}}\n", "invalid_params"),
    (send_line(b'{"content":{"message":1,"message":2}}'), "invalid_request"),
    (send_line(b'{"content":{"message":1},"to":"a","to":"b"}'), "invalid_request"),
    (b'{"id":"own","jsonrpc":"2.0","method":"hello","params":{},"params":{}}\n', "invalid_request"),
    (send_line(b'{"content":{"message":18446744073709551616}}'), "invalid_params"),
    (send_line(b'{"content":{"message":-9223372036854775809}}'), "invalid_params"),
    (send_line(b'{"content":{"message":[{"x":' + b"9" * 400 + b"}]}}"), "invalid_params"),
    (b'{"id":"own","jsonrpc":"2.0","method":"send","params":{"message":{},"timeoutMs":99999999999999999999}}\n',
     "invalid_params"),
], ids=[*[f"arrays-{depth}" for depth in (65, 66, 67, 68, 100, 200)], "objects-65", "objects-200", "elsewhere-200",
        "twice", "twice-message", "twice-params", "above-64-bits", "below-64-bits", "400-digits", "timeout"])
def test_refused_under_its_own_id(server, bridge, line, reason):
    client = bridge.client()
    client.write(line)
    answer = json.loads(client.line())
    assert answer["id"] == "own"
    assert answer["error"]["data"]["reason"] == reason and answer["error"]["message"]
    client.nothing()
    assert server.stats()["frames"] == server.stats()["pings"]


def test_what_is_not_too_deep_passes(server, bridge):
    """The refusals above are not of everything that is deep."""
    depth = bridge.client().call("hello")["limits"]["depth"]
    for levels in (depth - 2, depth - 1, depth, depth + 1):
        value = json.loads(nested(levels))
        client = bridge.client()
        number = client.request("send", message={"content": {"message": value}})
        answer = client.reply(number)
        if "result" in answer:
            assert levels < depth and answer["result"]["data"]["content"]["message"] == value
        else:
            assert levels > depth - 2 and answer["error"]["data"]["reason"] == "invalid_params"


@pytest.mark.parametrize("length", [1, 63, 64, 65, 70, 128, 1000])
def test_an_unknown_filter_key_is_named(bridge, length):
    key = ("key-of-a-filter-" * 63)[:length]
    refused = bridge.client().refused("subscribe", {"filter": {key: ["x"]}})
    assert refused.reason == "invalid_params"
    assert f'"{key[:64]}' in refused.error["message"]


def test_a_long_line_in_small_pieces(server, imd):
    """Refused once, skipped to its end, and others do not wait for that."""
    daemon = imd(server.url(), MaxLine="64K")
    client, other = daemon.client(), daemon.client()
    client.write(b'{"jsonrpc":"2.0","id":1,"method":"send","params":{"message":{"content":{"message":"')
    for i in range(500):
        client.write(b"x" * 499)
        if i % 5 == 0:
            other.barrier()
    client.write(b'"}}}}\n')
    refused = client.refusal(None)
    assert refused.code == -78 and refused.reason == "too_large"
    client.nothing()


# The end

def test_disconnect_while_it_ends_changes_nothing(server, bridge):
    """The ack that was waited for still comes, and the link is closed with 1001."""
    server.mode(ack="swallow")
    client, other = bridge.client(), bridge.client()
    number = client.request("send", message={"messageId": "late", "content": {"message": "x"}})
    server.wait_frames(1)
    other.barrier()
    bridge.terminate()
    bridge.wait_log(r"stopping")
    other.call("disconnect")
    other.call("reconnect")
    assert not client.replies_waiting
    server.push({"code": 0, "data": {"messageId": "late"}})
    assert client.result(number)["code"] == 0
    assert bridge.process.wait() == 0
    assert server.stats()["lastCloseCode"] == 1001 and server.stats()["accepted"] == 1


# Shuts its reading side and floods, in lines that cost more work to read than to write: two writers, so that there is nearly
# always something to read.
DEAF_LINE = (b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"a":[' + b"1.234567890123456789012345678901e-300," * 250
             + b"0]}}\n")
DEAF = f"""
import os, socket, sys
line = {DEAF_LINE!r}
""" + """
while True:
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.shutdown(socket.SHUT_RD)
    child = os.fork()
    try:
        while True:
            s.sendall(line)
    except OSError:
        pass
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    s.close()
"""


def socket_holds():
    """Bytes that wait in a socket at most, and a read of the daemon's."""
    with open("/proc/sys/net/core/wmem_default") as f:
        return 1.5 * int(f.read()) + (64 << 10)


def test_a_client_that_hears_nothing_and_floods(bridge, folder):
    """The daemon leaves it as soon as that is found out: of one connection no more is read than its socket held."""
    client, pid = bridge.client(), bridge.process.pid
    base = client.wait_stats(lambda s: s["clients"] == 1, "the harness' own client is gone")
    held = descriptors(pid)
    hostile = Process([sys.executable, "-c", DEAF, bridge.socket_path], folder, "deaf")
    try:
        client.wait_stats(lambda s: s["requests"] > base["requests"] + 100, "it floods")
        for _ in range(20):
            bridge.client().barrier()
            client.barrier()
        flooded = client.wait_stats(lambda s: s["requests"] > base["requests"] + 1500, "it floods on")
        assert hostile.running(), hostile.stderr()
    finally:
        hostile.kill()
    connections = flooded["accepted"] - base["accepted"] - 20
    assert (flooded["requests"] - base["requests"]) * len(DEAF_LINE) < connections * socket_holds()
    for other in bridge.clients:
        if other is not client:
            other.close()
    client.wait_stats(lambda s: s["clients"] == 1, "it is forgotten")
    until(lambda: descriptors(pid) == held, "its descriptors are closed")
