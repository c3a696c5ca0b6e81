"""A service manager as imd sees one: a socket for what it is told, and a watchdog's time."""

import os
import socket
import threading
import time

from patience import PATIENCE, until


DESCRIPTORS_MAX = 8  # that one datagram brings


class Manager:
    """Reads what comes, unless it is `deaf`; then the socket takes a few datagrams and no more."""

    def __init__(self, folder, watchdog_ms=None):
        self.path = os.path.join(folder, "notify")
        self.watchdog_ms = watchdog_ms
        self.told = []  # one entry a datagram: its lines
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.hearing = threading.Event()
        self.hearing.set()
        threading.Thread(target=self._listen, daemon=True).start()

    def env(self):
        env = {"NOTIFY_SOCKET": self.path}
        if self.watchdog_ms:
            env["WATCHDOG_USEC"] = str(self.watchdog_ms * 1000)
        return env

    def deaf(self):
        """From now on nothing is read; one datagram more may be under way."""
        self.hearing.clear()

    def hear(self):
        self.hearing.set()

    def _listen(self):
        while True:
            self.hearing.wait()
            try:
                datagram, descriptors, _, _ = socket.recv_fds(self.socket, 4096, DESCRIPTORS_MAX)
            except OSError:
                return
            self._take(datagram.decode().rstrip("\n").split("\n"), descriptors)

    def _take(self, lines, descriptors):
        """This one keeps none; see keeper.py."""
        self.told.append(lines)
        for fd in descriptors:
            os.close(fd)

    def news(self):
        """All but the signs of life, a datagram each."""
        return [lines for lines in list(self.told) if lines != ["WATCHDOG=1"]]

    def wait_news(self, line):
        """The datagrams up to one that has this line, which are then forgotten."""
        at = until(lambda: [i for i, lines in enumerate(self.told) if line in lines], f"the manager is told {line}")[0]
        told, self.told[:at + 1] = self.told[:at + 1], []
        return [lines for lines in told if lines != ["WATCHDOG=1"]]

    def signs(self):
        return self.told.count(["WATCHDOG=1"])

    def wait_signs(self, count, seconds=PATIENCE):
        goal = self.signs() + count
        until(lambda: self.signs() >= goal, f"{count} more signs of life", seconds)

    def signs_within(self, seconds, meanwhile):
        """How many come in that time, in which `meanwhile` is called again and again."""
        before, end = self.signs(), time.monotonic() + seconds
        while time.monotonic() < end:
            meanwhile()
            time.sleep(0.02)
        return self.signs() - before

    def stop(self):
        self.hear()
        self.socket.close()
