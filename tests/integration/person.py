"""Other users of the machine: clients and imctl as somebody else, which only root can become."""

import contextlib
import os
import socket

import pytest

from client import Client
from imctl import imctl_argv
from patience import PATIENCE
from process import run


class Person:
    def __init__(self, uid, gid=None, groups=()):
        self.uid, self.gid, self.groups = uid, uid if gid is None else gid, list(groups)

    @contextlib.contextmanager
    def _acting(self):
        """In effect only, so that the way back is open; it is what the kernel notes of who connects."""
        groups = os.getgroups()
        try:
            os.setgroups(self.groups)
            os.setegid(self.gid)
            os.seteuid(self.uid)
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    def connect(self, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        with self._acting():
            sock.connect(path)
        return Client(sock=sock)

    def client(self, daemon):
        client = self.connect(daemon.socket_path)
        daemon.clients.append(client)
        return client

    def argv(self):
        """Goes before a command, which is then run by this one."""
        groups = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
        return ["/usr/bin/setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", *groups]

    def imctl_argv(self, daemon, *words):
        if run([*self.argv(), *imctl_argv(daemon, "--version")])[0] != 0:
            pytest.skip("others may not run imctl from this build folder")
        return [*self.argv(), *imctl_argv(daemon, *words)]

    def imctl(self, daemon, *words):
        """(exit status, stdout, stderr)"""
        return run(self.imctl_argv(daemon, *words))


def open_to_all(daemon):
    """Who may open the socket is not what is tested."""
    os.chmod(daemon.folder, 0o755)
    os.chmod(daemon.socket_path, 0o666)
    return daemon


def others_or_skip():
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    try:
        with Person(1001, groups=[1002])._acting():
            pass
    except OSError as e:
        pytest.skip(f"nobody can become somebody else here: {e.strerror}")
