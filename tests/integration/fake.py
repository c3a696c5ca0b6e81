"""A daemon that is none: it tells subscribers what the real one does only on bad days."""

import contextlib
import json
import os
import socket
import threading


class FakeDaemon:
    """Answers subscribe and ack, and then says what it was told to. hang_up: the first connection ends with the first
    ack, which is not answered."""

    def __init__(self, folder, *events, hang_up=False):
        self.socket_path = os.path.join(folder, "fake.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket_path)
        self.listener.listen()
        self.events = events
        self.acks = []
        self.hang_up = hang_up
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock, sock.makefile("rb") as lines, contextlib.suppress(OSError):
                while line := lines.readline():
                    if not self._answer(sock, json.loads(line)):
                        break

    def _answer(self, sock, request):
        """False: the connection is to end."""
        out = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {}}) + "\n"
        if request["method"] == "subscribe":
            out += "".join(json.dumps({"jsonrpc": "2.0", "method": kind, "params": params}) + "\n"
                           for kind, params in self.events)
        if request["method"] == "ack":
            self.acks.append(request["params"]["seq"])
            if self.hang_up:
                self.hang_up = False
                return False
        sock.sendall(out.encode())
        return True

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
