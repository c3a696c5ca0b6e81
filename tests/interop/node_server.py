"""server.mjs as seen by a test: the loopback IM server's interface, as far as this one has it."""

import os
import socket
import subprocess

import javascript
from patience import PATIENCE, until
from process import Process, build_dir
from server import Server

HERE = os.path.dirname(os.path.abspath(__file__))


def modules_dir():
    return os.path.join(build_dir(), "interop")


class NodeServer(Server):
    def start(self):
        """Also starts it again, on the port that it had."""
        argv = ["node", os.path.join(HERE, "server.mjs"), "--modules", modules_dir(),
                "--control", self.control_path, "--port", str(self.port)]
        self.process = Process(argv, self.folder, self.name, stdout=subprocess.PIPE)
        self.port = self._ready()["port"]
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.settimeout(PATIENCE)
        self.control.connect(self.control_path)
        self.replies = self.control.makefile("rb")
        return self

    def wait(self, stat, min):
        until(lambda: self.stats()[stat] >= min, f"the server's {stat} reach {min}")

    def messages(self, clear=True):
        """What was decoded, pings not counted, as javascript.py has it."""
        return [javascript.parse(message) for message in self.do("received", clear=clear)["messages"]]

    def push(self, js, **more):
        """The frame is encode(js); js is an expression in JavaScript."""
        return self.do("push", js=js, **more)

    def push_value(self, js):
        """As data.v of an envelope."""
        return self.push(f"{{code: 0, data: {{v: {js}}}}}")

    def wait_closed(self, count):
        """Until so many links, of all that ever were, are closed."""

        def closed():
            return sum(link["code"] is not None for link in self.stats()["links"])

        until(lambda: closed() >= count, f"{count} are closed")
