"""A name server on loopback: silent, or NXDOMAIN, or addresses; and a mount namespace in which it is the only one."""

import os
import random
import socket
import struct
import threading

import pytest

from process import run

_NXDOMAIN, _NOERROR = 3, 0
_TYPE_A = 1


class NameServer:
    """silent: never answers. addresses: A records for every name; empty: NXDOMAIN."""

    def __init__(self, folder):
        self.silent = True
        self.addresses = []
        self.queries = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = self._bind()
        self.files = self._write_files(folder)
        threading.Thread(target=self._serve, daemon=True).start()

    def _bind(self):
        for _ in range(50):
            address = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"
            try:
                self.socket.bind((address, 53))
                return address
            except PermissionError:
                pytest.skip("a name server needs port 53, which only root may bind")
            except OSError:
                continue
        pytest.skip("no loopback address has a free port 53")

    def _write_files(self, folder):
        contents = {"resolv.conf": f"nameserver {self.address}\noptions timeout:5 attempts:2\n",
                    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: dns\n"}
        paths = []
        for name, text in contents.items():
            paths.append(os.path.join(folder, name))
            with open(paths[-1], "w") as f:
                f.write(text)
        return paths

    def launcher(self):
        """argv in front of a program that shall see only this name server; it stays the same process."""
        script = ('mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/nsswitch.conf'
                  ' && shift 2 && exec "$@"')
        argv = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", *self.files]
        status, _, error = run([*argv, "true"])
        if status != 0:
            pytest.skip(f"no private mount namespace to be had here: {error.strip()}")
        return argv

    def stop(self):
        self.socket.close()

    def _serve(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(2048)
            except OSError:
                return
            self.queries += 1
            if not self.silent:
                self.socket.sendto(self._answer(query), peer)

    def _answer(self, query):
        end = 12
        while query[end]:
            end += 1 + query[end]
        question = query[12:end + 5]
        kind = struct.unpack("!H", query[end + 1:end + 3])[0]
        addresses = self.addresses if kind == _TYPE_A else []
        code = _NOERROR if self.addresses else _NXDOMAIN
        header = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
        records = [struct.pack("!HHHIH", 0xC00C, _TYPE_A, 1, 0, 4) + socket.inet_aton(a) for a in addresses]
        return header + question + b"".join(records)
