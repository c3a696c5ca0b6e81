"""A journal as imd sees one: the socket for entries, in a mount namespace in which it is systemd's."""

import os
import socket
import struct
import threading

import pytest

from process import run


def parse(datagram):
    """The fields of an entry, as bytes: NAME=value, or NAME, the length in 8 bytes, the value."""
    fields = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = struct.unpack("<Q", rest[:8])[0]
            value, rest = rest[8:8 + size], rest[8 + size:]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        assert name.decode() not in fields
        fields[name.decode()] = value
        datagram = rest
    return fields


class Journal:
    def __init__(self, folder, stderr_path):
        self.path = os.path.join(folder, "journal")
        self.stderr_path = stderr_path
        self.entries = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        threading.Thread(target=self._listen, daemon=True).start()

    def launcher(self):
        """argv in front of a program that shall find this journal; it stays the same process."""
        script = ('mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && ln -s "$1" /run/systemd/journal/socket'
                  ' && shift && exec "$@"')
        argv = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", self.path]
        status, _, error = run([*argv, "true"])
        if status != 0:
            pytest.skip(f"no private mount namespace to be had here: {error.strip()}")
        return argv

    def env(self):
        """stderr, which must be that file, is the journal's."""
        with open(self.stderr_path, "ab") as f:
            s = os.fstat(f.fileno())
        return {"JOURNAL_STREAM": f"{s.st_dev}:{s.st_ino}"}

    def _listen(self):
        while True:
            try:
                self.entries.append(parse(self.socket.recv(1 << 16)))
            except OSError:
                return

    def of(self, message_id):
        return [e for e in list(self.entries) if e.get("MESSAGE_ID") == message_id.encode()]

    def stop(self):
        self.socket.close()
