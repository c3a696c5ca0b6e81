"""What systemd keeps: programs go on over restarts, kills, and a watchdog that has lost patience."""

import os
import random
import signal

import pytest

from machine import unit
from patience import until
from threads import let_die, stopped, thread_named
from throng import Asker, Traffic, judge, listeners_of, push_the_last, serve

LISTENERS = 50


def wait_kept(machine, count):
    """The memory, and connections."""
    until(lambda: int(machine.show(unit("work"), "NFileDescriptorStore")) == count + 1, f"systemd keeps {count} connections")


def restart(machine):
    machine.systemctl("restart", unit("work"))


def kill(machine):
    pid = machine.main_pid(unit("work"))
    os.kill(pid, signal.SIGKILL)
    until(lambda: machine.main_pid(unit("work")) not in (0, pid), "imd is there again")


@pytest.mark.limit(120)
def test_fifty_subscribers_go_on_under_load(machine):
    chance = random.Random(1)
    machine.account("work", RingSize="64K")
    machine.wait_state("work", "connected").close()
    client_of = lambda: machine.client("work")  # noqa: E731
    listeners = listeners_of(client_of, chance, LISTENERS)
    askers = [Asker(client_of(), n) for n in range(3)]
    wait_kept(machine, LISTENERS + 3)
    traffic = Traffic(machine.server)
    try:
        for end in [restart, kill, restart, kill]:
            serve(listeners, askers, chance.uniform(0.1, 0.4))
            end(machine)
    finally:
        traffic.stop()
    machine.wait_state("work", "connected").close()
    push_the_last(machine.server)
    judge(machine.client("work"), listeners, askers)


@pytest.mark.parametrize("thread", ["imd", "imd-store"])
def test_a_stuck_thread_is_killed_and_nobody_notices(machine, thread):
    machine.account("work")
    # A thread that a debugger has stopped does not die of the first signal, which is to leave a core; of the second it does.
    machine.drop_in(unit("work"), "[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\n")
    machine.wait_state("work", "connected").close()
    client = machine.client("work")
    client.subscribe("MESSAGE")
    machine.server.push_text("one")
    first = client.event("MESSAGE")
    pid = machine.main_pid(unit("work"))
    tid = thread_named(pid, thread)

    def is_there_again():
        let_die(tid)
        return machine.main_pid(unit("work")) not in (0, pid)

    with stopped(tid):
        until(is_there_again, "imd is killed, and there again")
    assert machine.show(unit("work"), "NRestarts") == "1"
    assert "Watchdog timeout" in machine.journal(unit("work"))
    machine.wait_state("work", "connected").close()
    machine.server.push_text("two")
    assert client.event("MESSAGE").params["seq"] == first.params["seq"] + 1


def test_stop_ends_connections(machine):
    machine.account("work")
    client = machine.client("work")
    client.subscribe("MESSAGE")
    wait_kept(machine, 1)
    machine.systemctl("stop", unit("work"))
    client.wait_closed()
    assert machine.show(unit("work"), "NFileDescriptorStore") == "0"


def test_systemctl_status_has_the_state_in_words(machine):
    machine.account("work")
    client = machine.wait_state("work", "connected")
    until(lambda: machine.show(unit("work"), "StatusText") == f"Connected to {machine.server.url()} as me", "the state")
    client.call("disconnect")
    until(lambda: machine.show(unit("work"), "StatusText") == "Disconnected on request", "the state")
