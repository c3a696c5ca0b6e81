"""The machines themselves: what they leave behind is nothing, however they end, and they do not know each other."""

import contextlib
import glob
import os
import signal
import subprocess
import sys

import pytest

from machine import SCRIPT, Machine
from patience import until


def cgroups():
    with open("/proc/mounts") as f:
        root = next(line.split()[1] for line in f if line.split()[2] == "cgroup2")
    return set(glob.glob(f"{root}/imd-machine.*"))


def cgroup_of(pid):
    """The machine's own, found by the keeper's process id at its end."""
    return {one for one in cgroups() if one.endswith(f".{pid}")}


def processes(folder):
    """Those that have the folder in their command line, or see it mounted."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/mountinfo") as f:
                mounted = f.read()
            with open(f"/proc/{pid}/cmdline") as f:
                command = f.read()
            if int(pid) != os.getpid() and (f"{folder}/machine" in command or f" {folder} " in mounted):
                found.append((pid, command.replace("\0", " ")))
    return found


def nothing_left(folder, keeper):
    until(lambda: not processes(folder), "its processes and mounts are gone")
    until(lambda: not cgroup_of(keeper), "its cgroup is gone")


@pytest.fixture
def keeper(machine):
    """The process that keeps the machine; its cgroup and its processes are there."""
    pid = machine.keeper.pid
    assert cgroup_of(pid) and processes(machine.folder)
    return pid


def test_nothing_is_left_when_it_ends(machine, keeper):
    machine.stop()
    nothing_left(machine.folder, keeper)


def test_nothing_is_left_when_it_is_told_to_go_down(machine, keeper):
    subprocess.run([SCRIPT, "down", machine.name], check=True)
    nothing_left(machine.folder, keeper)
    machine.pid = 0


def test_no_process_is_left_when_its_keeper_is_killed(machine, keeper, folder, installed):
    os.kill(keeper, signal.SIGKILL)
    machine.keeper.wait()
    until(lambda: not processes(folder), "its processes are gone")
    machine.pid = 0
    # The empty cgroup goes with the next machine's start.
    other = Machine(os.path.join(folder, "other"), installed)
    os.mkdir(other.folder)
    try:
        other.start()
        until(lambda: not cgroup_of(keeper), "its cgroup is gone")
    finally:
        other.stop()


TEST_TO_BE_KILLED = """
import sys
sys.path[:0] = sys.argv[1:3]
from machine import Machine
one = Machine(*sys.argv[3:5]).start()
print(one.keeper.pid, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_when_the_test_is_killed(folder, installed):
    here = os.path.dirname(SCRIPT)
    with subprocess.Popen([sys.executable, "-c", TEST_TO_BE_KILLED, here, f"{here}/../integration", folder, installed],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as test:
        line = test.stdout.readline()
        test.kill()
    if not line:
        pytest.skip("no machine can be had here")
    nothing_left(folder, int(line))


def test_two_side_by_side(folder, installed):
    machines = [Machine(os.path.join(folder, name), installed) for name in ("a", "b")]
    try:
        for one in machines:
            os.mkdir(one.folder)
            one.start().account("work")
        for one in machines:
            one.wait_state("work", "connected")
        machines[0].stop()
        assert machines[1].wait_state("work", "connected")
    finally:
        for one in machines:
            one.stop()
