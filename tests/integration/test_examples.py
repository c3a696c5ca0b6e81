"""The example programs, as they stand in the manual pages, at work with a running daemon."""

import contextlib
import json
import os

import pytest

from patience import until
from process import Process, build_dir, run


def program(name):
    return os.path.join(build_dir(), "libimctl/examples", name)


@pytest.fixture
def example(bridge):
    """example(name, word…) runs it: (exit status, stdout, stderr)."""
    return lambda name, *words: run([program(name), *words], env={"IMCTL_SOCKET": bridge.socket_path})


class Running:
    """One that does not end by itself, and what it prints."""

    def __init__(self, name, words, folder, env):
        self.path = os.path.join(folder, f"{name}{len(os.listdir(folder))}.out")
        with open(self.path, "wb") as out:
            self.process = Process([program(name), *words], folder, name, env=env, stdout=out)

    def lines(self):
        with open(self.path) as f:
            return f.read().splitlines()

    def wait_lines(self, count):
        until(lambda: len(self.lines()) >= count, f"{count} lines")
        return self.lines()

    def wait_stderr(self, text):
        until(lambda: text in self.process.stderr(), f"{text!r} on stderr")


@pytest.fixture
def running(bridge, folder):
    """running(name, word…) starts it, and returns when it has subscribed."""
    with contextlib.ExitStack() as stack:

        def start(name, *words):
            client = bridge.client()
            before = client.call("status")["subscribers"]
            one = Running(name, words, folder, {"IMCTL_SOCKET": bridge.socket_path})
            stack.callback(one.process.kill)
            until(lambda: client.call("status")["subscribers"] > before, "it has subscribed")
            client.close()
            return one

        yield start


def sent(server, count):
    server.wait_frames(count)
    return server.messages()


def test_send(server, bridge, example):
    status, out, error = example("send", "hi \u00e9")
    assert (status, error) == (0, "")
    [message] = sent(server, 1)
    assert message["content"] == {"message": "hi \u00e9"}
    assert out == message["messageId"] + "\n"


def test_send_that_is_refused(server, bridge, example):
    bridge.client().call("disconnect")
    bridge.wait_state("disconnected")
    status, out, error = example("send", "hi")
    assert (status, out) == (1, "")
    assert error.startswith("not sent: ")


def test_without_a_daemon(folder):
    for name, words in [("send", []), ("listen", []), ("consumer", []), ("file", ["/dev/null"]), ("pipeline", ["a"]),
                        ("listen_sdevent", []), ("listen_glib", [])]:
        status, out, error = run([program(name), *words], env={"IMCTL_SOCKET": os.path.join(folder, "none")})
        assert (status, out) == (1, "")
        assert "No such file or directory" in error


def test_file(server, bridge, example, folder):
    data = os.urandom(300000)
    path = os.path.join(folder, "report.pdf")
    with open(path, "wb") as f:
        f.write(data)
    status, out, error = example("file", path, "bob")
    assert (status, error) == (0, "")
    [message] = sent(server, 1)
    assert message["content"] == {"message": data, "name": "report.pdf", "mime": "application/octet-stream",
                                  "size": len(data)}
    assert (message["messageType"], message["to"], message["conversationType"]) == ("FileMsg", "bob", 1)
    assert out == message["messageId"] + "\n"
    status, out, error = example("file", path + ".none")
    assert (status, out) == (1, "") and "No such file" in error
    status, out, error = example("file", folder)
    assert (status, out) == (1, "") and "Invalid argument" in error


def test_pipeline(server, bridge, example):
    texts = [f"text {n}" for n in range(500)]
    assert example("pipeline", *texts) == (0, "", "")
    assert [m["content"]["message"] for m in sent(server, 500)] == texts
    bridge.client().call("disconnect")
    bridge.wait_state("disconnected")
    status, out, error = example("pipeline", "a", "b")
    assert (status, error) == (1, "")
    assert [line.split(":")[0] for line in out.splitlines()] == ["a", "b"]


def test_listen_over_a_restart(server, bridge, running):
    listen = running("listen")
    server.push_text("one")
    assert listen.wait_lines(1) == ["ann: one"]
    bridge.stop()
    listen.wait_stderr("imd is away: Connection reset by peer\n")
    bridge.start().connected()
    listen.wait_stderr("imd is back\n")
    server.push_text("two")
    until(lambda: "ann: two" in listen.lines(), "the text after the restart")
    assert [line for line in listen.lines() if line.startswith("ann")] == ["ann: one", "ann: two"]


@pytest.mark.parametrize("name", ["listen_sdevent", "listen_glib"])
def test_event_loops_miss_nothing(server, bridge, running, name):
    """Some come before the program has seen that imd is there again; each is told once all the same."""
    listen, texts = running(name), []
    for number in range(3):
        for _ in range(10):
            texts.append(f"text {len(texts)}")
            server.push_text(texts[-1])
        until(lambda: texts[-1] in told(listen), "the last text")
        if number < 2:
            bridge.stop()
            bridge.start().connected()
    assert told(listen) == texts


def told(listen):
    events = [json.loads(line) for line in listen.lines()]
    return [e["params"]["data"]["content"]["message"] for e in events if e["method"] == "MESSAGE"]


def test_consumer(server, bridge, running):
    """An ack is written before the next event is read."""
    first = running("consumer", "deploy")
    for number, text in enumerate(["one", "two"], 1):
        server.push_text(text)
        assert first.wait_lines(number)[-1] == text
    client = bridge.client()
    first.process.kill()
    until(lambda: client.call("status")["subscribers"] == 0, "it is gone")
    server.push_text("three")
    second = running("consumer", "deploy")
    until(lambda: "three" in second.lines(), "what came meanwhile")
    assert second.lines() in (["two", "three"], ["three"])


def test_one_consumer_of_a_name(bridge, running):
    running("consumer", "deploy")
    status, out, error = run([program("consumer"), "deploy"], env={"IMCTL_SOCKET": bridge.socket_path})
    assert (status, out) == (1, "")
    assert error.startswith("no events: ")
