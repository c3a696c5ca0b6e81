"""A daemon that is none: it tells subscribers what the real one does only on bad days."""

import json
import os
import socket
import threading


class FakeDaemon:
    """Answers subscribe and ack, and then says what it was told to."""

    def __init__(self, folder, *events):
        self.socket_path = os.path.join(folder, "fake.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket_path)
        self.listener.listen()
        self.events = events
        self.acks = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        sock, _ = self.listener.accept()
        with sock, sock.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                reply = {"jsonrpc": "2.0", "id": request["id"], "result": {}}
                out = json.dumps(reply) + "\n"
                if request["method"] == "subscribe":
                    out += "".join(json.dumps({"jsonrpc": "2.0", "method": kind, "params": params}) + "\n"
                                   for kind, params in self.events)
                elif request["method"] == "ack":
                    self.acks.append(request["params"]["seq"])
                try:
                    sock.sendall(out.encode())
                except BrokenPipeError:
                    return

    def stop(self):
        self.listener.close()
        self.thread.join(10)
