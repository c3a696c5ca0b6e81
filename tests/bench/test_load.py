"""bench_load must tell each thing that can go wrong with a line or an answer, and nothing when all is well."""

import json
import os
import re
import socket
import subprocess

import pytest

BUILD = os.path.join(os.environ["IMD_BUILD_DIR"], "tests/bench")
MESSAGES = 200  # they fit in one write of the load, so that a peer can have all before it answers


class Load:
    """bench_load, with this process as the one under test."""

    def __init__(self, folder, *argv, deadline=60):
        self.socket_path = os.path.join(folder, "peer.sock")
        self.child = subprocess.Popen(
            [os.path.join(BUILD, "bench_load"), *argv, "--messages", str(MESSAGES), "--warmup", "0",
             "--deadline", str(deadline)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        word, port = self.child.stdout.readline().split()
        assert word == "port"
        self.port = int(port)

    def start(self, pid=None):
        self.child.stdin.write(f"start {pid or os.getpid()} {self.socket_path}\n")
        self.child.stdin.flush()

    def result(self):
        out, err = self.child.communicate(timeout=60)
        assert self.child.returncode == 0, err
        return json.loads(out)

    def failure(self):
        out, err = self.child.communicate(timeout=60)
        assert self.child.returncode == 1 and not out
        return err

    def close(self):
        self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            stream.close()


@pytest.fixture
def load(tmp_path):
    loads = []

    def start(*argv, **options):
        loads.append(Load(str(tmp_path), *argv, **options))
        return loads[-1]

    yield start
    for one in loads:
        one.close()


def read(connection, size):
    got = b""
    while len(got) < size:
        piece = connection.recv(size - len(got))
        assert piece, "the load has gone"
        got += piece
    return got


class Peer:
    """Whoever is under test: connected to the load, with one program that has connected to it."""

    def __init__(self, load):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(load.socket_path)
        listener.listen()
        self.upstream = socket.create_connection(("127.0.0.1", load.port))
        self.greet()
        load.start()
        self.program = listener.accept()[0]
        listener.close()

    def greet(self):
        pass

    def close(self):
        self.upstream.close()
        self.program.close()


class Imd(Peer):
    def greet(self):
        self.upstream.sendall(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += read(self.upstream, 1)
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer  # RFC 6455, 1.3

    def subscribed(self):
        assert self.request()["method"] == "subscribe"
        self.program.sendall(b'{"jsonrpc":"2.0","id":1,"result":{"seq":7}}\n')

    def request(self):
        line = b""
        while not line.endswith(b"\n"):
            line += read(self.program, 1)
        return json.loads(line)

    def payloads(self):
        """The text at the end of each frame."""
        texts = []
        while len(texts) < MESSAGES:
            assert read(self.upstream, 2) == b"\x82\x7e"
            frame = read(self.upstream, int.from_bytes(read(self.upstream, 2), "big"))
            texts.append(re.search(rb"[a-z]+[0-9]{16}$", frame)[0].decode())
        return texts


def event(seq, payload):
    return (f'{{"jsonrpc":"2.0","method":"MESSAGE","params":{{"seq":{seq},"time":1795602552062,"code":0,"data":'
            '{"messageType":"TxtMsg","from":"alice","to":"me","conversationType":1,"sentTime":1700000000123,'
            f'"content":{{"message":"{payload}"}}}}}}}}\n').encode()


def gap(low, high):
    return f'{{"jsonrpc":"2.0","method":"GAP","params":{{"from":{low},"to":{high},"reason":"behind"}}}}\n'.encode()


def told(result):
    return {key: result[key] for key in ("lost", "repeated", "reordered", "torn") if result[key]}


DAMAGES = {
    "none": (lambda lines: lines, {}),
    "one dropped": (lambda lines: lines[:50] + lines[51:], {"lost": 1}),
    "some dropped": (lambda lines: lines[50:60] + lines[70:], {"lost": 60}),
    "repeated": (lambda lines: lines[:50] + lines[49:], {"repeated": 1}),
    "exchanged": (lambda lines: lines[:50] + [lines[51], lines[50]] + lines[52:], {"reordered": 1}),
    "cut short": (lambda lines: lines[:50] + [lines[50][:-9] + b"\n"] + lines[51:], {"torn": 1, "lost": 1}),
    "its end only": (lambda lines: lines[:50] + [lines[50][9:]] + lines[51:], {"torn": 1, "lost": 1}),
    "a wrong letter": (lambda lines: lines[:50] + [lines[50].replace(b"ah", b"aH")] + lines[51:],
                       {"torn": 1, "lost": 1}),
    "no counter": (lambda lines: lines[:50] + [lines[50].replace(b"0000000050", b"00000000x0")] + lines[51:],
                   {"torn": 1, "lost": 1}),
    "a number too high": (lambda lines: lines[:50] + [lines[50].replace(b"0000000050", b"9999999950")] + lines[51:],
                          {"torn": 1, "lost": 1}),
    "one too many": (lambda lines: lines[:50] + [b'{"jsonrpc":"2.0"}\n'] + lines[50:], {"torn": 1}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_told(load, name):
    damage, expected = DAMAGES[name]
    run = load("fanout", "--dialect", "line")
    peer = Peer(run)
    lines = read(peer.upstream, MESSAGES * 300).splitlines(keepends=True)
    assert len(lines) == MESSAGES and {len(line) for line in lines} == {300}
    peer.program.sendall(b"".join(damage(lines)))
    assert told(run.result()) == expected
    peer.close()


def test_pieces_of_any_length_are_put_together(load):
    run = load("fanout", "--dialect", "imd", "--size", "300")
    peer = Imd(run)
    peer.subscribed()
    stream = b"".join(event(8 + n, text) for n, text in enumerate(peer.payloads()))
    at = piece = 0
    while at < len(stream):
        piece += 1
        peer.program.sendall(stream[at:at + piece])
        at += piece
    result = run.result()
    assert told(result) == {} and result["deliveries"] == MESSAGES
    peer.close()


def test_what_never_comes_ends_it(load):
    run = load("fanout", "--dialect", "line", deadline=1)
    peer = Peer(run)
    peer.program.sendall(read(peer.upstream, MESSAGES * 300)[:-1])
    assert "200 of 200 messages written, the slowest subscriber has all before 199" in run.failure()
    peer.close()


def test_a_peer_that_closes_ends_it(load):
    run = load("fanout", "--dialect", "line")
    peer = Peer(run)
    read(peer.upstream, MESSAGES * 300)
    peer.program.close()
    assert "a subscriber was disconnected, message 0 is its next" in run.failure()
    peer.close()


@pytest.mark.parametrize("low, high", [(50, 60), (150, MESSAGES)])
def test_an_announced_loss_is_a_loss(load, low, high):
    """Also at the end, where no later line shows it."""
    run = load("fanout", "--dialect", "imd")
    peer = Imd(run)
    peer.subscribed()
    lines = [event(1000 + n, text) for n, text in enumerate(peer.payloads())]
    peer.program.sendall(b"".join(lines[:low] + [gap(1000 + low, 1000 + high - 1)] + lines[high:]))
    assert told(run.result()) == {"lost": high - low}
    peer.close()


def test_a_number_of_its_own_that_jumps_is_told(load):
    run = load("fanout", "--dialect", "imd")
    peer = Imd(run)
    peer.subscribed()
    peer.program.sendall(b"".join(event(99 + n + (n == 70), text) for n, text in enumerate(peer.payloads())))
    assert told(run.result()) == {"torn": 1}
    peer.close()


def test_behind_a_filter_every_second_one_comes(load):
    run = load("fanout", "--dialect", "imd", "--filter")
    peer = Imd(run)
    assert peer.request()["params"]["filter"] == {"messageType": ["TxtMsg"]}
    peer.program.sendall(b'{"jsonrpc":"2.0","id":1,"result":{"seq":7}}\n')
    lines = [event(8 + n, text) for n, text in enumerate(peer.payloads())]
    peer.program.sendall(b"".join(lines[0:50:2] + lines[51:52] + lines[50::2]))
    result = run.result()
    assert told(result) == {"torn": 1} and result["deliveries"] == MESSAGES / 2
    peer.close()


def answer(request, **changes):
    message = {**request["params"]["message"], "messageId": "2c3f9bcd"}
    result = {"code": 0, "data": message, **changes.pop("result", {})}
    return {"jsonrpc": "2.0", "id": request["id"], "result": result, **changes}


ANSWERS = {
    "right": (answer, 0),
    "refused": (lambda request: answer(request, result={"code": 4}), 1),
    "an error": (lambda request: {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -75}}, 1),
    "another's content": (lambda request: answer(request, result={"data": {"content": {"message": "hello"}}}), 1),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_answer_is_checked(load, name):
    make, wrong = ANSWERS[name]
    run = load("trip", "--outstanding", "4")
    peer = Imd(run)
    for n in range(MESSAGES // 4):
        answers = [(make if n == 20 and not at else answer)(peer.request()) for at in range(4)]
        for one in reversed(answers):  # in any order
            peer.program.sendall(json.dumps(one, separators=(",", ":")).encode() + b"\n")
    assert run.result()["wrong"] == wrong
    peer.close()


def test_an_answer_that_nobody_waits_for_is_told(load):
    run = load("trip")
    peer = Imd(run)
    for n in range(MESSAGES):
        line = json.dumps(answer(peer.request()), separators=(",", ":")).encode() + b"\n"
        peer.program.sendall(line * (2 if n == 20 else 1))
    assert run.result()["wrong"] == 1
    peer.close()


@pytest.mark.parametrize("mode", ["line", "coalesced"])
def test_the_limit_delivers_all(load, mode):
    run = load("fanout", "--dialect", "line", "--subscribers", "20")
    limit = subprocess.Popen([os.path.join(BUILD, "bench_limit"), mode, f"127.0.0.1:{run.port}", run.socket_path])
    while not os.path.exists(run.socket_path):
        assert limit.poll() is None
    run.start(limit.pid)
    result = run.result()
    assert told(result) == {} and result["deliveries"] == 20 * MESSAGES
    assert limit.wait(timeout=60) == 0


def test_at_a_rate_it_takes_its_time(load):
    run = load("fanout", "--dialect", "line", "--rate", "1000")
    peer = Peer(run)
    for _ in range(MESSAGES):
        peer.program.sendall(read(peer.upstream, 300))
    result = run.result()
    assert told(result) == {} and result["seconds"] >= MESSAGES / 1000 - 0.01
    latency = result["latencyUs"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    peer.close()
