"""imctl on history, consumers and outbox of a running daemon."""

import json
import os

import pytest

from patience import until
from process import build_dir, run


@pytest.fixture
def imctl():
    """imctl(daemon, word…) runs it: (exit status, lines of stdout, stderr)."""

    def call(daemon, *words):
        status, out, error = run([os.path.join(build_dir(), "cli/imctl"), "-s", daemon.socket_path, *words])
        return status, out.splitlines(), error

    return call


def seqs(lines):
    return [json.loads(line)["params"]["seq"] for line in lines]


def push(server, daemon, *texts):
    """Pushes these, and returns their lines as they were delivered."""
    client = daemon.subscriber("MESSAGE")
    for text in texts:
        server.push_text(text)
    return [event.raw.decode().rstrip("\n") for event in client.messages(len(texts))]


def test_history_is_what_was_delivered(server, bridge, imctl):
    lines = push(server, bridge, "a", "b", "c")
    assert imctl(bridge, "history") == (0, lines, "")
    assert imctl(bridge, "history", "-r") == (0, lines[::-1], "")
    assert imctl(bridge, "history", "-n", "2") == (0, lines[1:], "")
    first = seqs(lines)[0]
    assert imctl(bridge, "history", "--since", str(first)) == (0, lines[1:], "")
    assert imctl(bridge, "history", "--since", "1h") == (0, lines, "")
    assert imctl(bridge, "history", "--until", "1h") == (0, [], "")


def test_history_is_filtered(server, bridge, imctl):
    client = bridge.subscriber("MESSAGE")
    server.push_text("a")
    server.push_text("b", **{"from": "bob"})
    line = client.messages(2)[1].raw.decode().rstrip("\n")
    assert imctl(bridge, "history", "--from", "bob") == (0, [line], "")
    assert imctl(bridge, "history", "--type", "signal") == (0, [], "")


def test_history_of_more_than_one_page(server, bridge, imctl):
    lines = push(server, bridge, *(str(n) for n in range(2100)))
    assert imctl(bridge, "history", "-n", "5000") == (0, lines, "")
    assert imctl(bridge, "history", "-n", "1500", "-r") == (0, lines[:-1501:-1], "")


def test_history_survives_a_restart(server, imd_of, imctl):
    daemon = imd_of(server.url()).start().connected()
    lines = push(server, daemon, "a", "b")
    daemon.stop()
    daemon.start().connected()
    assert imctl(daemon, "history") == (0, lines, "")


def test_listen_begins_where_it_is_told(server, bridge, imctl):
    lines = push(server, bridge, "a", "b", "c")
    first = seqs(lines)[0]
    assert imctl(bridge, "listen", "-n", "2", "-e", "MESSAGE", "--since", str(first)) == (0, lines[1:], "")
    for since in "earliest", "1h", "@0":
        assert imctl(bridge, "listen", "-n", "3", "-e", "MESSAGE", "--since", since) == (0, lines, ""), since


def test_a_consumer_goes_on_where_it_was(server, bridge, imctl):
    lines = push(server, bridge, "a", "b", "c")
    words = ["listen", "--consumer", "me", "--since", "earliest", "-e", "MESSAGE", "-n"]
    assert imctl(bridge, *words, "2") == (0, lines[:2], "")
    lines += push(server, bridge, "d")
    assert imctl(bridge, *words, "2") == (0, lines[2:], "")


def test_a_consumer_is_used_once(bridge, imctl):
    bridge.client().call("subscribe", consumer="me")
    status, lines, error = imctl(bridge, "listen", "--consumer", "me")
    assert (status, lines) == (65, []) and error


def test_queued_and_sent(server, bridge, imctl):
    assert imctl(bridge, "send", "--queue", "--id", "m1", "hi") == (0, ["m1 queued"], "")
    server.wait_frames(1)
    assert server.messages()[0]["messageId"] == "m1"
    until(lambda: imctl(bridge, "send", "--queue", "--id", "m1", "hi") == (0, ["m1 acked"], ""), "m1 is acked")
    status, lines, _ = imctl(bridge, "outbox", "show", "m1", "--json")
    entry = json.loads(lines[0])["entries"][0]
    assert status == 0 and entry["state"] == "acked" and entry["attempts"] == 1 and entry["code"] == 0
    assert server.stats()["frames"] - server.stats()["pings"] == 1


def test_queued_without_a_link(server, imd, imctl):
    daemon = imd(server.url()).connected()
    daemon.client().call("disconnect")
    for name in "m1", "m2":
        assert imctl(daemon, "send", "--queue", "--id", name, "hi") == (0, [f"{name} queued"], "")
    status, lines, _ = imctl(daemon, "outbox")
    assert status == 0
    assert [line.split()[:3] for line in lines] == [["MESSAGE", "STATE", "ATTEMPTS"], ["m1", "queued", "0"],
                                                    ["m2", "queued", "0"]]
    assert "     Queued: 2" in imctl(daemon, "status")[1]
    assert imctl(daemon, "outbox", "cancel", "m1") == (0, ["m1 cancelled"], "")
    daemon.client().call("connect")
    server.wait_frames(1)
    assert [message["messageId"] for message in server.messages()] == ["m2"]
    until(lambda: daemon.client().call("outbox", messageId="m2")["entries"][0]["state"] == "acked", "m2 is acked")
    assert imctl(daemon, "outbox", "cancel", "m2")[0] == 65
    assert imctl(daemon, "outbox", "show", "m3")[0] == 65


def test_a_choice_of_the_outbox(server, imd, imctl):
    daemon = imd(server.url()).connected()
    daemon.client().call("disconnect")
    for name in "m1", "m2", "m3":
        assert imctl(daemon, "send", "--queue", "--id", name, "hi")[0] == 0

    def listed(*words):
        status, lines, error = imctl(daemon, "outbox", *words)
        assert (status, error) == (0, "")
        return [line.split()[0] for line in lines[1:]]

    assert listed() == listed("list") == listed("--since", "1h") == ["m1", "m2", "m3"]
    assert listed("-r") == ["m3", "m2", "m1"]
    assert listed("-n", "2") == ["m2", "m3"]
    assert listed("-r", "-n", "2") == ["m3", "m2"]
    assert listed("--until", "1h") == []
    entries = json.loads(imctl(daemon, "outbox", "--json")[1][0])["entries"]
    assert json.loads(imctl(daemon, "outbox", "--json", "-n1")[1][0]) == {"entries": entries[2:]}
    queued = entries[1]["queuedTime"]
    assert listed("--until", f"@{queued / 1000:.3f}")[:2] == ["m1", "m2"]


def test_wrong_command_lines(folder, imctl):
    class Nobody:
        socket_path = folder

    for words in ["outbox", "show"], ["outbox", "list", "x"], ["outbox", "drop"], ["outbox", "show", "x", "-r"], \
            ["outbox", "cancel", "x", "-n", "1"], ["outbox", "--since", "5"], ["outbox", "--from", "ann"], \
            ["history", "--until", "5"], ["history", "x"], ["history", "-n", "0"], ["history", "--json", "--format", "x"]:
        status, lines, error = imctl(Nobody, *words)
        assert (status, lines) == (64, []) and error.startswith("imctl: ") and error.count("\n") == 1, words
