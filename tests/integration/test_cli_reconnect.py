"""imctl listen --reconnect: a daemon that is not there yet, goes away, and comes back."""

import json
import os
import signal

import pytest

from imctl import Imctl, imctl, not_acked
from patience import SLOW, until

WAITING = "imctl: imd has ended the connection; waiting for it\n"
BACK = "imctl: imd is back\n"


@pytest.fixture
def again(folder):
    """again(daemon, word…) starts `imctl listen --reconnect`."""
    started = []

    def start(daemon, *words):
        started.append(Imctl(daemon, folder, "listen", "--reconnect", *words, name=f"imctl{len(started)}"))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def subscribed(daemon):
    until(lambda: daemon.client().call("status")["subscribers"] == 1, "imctl is subscribed")


def texts(lines):
    """Of the messages; after a crash imd also tells of numbers that it may have given away."""
    events = [json.loads(line) for line in lines]
    return [event["params"]["data"]["content"]["message"] for event in events if event["method"] == "MESSAGE"]


def test_it_waits_for_the_daemon(server, imd_of, again):
    daemon = imd_of(server.url())
    one = again(daemon, "-n", "1", "-e", "MESSAGE")
    one.wait_stderr("waiting for it\n")
    assert one.stderr() == f"imctl: cannot reach imd at {daemon.socket_path}: no such file; waiting for it\n"
    daemon.start().connected()
    subscribed(daemon)
    server.push_text("hi")
    assert one.wait() == 0 and texts(one.lines()) == ["hi"]


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_nothing_is_lost_or_repeated_over_a_restart(server, imd_of, again, end):
    daemon = imd_of(server.url()).start().connected()
    one = again(daemon, "-e", "MESSAGE")
    subscribed(daemon)
    server.push_text("a")
    one.wait_lines(1)
    getattr(daemon, end)()
    one.wait_stderr(WAITING)
    daemon.start().connected()
    server.push_text("b")
    one.wait_stderr(BACK)
    server.push_text("c")
    until(lambda: texts(one.lines())[-1:] == ["c"], "all have come")
    assert texts(one.lines()) == ["a", "b", "c"]
    assert one.stderr() == WAITING + BACK and one.process.running()


def test_a_consumer_goes_on_behind_its_acks(server, imd_of, again):
    daemon = imd_of(server.url()).start().connected()
    one = again(daemon, "-e", "MESSAGE", "--consumer", "me")
    subscribed(daemon)
    for n in range(3):
        server.push_text("a")
        one.wait_lines(3 * n + 1)
        daemon.stop()
        daemon.start().connected()
        server.push_text("b")
        server.push_text("c")
        one.wait_lines(3 * n + 3)
    assert texts(one.lines()) == ["a", "b", "c"] * 3
    one.signal(signal.SIGTERM)
    one.wait()


def test_a_command_that_runs_is_not_run_twice(server, imd_of, again, folder):
    """Its ack was not sent when imd went away, so imd tells of its event again."""
    gate, seen = os.path.join(folder, "gate"), os.path.join(folder, "seen")
    daemon = imd_of(server.url()).start().connected()
    one = again(daemon, "-n", "3", "-e", "MESSAGE", "--consumer", "me", "--exec",
                f"touch {seen}; until test -e {gate}; do sleep 0.01; done; echo $IM_TEXT")
    subscribed(daemon)
    server.push_text("a")
    server.push_text("b")
    until(lambda: os.path.exists(seen), "the command runs")
    until(lambda: len(daemon.client().call("history")["events"]) == 2, "both are on disk")
    daemon.crash()
    one.wait_stderr(WAITING)
    daemon.start().connected()
    one.wait_stderr(BACK)
    server.push_text("c")
    open(gate, "w").close()
    assert one.wait() == 0 and one.lines() == ["a", "b", "c"]
    assert not_acked(daemon) == []


def test_an_ack_that_was_lost_is_sent_again(fake, again):
    daemon = fake(("MESSAGE", {"seq": 1, "time": 1, "code": 0, "data": {"content": {"message": "a"}}}), hang_up=True)
    one = again(daemon, "--consumer", "me")
    until(lambda: daemon.acks == [1, 1], "the ack comes again")
    assert texts(one.lines()) == ["a"] and one.stderr() == WAITING + BACK


def test_the_time_is_out_without_a_daemon(folder):
    path = os.path.join(folder, "none.sock")
    status, lines, error = imctl(path, "listen", "--reconnect", "-W", "0.1")
    assert (status, lines) == (124, [])
    assert error == f"imctl: cannot reach imd at {path}: no such file; waiting for it\n"


def test_the_time_is_out_while_it_is_away(server, imd, again):
    daemon = imd(server.url()).connected()
    one = again(daemon, "-W", str(1.5 * SLOW), "-e", "MESSAGE")
    subscribed(daemon)
    daemon.stop()
    assert one.wait() == 124 and one.lines() == []


def test_what_no_waiting_mends(folder):
    path = os.path.join(folder, "x" * 108)
    assert imctl(path, "listen", "--reconnect") == (
        69, [], f"imctl: cannot reach imd at {path}: the path is too long for a socket\n")


@pytest.mark.parametrize("words", [[], ["--exec", "true"]])
def test_a_signal_ends_the_wait(server, imd, again, folder, words):
    early = again(os.path.join(folder, "none.sock"), *words)
    early.wait_stderr("waiting for it\n")
    early.signal(signal.SIGINT)
    assert early.wait() == -signal.SIGINT
    daemon = imd(server.url()).connected()
    late = again(daemon, *words)
    subscribed(daemon)
    daemon.stop()
    late.wait_stderr(WAITING)
    late.signal(signal.SIGTERM)
    assert late.wait() == -signal.SIGTERM


def test_without_it_the_end_of_the_daemon_is_an_error(server, imd, listen):
    daemon = imd(server.url()).connected()
    one = listen("-e", "MESSAGE", daemon=daemon)
    daemon.stop()
    assert one.wait() == 69 and one.stderr() == "imctl: imd has ended the connection\n"
