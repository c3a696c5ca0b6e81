"""imctl listen on a running daemon: --format, filters, and how it ends."""

import json
import subprocess

import pytest

from imctl import imctl, imctl_argv
from patience import until


def texts(lines):
    return [json.loads(line)["params"]["data"]["content"]["message"] for line in lines]


def test_states_of_the_link_do_not_end_it(server, bridge, listen):
    """Before any message has come, too."""
    listener = listen()
    bridge.client().call("reconnect")
    listener.wait_lines(2)
    bridge.wait_state("connected")
    server.push_text("one")
    until(lambda: any('"one"' in line for line in listener.lines()), "the message")
    assert listener.process.running()


# ---- --format ----

def formatted(bridge, form, *words, **options):
    return imctl(bridge, "history", "--format", form, *words, **options)


def test_each_letter_of_a_format(server, bridge):
    client = bridge.subscriber("MESSAGE")
    server.push({"code": 3, "data": {"messageType": "SignalMsg", "conversationType": 3, "from": "ann", "to": "room",
                                     "signalName": "end", "messageId": "m1", "content": {"message": "hi"}}})
    event = client.event("MESSAGE")
    utc = {"env": {"TZ": "UTC"}}
    for letter, value in [("f", "ann"), ("T", "room"), ("m", "hi"), ("y", "signal"), ("c", "group"), ("S", "end"),
                          ("i", "m1"), ("k", "3"), ("e", "MESSAGE"), ("p", ""), ("%", "%"),
                          ("s", str(event.params["seq"])), ("j", event.raw.decode().rstrip("\n"))]:
        assert formatted(bridge, f"<%{letter}>", **utc) == (0, [f"<{value}>"], ""), letter
    seconds, ms = divmod(event.params["time"], 1000)
    date = subprocess.check_output(["date", "-u", "-d", f"@{seconds}", "+%Y-%m-%d %H:%M:%S"], text=True).strip()
    assert formatted(bridge, "%t", **utc) == (0, [date], "")
    assert formatted(bridge, "%z") == (0, [f"{date.replace(' ', 'T')}.{ms:03}Z"], "")
    assert formatted(bridge, r"a\tb\\c%%\n%f%m")[1] == ["a\tb\\c%", "annhi"]


def test_a_format_of_what_is_not_there(server, bridge):
    client = bridge.subscriber("MESSAGE")
    server.push({"code": 4, "errMsg": "close"})
    client.event("MESSAGE")
    assert formatted(bridge, "%f|%T|%y|%c|%S|%i|%m") == (0, ["||||||close"], "")


@pytest.mark.parametrize("command", ["listen", "history"])
def test_a_format_that_is_none(folder, command):
    for form in "%x", "a%", "\\q", "a\\", "%":
        status, lines, error = imctl(folder, command, "--format", form)
        assert (status, lines) == (64, [])
        assert error.startswith("imctl: --format does not know '") and f"imctl {command} --help" in error


def test_a_message_does_not_forge_a_line(server, bridge):
    client = bridge.subscriber("MESSAGE")
    server.push_text("one\nann: two\ttab\r\\ \x1b[31m \u00e4")
    raw = client.event("MESSAGE").raw.decode().rstrip("\n")
    assert formatted(bridge, "%f: %m") == (0, ["ann: one\\nann: two\\ttab\\r\\\\ \x1b[31m \u00e4"], "")
    back = subprocess.check_output(["bash", "-c", "printf %b \"$1\"", "-", formatted(bridge, "%m")[1][0]])
    assert back.decode() == "one\nann: two\ttab\r\\ \x1b[31m \u00e4"
    assert formatted(bridge, "%j") == (0, [raw], "")


def test_a_format_leaves_out_what_was_not_asked_for(server, bridge, listen):
    one = listen("--format", "%e %m", "-n", "1")
    imctl(bridge, "reconnect")
    bridge.connected()
    server.push_text("hi")
    assert one.wait() == 0
    assert one.lines() == ["MESSAGE hi"]
    two = listen("--format", "%e %m", "-n", "1", "-e", "STATUS", "-e", "MESSAGE")
    imctl(bridge, "disconnect")
    assert two.wait() == 0
    assert two.lines() == ["STATUS disconnected"]


# ---- How it ends ----

def test_the_time_is_out(server, bridge, listen):
    assert imctl(bridge, "listen", "-W", "0.05") == (124, [], "")
    one = listen("-W", "60", "-n", "1", "-e", "MESSAGE")
    server.push_text("hi")
    assert one.wait() == 0 and texts(one.lines()) == ["hi"]
    assert imctl(bridge, "listen", "-W", "0.05", "--exec", "true") == (124, [], "")


def test_a_broken_pipe_ends_it_quietly(server, bridge):
    child = subprocess.Popen(imctl_argv(bridge, "listen", "-e", "MESSAGE"), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    until(lambda: bridge.client().call("status")["subscribers"] == 1, "imctl is subscribed")
    server.push_text("hi")
    assert texts([child.stdout.readline()]) == ["hi"]
    child.stdout.close()
    assert child.wait(10) == 0 and child.stderr.read() == b""
    child.stderr.close()


def test_the_filters(server, bridge, listen):
    one = listen("-n", "1", "-e", "MESSAGE", "--from", "bob", "--type", "text", "-c", "group")
    server.push_text("a")
    server.push_text("b", **{"from": "bob"})
    server.push_text("c", **{"from": "bob", "conversationType": 3})
    assert one.wait() == 0 and texts(one.lines()) == ["c"]


def test_wrong_command_lines(folder):
    for words in ["-e", "NONE"], ["-c", "none"], ["-n", "0"], ["-W", "x"], ["--since", "x"], ["more"], ["--bad"], ["--exec"]:
        status, lines, error = imctl(folder, "listen", *words)
        assert (status, lines) == (64, []) and error.startswith("imctl: ") and error.count("\n") == 1
