"""What the kernel tells of a process: memory, descriptors, processor time."""

import os
import re

import pytest

from process import build_dir


def is_instrumented():
    """Built with a sanitizer, or run below a wrapper such as valgrind."""
    with open(os.path.join(build_dir(), "CMakeCache.txt")) as f:
        return "IMD_WRAPPER" in os.environ or re.search(r"^SANITIZE:\w+=.", f.read(), re.MULTILINE) is not None


# Sanitizers and valgrind keep freed memory and add their own.
measures_memory = pytest.mark.skipif(is_instrumented(),
                                     reason="the memory of a sanitizer or wrapper says nothing about imd's")


def rss(pid):
    """Resident bytes."""
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", f.read(), re.MULTILINE).group(1)) << 10


def peak_rss(pid):
    """The most bytes that were resident at a time."""
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.MULTILINE).group(1)) << 10


def descriptors(pid):
    """How many are open, but for the store's files of lines: the newest stays open once a flood has come."""
    def target(fd):
        try:
            return os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            return ""
    return sum("/lines-" not in target(fd) for fd in os.listdir(f"/proc/{pid}/fd"))


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
