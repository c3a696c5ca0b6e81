"""imctl listen --exec: what the command is told, in which order, and what is acked."""

import os
import signal
import subprocess

import pytest

from imctl import CONSUMER, Imctl, imctl, last_seq, not_acked, pushed
from patience import until
from vitals import is_instrumented, peak_rss


def test_a_command_gets_the_event(server, bridge, listen, folder):
    out = os.path.join(folder, "out")
    one = listen("-n", "1", "--exec", f"env | grep ^IM_ | sort >{out}; cat >{out}.json; echo said",
                 env={"IM_FILE": "/old", "IM_OTHER": "kept"})
    client = bridge.subscriber("MESSAGE")
    server.push_text("a 'b' $(c)", messageId="m1", conversationType=1)
    event = client.event("MESSAGE")
    assert one.wait() == 0
    with open(out, encoding="utf-8") as f:
        assert f.read().splitlines() == [
            "IM_CONVERSATION=private", "IM_EVENT=MESSAGE", "IM_FILE=", "IM_FROM=ann", "IM_ID=m1", "IM_OTHER=kept",
            f"IM_SEQ={event.params['seq']}", "IM_SIGNAL=", "IM_TEXT=a 'b' $(c)", f"IM_TIME={event.params['time']}",
            "IM_TO=server", "IM_TYPE=text"]
    with open(out + ".json", "rb") as f:
        assert f.read() == event.raw
    assert one.lines() == ["said"] and one.stderr() == ""


def test_a_command_need_not_read(server, listen):
    one = listen("-n", "3", "--exec", "echo $IM_TEXT")
    for n in range(3):
        server.push_text(f"{n}", more="x" * 300000)
    assert one.wait() == 0
    assert one.lines() == ["0", "1", "2"]


def test_a_text_too_long_for_the_environment(server, listen):
    one = listen("-n", "2", "--exec", "echo ${IM_TEXT-none} ${#IM_TEXT}; head -c 20 | wc -c")
    server.push_text("x" * (128 * 1024 - 8))
    server.push_text("y" * (128 * 1024 - 9))
    assert one.wait() == 0
    lines = one.lines()
    assert lines[0] == "none 0" and lines[1] == "20"
    assert lines[2] == "y" * (128 * 1024 - 9) + f" {128 * 1024 - 9}" and lines[3] == "20"


def test_commands_run_one_after_the_other(server, listen):
    one = listen("-n", "20", "--exec", "echo begin $IM_TEXT; echo end $IM_TEXT")
    for n in range(20):
        server.push_text(str(n))
    assert one.wait() == 0
    assert one.lines() == [f"{word} {n}" for n in range(20) for word in ("begin", "end")]


def test_so_many_at_once_begun_in_order(server, listen, folder):
    gate = os.path.join(folder, "gate")
    os.mkfifo(gate)
    one = listen("-n", "5", "-j", "3", "--exec", f"echo $IM_TEXT; read x <{gate}")
    for n in range(5):
        server.push_text(str(n))
    assert sorted(one.wait_lines(3)) == ["0", "1", "2"]
    children = subprocess.check_output(["ps", "-o", "stat=", "--ppid", str(one.pid)], text=True).split()
    assert len(children) == 3 and not any(state.startswith("Z") for state in children)
    with open(gate, "w") as f:
        f.write("\n" * 5)
    def open_again():
        if one.process.running():
            try:
                fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
                os.write(fd, b"\n" * 5)
                os.close(fd)
            except OSError:
                pass
        return not one.process.running()
    until(open_again, "all commands have run")
    assert one.wait() == 0 and sorted(one.lines()) == ["0", "1", "2", "3", "4"]


def test_an_event_is_acked_when_its_command_succeeded(server, bridge):
    seqs = pushed(server, bridge, "a", "b", "c")
    assert imctl(bridge, *CONSUMER, "-n", "2", "--exec", "true") == (0, [], "")
    assert not_acked(bridge) == seqs[2:]


def test_a_failure_stops_the_acks_behind_it(server, bridge):
    seqs = pushed(server, bridge, "a", "bad", "c", "d")
    command = "echo $IM_TEXT; test $IM_TEXT != bad"
    status, lines, error = imctl(bridge, *CONSUMER, "-n", "4", "--exec", command)
    assert (status, lines) == (1, ["a", "bad"])
    assert error == (f"imctl: the command for event {seqs[1]} ended with status 1; "
                     "the event comes again at the next start\n")
    assert not_acked(bridge) == seqs[1:]
    assert imctl(bridge, *CONSUMER, "-n", "3", "--exec", "echo $IM_TEXT") == (0, ["bad", "c", "d"], "")
    assert not_acked(bridge) == []


def test_acks_wait_for_the_slowest(server, bridge, folder):
    """c succeeds before a fails: nothing is acked."""
    seqs = pushed(server, bridge, "a", "b", "c")
    done = os.path.join(folder, "done")
    command = f"case $IM_TEXT in a) until test -e {done}; do sleep 0.01; done; kill -9 $$;; c) touch {done};; esac"
    status, _, error = imctl(bridge, *CONSUMER, "-n", "3", "-j", "3", "--exec", command)
    assert status == 1 and "was ended by a signal: Killed" in error
    assert not_acked(bridge) == seqs


