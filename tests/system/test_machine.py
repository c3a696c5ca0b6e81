"""The machines themselves: what they leave behind is nothing, however they end, and they do not know each other."""

import contextlib
import glob
import os
import signal
import subprocess
import sys

import pytest

from machine import SCRIPT
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


def test_no_process_is_left_when_its_keeper_is_killed(machine, keeper, machine_of):
    os.kill(keeper, signal.SIGKILL)
    machine.keeper.wait()
    until(lambda: not processes(machine.folder), "its processes are gone")
    machine.pid = 0
    # The empty cgroup goes with the next machine's start.
    machine_of("other").start()
    until(lambda: not cgroup_of(keeper), "its cgroup is gone")


TEST_TO_BE_KILLED = """
import sys
sys.path[:0] = sys.argv[1:3]
from machine import Machine
one = Machine(*sys.argv[3:5]).start()
print(one.keeper.pid, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_when_the_test_is_killed(machine_of):
    one = machine_of("m")
    here = os.path.dirname(SCRIPT)
    argv = [sys.executable, "-B", "-c", TEST_TO_BE_KILLED, here, f"{here}/../integration", one.folder, one.layer]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as test:
        keeper = int(test.stdout.readline())
        assert cgroup_of(keeper) and processes(one.folder)
        test.kill()
    nothing_left(one.folder, keeper)


def test_two_side_by_side(machine_of):
    machines = [machine_of(name).start() for name in ("a", "b")]
    for one in machines:
        one.account("work")
    for one in machines:
        one.wait_state("work", "connected")
    machines[0].stop()
    client = machines[1].wait_state("work", "connected")
    client.result(client.send("still here"))
