"""A service manager as imd sees it: the socket is handed over, and descriptors that imd gives to it come back to the next one."""

import collections
import os
import signal
import socket
import sys
import threading
import time

from client import Client
from manager import Manager
from patience import PATIENCE, until
from threads import kill_behind, kill_within

# The descriptors named as arguments become 3, 4, …, and the process stays the same.
HAND_OVER = """
import fcntl, os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 500 + len(fds)) for fd in fds]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""


Steps = collections.namedtuple("Steps", "count")         # instructions
Behind = collections.namedtuple("Behind", "call cause")  # a system call, and what makes imd do it


class Keeper(Manager):
    """Starts one daemon again and again. `names` are those of the descriptors that it keeps."""

    def __init__(self, folder, daemon, keeps=True, room=None):
        """room: how many descriptors it takes; newer versions of systemd tell that."""
        self.room = room
        self.lock = threading.Lock()
        self.kept = {}  # name -> descriptors
        self.keeps = keeps
        self.daemon = daemon
        self.limits = []  # argv in front of it
        self.socket_path = os.path.join(folder, "keeper.sock")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.socket_path)
        self.listener.listen(512)
        super().__init__(folder)

    def _take(self, lines, descriptors):
        said = dict(line.split("=", 1) for line in lines)
        name = said.get("FDNAME")
        with self.lock:
            if said.get("FDSTOREREMOVE") == "1":
                self._forget(name)
            elif said.get("FDSTORE") == "1" and self.keeps and self._has_room():
                self.kept.setdefault(name, []).extend(descriptors)
            else:
                super()._take(lines, descriptors)

    def _has_room(self):
        return self.room is None or sum(map(len, self.kept.values())) < self.room

    def _forget(self, name):
        for fd in self.kept.pop(name, []):
            os.close(fd)

    @property
    def names(self):
        with self.lock:
            return sorted(self.kept)

    def connections(self):
        return [name for name in self.names if name.startswith("imd-client-")]

    def wait_kept(self, count):
        until(lambda: len(self.connections()) == count, f"{count} connections are kept")

    # The daemon

    def start(self):
        self._spawn()
        self.daemon.socket_path, own = self.socket_path, self.daemon.socket_path
        try:
            until(self.daemon._answers, "imd is ready")
        finally:
            self.daemon.socket_path = own
        return self

    def start_fails(self):
        """What it says then."""
        self._spawn()
        process, self.daemon.process = self.daemon.process, None
        assert process.wait() == 1
        return process.stderr()

    def _catch_up(self):
        """As systemd does before it sees that a service has ended: what that has said is read."""
        mark = [f"X_MARK={time.monotonic()}"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(mark[0].encode(), self.path)
        until(lambda: mark in self.told, "all that was said is read")
        self.told.remove(mark)

    def _spawn(self):
        if self.hearing.is_set():
            self._catch_up()
        with self.lock:
            handed = [(self.listener.fileno(), "imd-work.socket")]  # what a unit of that name is called
            handed += [(fd, name) for name, fds in self.kept.items() for fd in fds]
        fds = [fd for fd, _ in handed]
        daemon = self.daemon
        daemon.launcher = [*self.limits, sys.executable, "-c", HAND_OVER, ",".join(map(str, fds))]
        daemon.options.update(pass_fds=fds, env={"LISTEN_FDS": str(len(fds)), **self.env(),
                                                 "LISTEN_FDNAMES": ":".join(name for _, name in handed)})
        if self.room:
            daemon.options["env"]["FDSTORE"] = str(self.room)
        daemon.spawn()

    def client(self):
        return Client(self.socket_path)

    def restart(self, how=signal.SIGTERM):
        self.end(how)
        self.start()

    def end(self, how=signal.SIGTERM):
        """how: a signal, or the place at which it is killed."""
        process, self.daemon.process = self.daemon.process, None
        if isinstance(how, (Steps, Behind)):
            kill_within(process.pid, how.count) if isinstance(how, Steps) else kill_behind(process.pid, how.call, how.cause)
            how = signal.SIGKILL
        else:
            process.signal(how)
        status = process.wait(2 * PATIENCE)
        assert status == (0 if how == signal.SIGTERM else -how), f"imd ended with {status}: {process.stderr()}"

    def stop(self):
        super().stop()
        with self.lock:
            for name in list(self.kept):
                self._forget(name)
        self.listener.close()