def test_without_a_consumer_a_failure_is_told_and_it_goes_on(server, listen):
    one = listen("-n", "3", "--exec", "echo $IM_TEXT; test $IM_TEXT != bad")
    for value in "a", "bad", "c":
        server.push_text(value)
    assert one.wait() == 1
    assert one.lines() == ["a", "bad", "c"]
    assert one.stderr().count("ended with status 1\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_behind_the_running_command(server, bridge, listen, folder, number):
    gate, seen = os.path.join(folder, "gate"), os.path.join(folder, "seen")
    one = listen("--consumer", "me", "-e", "MESSAGE", "--exec",
                 f"touch {seen}; until test -e {gate}; do sleep 0.01; done; echo $IM_TEXT")
    client = bridge.subscriber("MESSAGE")
    for value in "a", "b":
        server.push_text(value)
    seqs = [event.params["seq"] for event in client.messages(2)]
    client.close()
    until(lambda: os.path.exists(seen), "the command runs")
    one.signal(number)
    open(gate, "w").close()
    assert one.wait() == -number
    assert one.lines() == ["a"]
    assert not_acked(bridge) == seqs[1:]


def test_a_second_signal_ends_it_at_once(server, listen, folder):
    seen = os.path.join(folder, "seen")
    one = listen("--exec", f"touch {seen}; exec sleep 60")
    server.push_text("a")
    until(lambda: os.path.exists(seen), "the command runs")
    one.signal(signal.SIGTERM)
    def again():
        one.signal(signal.SIGTERM)
        return not one.process.running()
    until(again, "the second signal ends it")
    assert one.wait() == -signal.SIGTERM


def sleeps(pid):
    """It has done all that it was woken for."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize("consumer", [False, True])
def test_what_came_before_the_daemon_went(server, imd, listen, folder, consumer):
    """Of a consumer it comes again, from nobody else."""
    daemon = imd(server.url()).connected()
    gate, seen = os.path.join(folder, "gate"), os.path.join(folder, "seen")
    command = f"touch {seen}; until test -e {gate}; do sleep 0.01; done; echo $IM_TEXT"
    one = listen(*(["--consumer", "me"] if consumer else []), "--exec", command, daemon=daemon)
    server.push_text("a")
    server.push_text("b")
    until(lambda: os.path.exists(seen), "the command runs")
    daemon.stop()
    until(lambda: sleeps(one.pid), "imctl has seen it")
    open(gate, "w").close()
    assert one.wait() == 69
    assert one.lines() == (["a"] if consumer else ["a", "b"])
    assert "imd has ended the connection" in one.stderr()


def test_what_exec_does_not_go_with(bridge):
    for words in ["--exec", "true", "--format", "%m"], ["--exec", "true", "--json"], ["-j", "2"], \
            ["--exec", "true", "-j", "1001"], ["--exec", "true", "-j", "0"], ["--json", "--format", "%m"]:
        status, lines, error = imctl(bridge, "listen", *words)
        assert (status, lines) == (64, []) and error.endswith("see 'imctl listen --help'\n"), words

GAP = "GAP", {"from": 2, "to": 5, "reason": "pruned"}


def test_what_is_lost_is_told_and_acked(fake):
    after = "MESSAGE", {"seq": 6, "time": 1, "code": 0, "data": {"content": {"message": "x"}}}
    daemon = fake(GAP, after)
    told = "imctl: events 2 to 5 are lost (pruned)\n"
    assert imctl(daemon, "listen", "-n", "1", "--consumer", "me", "--exec", "echo $IM_TEXT") == (0, ["x"], told)
    assert daemon.acks[-1] == 6


def test_complaints_do_not_drive_a_terminal(fake):
    daemon = fake(("GAP", {"from": 2, "to": 5, "reason": "a\x1b[31m\u009b\nb"}))
    status, _, error = imctl(daemon, "listen", "-W", "0.3", "--exec", "true")
    assert (status, error) == (124, "imctl: events 2 to 5 are lost (a\\x1b[31m\\x9b\\x0ab)\n")


def test_a_consumer_is_acked_while_commands_run(fake, folder):
    one, two = (("MESSAGE", {"seq": n, "time": 1, "code": 0, "data": {"content": {"message": str(n)}}}) for n in (1, 2))
    daemon, gate = fake(one, two), os.path.join(folder, "gate")
    running = Imctl(daemon, folder, "listen", "-n", "2", "--consumer", "me", "--exec",
                    f"test $IM_TEXT = 1 || until test -e {gate}; do sleep 0.01; done")
    try:
        until(lambda: daemon.acks == [1], "the first is acked")
        open(gate, "w").close()
        assert running.wait() == 0 and daemon.acks == [1, 2]
    finally:
        running.stop()


def test_a_lost_range_is_acked_up_to_its_end(fake):
    daemon = fake(GAP)
    told = "imctl: events 2 to 5 are lost (pruned)\n"
    assert imctl(daemon, "listen", "-W", "0.3", "--consumer", "me", "--format", "%m") == (124, [], told)
    assert daemon.acks == [5]


def test_a_command_for_what_is_lost(fake):
    daemon = fake(GAP)
    assert imctl(daemon, "listen", "-n", "1", "-e", "GAP", "--exec", "echo $IM_EVENT $IM_SEQ") == (0, ["GAP 5"], "")


def test_a_slow_command_does_not_fill_the_memory(server, bridge, listen, folder):
    """What waits stays in imd's history, and comes when there is room for it."""
    gate = os.path.join(folder, "gate")
    one = listen("-e", "MESSAGE", "--exec", f"until test -e {gate}; do sleep 0.01; done; echo $IM_SEQ")
    for n in range(32):
        server.push_text("x" * (1 << 20))
    until(lambda: last_seq(bridge) == 32, "all have come")
    bridge.client().barrier()
    open(gate, "w").close()
    assert one.wait_lines(32) == [str(n + 1) for n in range(32)]
    assert one.process.running() and one.stderr() == ""
    assert is_instrumented() or peak_rss(one.pid) < 16 << 20
