"""imctl send and imctl signal against the running daemon: every option, every exit status, many lines at once."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading

import msgpack
import pytest

from client import Client
from imctl import imctl_argv
from patience import PATIENCE, SLOW
from vitals import measures_memory, peak_rss

MIB = 1 << 20
ID = "[0-9a-f-]{36}"
SUMMARY = r"imctl: (.*) in [0-9]+\.[0-9] s\n"
FAULTS = [("invalid_params", -32602, 65), ("internal", -32603, 70), ("not_connected", -69, 69), ("storage", -74, 74),
          ("busy", -75, 75), ("rejected", -76, 76), ("denied", -77, 77), ("too_large", -78, 65), ("conflict", -80, 65),
          ("unknown", -124, 124)]


class Piped:
    """imctl with pipes to and from the test; it is ended with it."""

    def __init__(self, words, socket_path, stdin, stdout):
        self.child = subprocess.Popen(imctl_argv(socket_path, *words), stdin=stdin, stdout=stdout,
                                      stderr=subprocess.PIPE)

    def end(self, data=b""):
        """(exit status, stdout, stderr)"""
        out, error = self.child.communicate(data, timeout=PATIENCE)
        return self.child.returncode, (out or b"").decode(), error.decode()

    def put(self, data):
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def line(self):
        return self.child.stdout.readline().decode().rstrip("\n")

    def kill(self):
        self.child.kill()
        self.child.wait()


@pytest.fixture
def start():
    """start(socket, word…) runs imctl beside the test."""
    started = []

    def begin(socket_path, *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE):
        started.append(Piped(words, socket_path, stdin, stdout))
        return started[-1]

    yield begin
    for one in started:
        one.kill()


@pytest.fixture
def imctl(start):
    """imctl(daemon, word…, data=…) runs it to its end: (exit status, stdout, stderr)."""
    return lambda daemon, *words, data=b"", **more: start(daemon.socket_path, *words, **more).end(data)


class Impostor:
    """The test in the place of imd: what imctl asks can be read, and answered with anything."""

    def __init__(self, folder):
        self.socket_path = os.path.join(folder, "impostor.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.settimeout(PATIENCE)
        self.listener.bind(self.socket_path)
        self.listener.listen()

    def accept(self):
        self.client = Client(sock=self.listener.accept()[0])

    def request(self):
        return json.loads(self.client.line())

    def answer(self, request, **result_or_error):
        self.client.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **result_or_error}).encode() + b"\n")

    def hello(self):
        request = self.request()
        assert request["method"] == "hello"
        self.answer(request, result={"limits": {"maxLine": 4096, "maxPending": 100}})

    def close(self):
        self.client.close()
        self.listener.close()


@pytest.fixture
def impostor(folder):
    one = Impostor(folder)
    yield one
    one.close()


# imctl waits 5 s longer than it has told imd to: these begin with the first test, so that the last one need not wait.
@pytest.fixture(scope="module", autouse=True)
def ignored():
    """[imctl send, imctl send --lines], which get no answer."""
    with tempfile.TemporaryDirectory(prefix="imd-") as one, tempfile.TemporaryDirectory(prefix="imd-") as two:
        impostors = [Impostor(one), Impostor(two)]
        processes = [Piped(["send", "--timeout", "0.01", word], impostor.socket_path, subprocess.PIPE, subprocess.PIPE)
                     for word, impostor in zip(("x", "--lines"), impostors)]
        for impostor in impostors:
            impostor.accept()
        processes[1].put(b"a\nb\n")
        impostors[1].hello()
        yield processes
        for end in processes:
            end.kill()
        for impostor in impostors:
            impostor.close()


def texts(server):
    return [m["content"]["message"] for m in server.messages()]


def only(server):
    """The one message that came."""
    [message] = server.messages(clear=True)
    return message


# ---- One message ----


def test_options_of_a_message(server, bridge, imctl):
    status, out, error = imctl(bridge, "send", "-t", "bob", "-f", "ann", "-c", "private", "--type", "Own", "--id", "m1",
                               "--timeout", "10", "--set", "note=a=b", "--set", "n:=[1,{}]", "--set", "content.k=v",
                               "--set", "content.x.y:=null", "hello")
    assert (status, out, error) == (0, "m1\n", "")
    message = only(server)
    del message["sentTime"]
    assert message == {"messageType": "Own", "content": {"message": "hello", "k": "v", "x.y": None}, "to": "bob",
                       "from": "ann", "conversationType": 1, "messageId": "m1", "note": "a=b", "n": [1, {}],
                       "messageDirection": 1}


def test_options_of_a_signal(server, bridge, imctl):
    status, out, error = imctl(bridge, "signal", "typing", "-t", "bob", "-c", "group", "--set", "since:=5",
                               "--set", "content.message:=true", "--json")
    assert (status, error) == (0, "")
    message = only(server)
    assert json.loads(out)["data"]["messageId"] == message["messageId"]
    assert (message["messageType"], message["signalName"], message["since"]) == ("SignalMsg", "typing", 5)
    assert (message["to"], message["conversationType"], message["content"]) == ("bob", 3, {"message": True})


def test_text_from_standard_input(server, bridge, imctl):
    assert imctl(bridge, "send", "-", data=b"one\ntwo\n\n")[0] == 0
    assert only(server)["content"] == {"message": "one\ntwo\n"}


def test_content(server, bridge, imctl):
    assert imctl(bridge, "send", "--content", ' {"lat": 1.5}', "--type", "LocMsg")[0] == 0
    message = only(server)
    assert (message["messageType"], message["content"]) == ("LocMsg", {"lat": 1.5})
    assert imctl(bridge, "send", "--content", '{"message":"x"}')[0] == 0
    assert only(server)["messageType"] == "TxtMsg"
    assert imctl(bridge, "send", "--set", "content.message:=7")[0] == 0
    assert only(server)["content"] == {"message": 7}


def test_raw(server, bridge, imctl):
    raw = '{"messageId":"r1","messageType":"Own","to":"ann","k":1,"content":{"message":[]}}'
    assert imctl(bridge, "send", "--raw", raw) == (0, "r1\n", "")
    message = only(server)
    assert (message["messageType"], message["to"], message["k"]) == ("Own", "ann", 1)
    assert message["content"] == {"message": []}
    assert imctl(bridge, "send", "--raw", raw, "-t", "bob", "--set", "k=2", "--id", "r2", "--type", "text")[0] == 0
    message = only(server)
    assert (message["messageType"], message["to"], message["k"], message["messageId"]) == ("TxtMsg", "bob", "2", "r2")


def test_queue(server, bridge, imctl):
    status, out, error = imctl(bridge, "send", "--queue", "--expires", "60", "--id", "q1", "later")
    assert (status, out, error) == (0, "q1 queued\n", "")
    server.wait_frames(1)
    assert texts(server) == ["later"]


@pytest.mark.parametrize("words, why", [
    ([], "missing 'TEXT|-'"),
    (["--content", "{}", "x"], "--content gives the whole content; TEXT is not for it"),
    (["--content", "{}", "--set", "content.a=b"], "--content gives the whole content; --set content.KEY is not for it"),
    (["--content", "[]"], "the value of --content is no JSON object"),
    (["--content", "{"], "the value of --content is no JSON object"),
    (["--raw", "{}", "x"], "--raw gives the whole message; TEXT is not for it"),
    (["--raw", "{}", "--content", "{}"], "--raw gives the whole message; --content is not for it"),
    (["--raw", "{}", "--set", "content.a=b"], "--raw gives the whole message; --set content.KEY is not for it"),
    (["--raw", "7"], "the value of --raw is no JSON object"),
    (["--image", "a", "--file", "b"], "--image and --file: a message has one file"),
    (["--file", "a", "x"], "a file goes without TEXT; --set content.KEY=TEXT puts one beside it"),
    (["--file", "a", "--raw", "{}"], "--image and --file give the content; --content and --raw are not for them"),
    (["--image", "a", "--content", "{}"], "--image and --file give the content; --content and --raw are not for them"),
    (["x", "--set", "a"], "'a' is no KEY=VALUE or KEY:=JSON"),
    (["x", "--set", "=a"], "'=a' is no KEY=VALUE or KEY:=JSON"),
    (["x", "--set", ":=1"], "':=1' is no KEY=VALUE or KEY:=JSON"),
    (["x", "--set", "content.=1"], "'content.=1' is no KEY=VALUE or KEY:=JSON"),
    (["x", "--set", "a:={"], "'a:={' is no KEY=VALUE or KEY:=JSON"),
    (["x", "--set", "content:={}"], "--set 'content:={}': --content gives the whole content"),
    (["x", "-c", "club"], "'club' is no conversation type"),
    (["x", "--expires", "5"], "--expires is for --queue"),
    (["x", "--queue", "--timeout", "5"], "--timeout is not for --queue"),
    (["x", "-j", "5"], "--jobs is for --lines"),
    (["--lines", "x"], "--lines reads its texts from standard input; TEXT is not for it"),
    (["--lines", "--raw", "{}"], "--lines makes each message of a line; --content, --raw and files are not for it"),
    (["--lines", "--file", "x"], "--lines makes each message of a line; --content, --raw and files are not for it"),
    (["--lines", "--id", "x"], "--lines sends many messages; one messageId is not for it"),
    (["--lines", "--set", "messageId=x"],
     "--set 'messageId=x': --lines sends many messages; one messageId is not for it"),
    (["--lines", "--json", "--set", "content.a=b"],
     "with --lines and --json the content is in the lines; --set content.KEY is not for it"),
    (["--lines", "-j", "0"], "'0' is no value for --jobs"),
])
def test_contradictions(start, words, why):
    assert start("/nowhere", "send", *words).end() == (64, "", f"imctl: {why}; see 'imctl send --help'\n")


def test_usage_of_signal(start):
    assert start("/nowhere", "signal").end() == (64, "", "imctl: missing 'NAME'; see 'imctl signal --help'\n")
    assert start("/nowhere", "signal", "a", "--set", "b").end() == (
        64, "", "imctl: 'b' is no KEY=VALUE or KEY:=JSON; see 'imctl signal --help'\n")


# ---- Exit statuses ----


@pytest.mark.parametrize("reason, code, status", FAULTS)
def test_every_error_of_imd_has_its_status(impostor, start, reason, code, status):
    for words in ["send", "x"], ["signal", "x"]:
        process = start(impostor.socket_path, *words)
        impostor.accept()
        impostor.answer(impostor.request(), error={"code": code, "message": "why", "data": {"reason": reason}})
        got, out, error = process.end()
        assert (got, out) == (status, "")
        assert error.startswith("imctl: ") and error.count("\n") == 1


# A line that imd is too busy for is tried again: test_busy.
@pytest.mark.parametrize("reason, code, status", [fault for fault in FAULTS if fault[0] != "busy"])
def test_a_line_fails_with_the_same_status(impostor, start, reason, code, status):
    process = start(impostor.socket_path, "send", "--lines")
    process.put(b"a\n")
    impostor.accept()
    impostor.hello()
    impostor.answer(impostor.request(), error={"code": code, "message": "why", "data": {"reason": reason}})
    got, out, error = process.end()
    assert (got, out) == (status, "\n") and error.startswith("imctl: line 1: ")


def test_what_imd_refuses(server, bridge, imctl):
    assert imctl(bridge, "send", "-c", "group", "x")[0] == 65
    assert imctl(bridge, "send", "\udcff") == (65, "", "imctl: what is to be sent is no text in UTF-8\n")
    assert imctl(bridge, "send", "-", data=b"a\0b")[0] == 65
    assert imctl(bridge, "send", "-", data=b"x" * 2 * MIB)[0] == 65


def test_what_the_server_refuses(server, bridge, imctl):
    server.mode(ack="reject", code=9, errMsg="not\ttoday")
    for command in "send", "signal":
        assert imctl(bridge, command, "x") == (76, "", "imctl: the server rejected the message: not?today (code 9)\n")


def test_no_answer_of_the_server(server, bridge, imctl):
    server.mode(ack="swallow")
    for command in "send", "signal":
        status, out, error = imctl(bridge, command, "x", "--timeout", "0.05")
        assert (status, out) == (124, "") and re.fullmatch(f"imctl: .*messageId {ID}.*\n", error)


def test_no_link(bridge, imctl):
    bridge.client().call("disconnect")
    for words in ["send", "x"], ["signal", "x"]:
        assert imctl(bridge, *words) == (69, "", "imctl: not connected to the server; nothing was sent\n")
    status, out, error = imctl(bridge, "send", "--lines", data=b"a\nb\n")
    assert (status, out) == (69, "\n\n") and re.search(f"^{SUMMARY}", error, re.M)[1] == "0 sent, 0 acked, 2 not sent"


def test_no_daemon(start):
    for words in ["send", "x"], ["signal", "x"], ["send", "--lines"]:
        status, out, error = start("/nowhere/imd.sock", *words).end()
        assert (status, out) == (69, "")
        assert error.startswith("imctl: cannot reach imd at /nowhere/imd.sock: no such file")


def test_no_disk(server, imd_of, imctl):
    daemon = imd_of(server.url())
    with open(daemon.state_path, "w") as f:
        f.write("in the way")
    daemon.start().connected()
    assert imctl(daemon, "send", "--queue", "x")[0] == 74
    assert imctl(daemon, "signal", "--queue", "x")[0] == 74
    assert imctl(daemon, "send", "--queue", "--lines", data=b"a\n")[0] == 74
    os.unlink(daemon.state_path)


def test_output_that_cannot_be_written(bridge, imctl):
    with open("/dev/full", "w") as full:
        assert imctl(bridge, "send", "x", stdout=full)[0] == 74
        assert imctl(bridge, "send", "--lines", data=b"x\n", stdout=full)[0] == 74


def test_busy(server, imd, imctl):
    daemon = imd(server.url(), MaxPending=1).connected()
    server.mode(ack="swallow")
    client = daemon.client()
    client.send("in the way")
    server.wait_frames(1)
    status, out, error = imctl(daemon, "send", "x")
    assert (status, out) == (75, "") and "MaxPending" in error
    status, out, error = imctl(daemon, "send", "--lines", "--timeout", "0.1", data=b"a\nb\n")
    assert (status, out) == (75, "\n\n")
    assert re.match(r"imctl: line 1: .*\(MaxPending\)\nimctl: line 2: not sent\n", error)
    assert re.search(SUMMARY, error)[1] == "1 sent, 0 acked, 1 failed, 1 not sent"
    server.do("drop")


# ---- Many lines ----


def test_lines_are_acked_in_order(server, bridge, imctl):
    lines = [f"line {n}" for n in range(20000)]
    status, out, error = imctl(bridge, "send", "--lines", data="\n".join(lines).encode())
    assert (status, error) == (0, "")
    server.wait_frames(len(lines))
    messages = server.messages()
    assert [m["content"]["message"] for m in messages] == lines
    assert [m["messageId"] for m in messages] == out.splitlines()


# imctl goes on reading what imd says, and stops reading lines.
def test_a_reader_that_stands_still(server, imd, start):
    daemon = imd(server.url(), StallTimeout=f"{300 * SLOW:.0f}ms").connected()
    count = 40000
    one = start(daemon.socket_path, "send", "--lines")
    writer = threading.Thread(target=lambda: one.put(b"hello\n" * count) or one.child.stdin.close())
    writer.start()
    server.wait("frames", min=16384)  # so many may be under way; from now on imctl can only wait
    server.stays("accepted", 1, 1.5 * SLOW)
    out = one.child.stdout.read().decode().splitlines()
    writer.join()
    assert one.child.wait(PATIENCE) == 0, one.child.stderr.read()
    assert [m["messageId"] for m in server.messages() if m["messageType"] == "TxtMsg"] == out and len(out) == count


def test_options_are_for_every_line(server, bridge, imctl):
    status, out, error = imctl(bridge, "send", "--lines", "-t", "bob", "-c", "group", "--type", "Own", "-f", "ann",
                               "--set", "k:=1", "--set", "content.n=x", "-", data=b"a\nb\n")
    assert (status, error) == (0, "")
    for message, text in zip(server.messages(), "ab"):
        assert (message["to"], message["conversationType"], message["messageType"]) == ("bob", 3, "Own")
        assert (message["from"], message["k"], message["content"]) == ("ann", 1, {"message": text, "n": "x"})


def test_lines_as_objects(server, bridge, imctl):
    lines = b'{"messageId":"m1","content":{"message":1}}\n[]\n{"to":"x","content":{"message":2}}\n\n'
    status, out, error = imctl(bridge, "send", "--lines", "--json", "-t", "bob", data=lines)
    assert status == 65
    first, second, third, fourth = map(json.loads, out.splitlines())
    assert (first["code"], first["data"]["messageId"], third["data"]["to"]) == (0, "m1", "bob")
    assert second == fourth == {"data": {"reason": "parse_error"}}
    assert error.startswith("imctl: line 2: it is no JSON object that can be a message\nimctl: line 4: it is")
    assert texts(server) == [1, 2]


def test_queued_lines(server, bridge, imctl):
    status, out, error = imctl(bridge, "send", "--lines", "--queue", data=b"a\nb\nc\n")
    assert (status, error) == (0, "")
    server.wait_frames(3)
    assert texts(server) == ["a", "b", "c"] and [m["messageId"] for m in server.messages()] == out.splitlines()


def test_unusual_lines(server, imd, imctl):
    daemon = imd(server.url(), MaxLine=4096).connected()
    data = b"\n".join([b"first", b"", b"n\0l", b"\xff", b"x" * 300000, b" ", b"y" * 4090, b"z" * 3000, "ä\r".encode()])
    status, out, error = imctl(daemon, "send", "--lines", data=data)
    assert status == 65
    assert texts(server) == ["first", "", " ", "z" * 3000, "ä\r"]
    assert [bool(line) for line in out.split("\n")] == [True, True, False, False, False, True, False, True, True, False]
    lines = error.splitlines()
    assert lines[:3] == ["imctl: line 3: it holds a NUL, which no text does",
                         "imctl: line 4: it is no text in UTF-8",
                         "imctl: line 5: it is longer than MaxLine of imd"]
    assert lines[3].startswith("imctl: line 7: ") and len(lines) == 5
    assert re.fullmatch(SUMMARY, lines[4] + "\n")[1] == "6 sent, 5 acked, 4 failed"


@measures_memory
def test_a_line_without_end(bridge, start):
    process = start(bridge.socket_path, "send", "--lines")
    process.put(b"x" * 32 * MIB)
    assert peak_rss(process.child.pid) < 8 * MIB
    status, out, error = process.end()
    assert (status, out) == (65, "\n") and error.startswith("imctl: line 1: it is longer than MaxLine of imd\n")


def test_lines_that_all_fail(bridge, start):
    process = start(bridge.socket_path, "send", "--lines")
    process.put(b"\xff\n" * 30000)
    assert [process.line() for _ in range(30000)] == [""] * 30000
    status, out, error = process.end()
    assert (status, out) == (65, "") and re.search(SUMMARY, error)[1] == "0 sent, 0 acked, 30000 failed"


def test_nothing_to_send(server, bridge, imctl):
    assert imctl(bridge, "send", "--lines") == (0, "", "")


def test_each_line_goes_at_once(server, bridge, start):
    process = start(bridge.socket_path, "send", "--lines")
    for n in range(3):
        process.put(b"line %d" % n)
        server.stays("frames", server.stats()["pings"] + n, 0.05)
        process.put(b"\n")
        assert re.fullmatch(ID, process.line())
        server.wait_frames(n + 1)
    assert process.end() == (0, "", "")


def test_no_more_than_so_many_at_a_time(server, bridge, start):
    server.mode(ack="swallow")
    process = start(bridge.socket_path, "send", "--lines", "-j", "3")
    process.put(b"a\n" * 10)
    server.wait_frames(3)
    server.stays("frames", 3 + server.stats()["pings"], 0.2)
    server.push({"code": 0, "data": {"messageId": server.messages()[0]["messageId"]}})
    server.wait_frames(4)
    server.do("drop")


def test_answers_in_another_order(server, bridge, start):
    server.mode(ack="swallow")
    process = start(bridge.socket_path, "send", "--lines")
    process.put(b"a\nb\nc\n")
    server.wait_frames(3)
    ids = [m["messageId"] for m in server.messages()]
    for one in reversed(ids):
        server.push({"code": 0, "data": {"messageId": one}})
    assert process.end() == (0, "".join(f"{one}\n" for one in ids), "")


def test_failures_are_listed(server, bridge, imctl):
    server.mode(ack="reject", match="no", errMsg="never")
    lines = [f"no {n}" if n % 2 else f"yes {n}" for n in range(60)]
    status, out, error = imctl(bridge, "send", "--lines", data="\n".join(lines).encode())
    assert status == 76
    assert [bool(line) for line in out.splitlines()] == [n % 2 == 0 for n in range(60)]
    told = [f"imctl: line {n}: the server rejected the message: never (code 7)" for n in range(2, 41, 2)]
    assert error.splitlines()[:-1] == [*told, "imctl: … and 10 lines more"]
    assert re.search(SUMMARY, error)[1] == "60 sent, 30 acked, 30 failed"


def test_the_first_failure_decides(server, bridge, imctl):
    server.mode(ack="swallow", match="lost")
    status, out, error = imctl(bridge, "send", "--lines", "--timeout", "0.1", data=b"a\nlost\n\xff\nb\n")
    assert status == 124
    assert re.search(SUMMARY, error)[1] == "3 sent, 2 acked, 1 failed, 1 unknown"
    assert [bool(line) for line in out.splitlines()] == [True, False, False, True]
    assert imctl(bridge, "send", "--lines", "--timeout", "0.1", data=b"a\n\xff\nlost\nb\n")[0] == 65


# Another program has what imd allows, but for a few: these must do, and nothing is lost.
def test_busy_is_tried_again(server, imd, imctl):
    daemon = imd(server.url(), MaxPending=10).connected()
    server.mode(ack="swallow", match="in the way")
    client = daemon.client()
    for _ in range(8):
        client.send("in the way")
    server.wait_frames(8)
    lines = [f"line {n}" for n in range(300)]
    status, out, error = imctl(daemon, "send", "--lines", data="\n".join(lines).encode())
    assert (status, error) == (0, "")
    assert sorted(texts(server)[8:]) == sorted(lines)
    by_id = {m["messageId"]: m["content"]["message"] for m in server.messages()}
    assert [by_id[one] for one in out.splitlines()] == lines
    status, out, error = imctl(daemon, "send", "--lines", "-j", "1", data="\n".join(lines).encode())
    assert (status, error) == (0, "") and texts(server)[308:] == lines
    server.do("drop")


def test_lines_go_as_the_rate_allows(server, imd, imctl):
    daemon = imd(server.url(), SendRate=40).connected()
    lines = [f"line {n}" for n in range(100)]
    status, _, error = imctl(daemon, "send", "--lines", data="\n".join(lines).encode())
    assert (status, error) == (0, "")
    assert sorted(texts(server)) == sorted(lines)


def test_the_daemon_goes_away(server, bridge, start):
    server.mode(ack="swallow", match="lost")
    process = start(bridge.socket_path, "send", "--lines", "-j", "5")
    process.put(b"a\nb\n" + b"lost\n" * 8)
    server.wait_frames(7)
    bridge.crash()
    status, out, error = process.end()
    assert status == 124 and [bool(line) for line in out.splitlines()] == [True, True, *[False] * 8]
    assert re.search(SUMMARY, error)[1] == "7 sent, 2 acked, 5 unknown, 3 not sent"
    assert "imctl: imd has ended the connection\n" in error
    assert "imctl: line 3: the connection to imd ended before the answer came\n" in error
    assert "imctl: line 10: not sent\n" in error


def test_the_daemon_goes_away_between_lines(server, bridge, start):
    process = start(bridge.socket_path, "send", "--lines")
    process.put(b"a\n")
    assert process.line()
    bridge.crash()
    process.child.wait(PATIENCE)
    status, out, error = process.end(None)
    assert (status, out) == (69, "") and error == (
        "imctl: imd has ended the connection\nimctl: what follows line 1 was not read\n")


def test_input_that_cannot_be_read(bridge, imctl):
    folder = os.open("/", os.O_RDONLY)
    try:
        assert imctl(bridge, "send", "--lines", stdin=folder, data=None) == (
            74, "", "imctl: cannot read standard input: Is a directory\n")
    finally:
        os.close(folder)


def test_a_reader_that_has_gone(server, bridge, start):
    process = start(bridge.socket_path, "send", "--lines")
    process.child.stdout.close()
    process.child.stdout = None
    process.put(b"a\n")
    assert process.child.wait(PATIENCE) == -signal.SIGPIPE
    assert process.child.stderr.read() == b""


# ---- Files ----

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"


def put_file(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


@pytest.mark.parametrize("option, type, name, data, mime", [
    ("--image", "ImgMsg", "dot.png", PNG, "image/png"),
    ("--file", "FileMsg", "report ä.pdf", b"%PDF-1.4\n", "application/pdf"),
    ("--file", "FileMsg", "notes", b"just text\n", "text/plain"),
    ("--file", "FileMsg", "empty", b"", "application/x-empty"),
    ("--file", "FileMsg", "noise", b"\xa7\x01\x9c\x02" * 50000, "application/octet-stream"),
], ids=["png", "pdf", "text", "empty", "noise"])
def test_a_file(server, bridge, imctl, folder, option, type, name, data, mime):
    status, out, error = imctl(bridge, "send", option, put_file(folder, name, data), "-t", "bob")
    assert (status, error) == (0, "")
    message = only(server)
    assert (message["messageType"], message["to"], message["messageId"]) == (type, "bob", out.strip())
    assert message["content"] == {"message": data, "name": name, "mime": mime, "size": len(data)}


def test_a_file_with_more(server, bridge, imctl, folder):
    path = put_file(folder, "a", b"some text\n")
    assert imctl(bridge, "send", "--file", path, "--type", "Own", "--set", "content.name=b", "--set",
                 "content.text=look")[0] == 0
    message = only(server)
    assert message["messageType"] == "Own"
    assert message["content"] == {"message": b"some text\n", "name": "b", "mime": "text/plain", "size": 10,
                                  "text": "look"}


def test_a_file_that_waits_in_the_outbox(server, bridge, imctl, folder):
    status, out, error = imctl(bridge, "send", "--queue", "--file", put_file(folder, "a", b"x" * 1000))
    assert (status, error) == (0, "") and out.endswith(" queued\n")
    server.wait_frames(1)
    assert only(server)["content"]["message"] == b"x" * 1000


def test_a_file_that_is_too_large(server, imd, imctl, folder):
    daemon = imd(server.url(), MaxMessage=4096).connected()
    status, out, error = imctl(daemon, "send", "--file", put_file(folder, "a", b"x" * 10000))
    assert (status, out) == (65, "") and error.startswith("imctl: ")
    assert imctl(daemon, "send", "--file", put_file(folder, "b", b"x" * 1000))[0] == 0


def test_no_file(start, folder):
    os.mkfifo(os.path.join(folder, "fifo"))
    for path, why in [(folder, "it is no regular file"), (f"{folder}/fifo", "it is no regular file")]:
        assert start("/nowhere", "send", "--file", path).end() == (64, "", f"imctl: cannot send '{path}': {why}\n")
    assert start("/nowhere", "send", "--image", "/no/such").end() == (
        64, "", "imctl: cannot read '/no/such': No such file or directory\n")


@measures_memory
def test_a_large_file(server, bridge, start, folder):
    data = os.urandom(60 * MIB)
    server.mode(ack="swallow")
    process = start(bridge.socket_path, "send", "--file", put_file(folder, "large", data))
    server.wait_frames(1)
    assert peak_rss(process.child.pid) < 10 * MIB
    message = only(server)
    assert message["content"]["message"] == data and message["content"]["size"] == len(data)
    server.push({"code": 0, "data": {"messageId": message["messageId"]}})
    assert process.end() == (0, message["messageId"] + "\n", "")


# ---- What an answer may hold ----


def test_the_server_writes_nothing_to_a_terminal(server, bridge, start):
    """Of several messageIds the last one counts; an id is printed as people may see it."""
    server.mode(ack="swallow")
    one = start(bridge.socket_path, "send", "--id", "real\x1b[31m", "hello")
    server.wait_frames(1)
    packer = msgpack.Packer(autoreset=False)
    packer.pack_map_header(2), packer.pack("code"), packer.pack(0), packer.pack("data"), packer.pack_map_header(2)
    for key in "made up", "real\x1b[31m":
        packer.pack("messageId"), packer.pack(key)
    server.push(bytes(packer.bytes()))
    assert one.end() == (0, "real\\x1b[31m\n", "")


# ---- No answer ----


def test_a_daemon_that_hangs(ignored):
    one, many = ignored
    assert one.end() == (124, "", "imctl: imd does not answer; the message may or may not have arrived\n")
    status, out, error = many.end()
    assert (status, out) == (124, "\n\n") and "imctl: imd does not answer\n" in error
    assert re.search(SUMMARY, error)[1] == "2 sent, 0 acked, 2 unknown"
