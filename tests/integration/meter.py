"""What a program asks of the allocator and the kernel, counted in it while it runs (meter/meter.c)."""

import collections
import mmap
import os
import struct

from patience import until
from process import build_dir

HEADER_SIZE, ROW_SIZE, THREADS_MAX = 4096, 512, 64
ALLOCATIONS = ("malloc", "calloc", "realloc", "memalign", "free")
NO_CALLS = ("sleeps", "wakes", "server_reads", "server_writes", "client_reads", "client_writes")


class Meter:
    """Start the program with .env; then .thread(its process id) is its main thread."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "meter")
        self.env = {"LD_PRELOAD": os.path.join(build_dir(), "tests/integration/meter.so"), "METER": self.path}

    def thread(self, number):
        with open(self.path, "rb") as f:
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        names = data[:HEADER_SIZE].split(b"\0", 1)[0].decode().split()
        for at in range(HEADER_SIZE, HEADER_SIZE + THREADS_MAX * ROW_SIZE, ROW_SIZE):
            if struct.unpack_from("=Q", data, at)[0] == number:
                return Thread(data, at + 8, names)
        raise AssertionError(f"thread {number} has not been counted")


class Thread:
    def __init__(self, data, at, names):
        self.data, self.at, self.names = data, at, names

    def counts(self):
        """All since it began."""
        return collections.Counter(dict(zip(self.names, struct.unpack_from(f"={len(self.names)}Q", self.data, self.at))))

    def asleep(self):
        """The same, when it has done all that it was given: it waits for more. Timers apart, they stay so."""

        def at_rest():
            counts, again = self.counts(), self.counts()  # one reading may lie across a turn
            return again if again == counts and again["sleeps"] == again["wakes"] + 1 else None

        return until(at_rest, "the thread sleeps")

    def cost(self, work):
        """What it did for this. work returns only when the thread was seen to do the last of it."""
        before = self.asleep()
        work()
        return self.asleep() - before


def allocations(cost):
    return {name: cost[name] for name in ALLOCATIONS if cost[name]}


def calls(cost):
    """System calls by name."""
    return {name: n for name, n in cost.items() if n and name not in (*ALLOCATIONS, *NO_CALLS)}
