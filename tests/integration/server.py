"""The loopback IM server (tests/server) as seen by a test: started, told what to do, asked what it saw."""

import json
import os
import select
import signal
import socket
import subprocess
import time

import msgpack

from patience import PATIENCE, SLOW, Impatient
from process import Process, build_dir


class Server:
    def __init__(self, folder, name="server", listen="127.0.0.1", tls=None, client_ca=None, launcher=()):
        """listen: an address, port chosen by the kernel. tls: (certificate, key). launcher: argv in front of it, which must
        stay the same process."""
        self.folder = folder
        self.name = name
        self.listen = listen
        self.tls = tls
        self.client_ca = client_ca
        self.launcher = list(launcher)
        self.control_path = os.path.join(folder, f"{name}.control")
        self.port = 0
        self.process = None
        self.control = None

    def start(self):
        """Also starts it again, on the port that it had."""
        address = f"[{self.listen}]" if ":" in self.listen else self.listen
        argv = [*self.launcher, os.path.join(build_dir(), "tests/server/im-server"), "--listen", f"{address}:{self.port}",
                "--control", self.control_path]
        if self.tls:
            argv += ["--tls", *self.tls]
        if self.client_ca:
            argv += ["--client-ca", self.client_ca]
        self.process = Process(argv, self.folder, self.name, stdout=subprocess.PIPE)
        self.port = self._ready()["port"]
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.settimeout(PATIENCE)
        self.control.connect(self.control_path)
        self.replies = self.control.makefile("rb")
        return self

    def _ready(self):
        if not select.select([self.process.child.stdout], [], [], PATIENCE)[0]:
            raise Impatient("the IM server says nothing")
        line = self.process.child.stdout.readline()
        assert line, f"the IM server did not start: {self.process.stderr()}"
        return json.loads(line)

    def stop(self):
        """Ends it; an exit status other than 0 is a failure."""
        if not self.process:
            return
        if self.control:
            self.control.close()
            self.replies.close()
        process, self.process = self.process, None
        try:
            process.signal(signal.SIGTERM)
            assert process.wait() == 0, f"the IM server failed: {process.stderr()}"
        finally:
            process.kill()

    def kill(self):
        """As if its machine's power had gone, but for the kernel's FIN."""
        if self.control:
            self.control.close()
            self.replies.close()
        process, self.process = self.process, None
        process.kill()

    def url(self, path="/im", host=None):
        if host is None:
            host = f"[{self.listen}]" if ":" in self.listen else self.listen
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}{path}"

    # Control

    def ask(self, cmd, **arguments):
        """The reply, ok or not."""
        arguments = {k: v for k, v in arguments.items() if v is not None}
        self.control.sendall(json.dumps({"cmd": cmd, **arguments}).encode() + b"\n")
        line = self.replies.readline()
        assert line, f"the IM server is gone: {self.process.stderr()}"
        return json.loads(line)

    def do(self, cmd, **arguments):
        reply = self.ask(cmd, **arguments)
        assert reply["ok"], f"{cmd} {arguments}: {reply}"
        return reply

    def stats(self):
        return self.do("stats")

    def wait(self, stat, min=None, max=None, seconds=PATIENCE):
        self.control.settimeout(seconds + PATIENCE)
        reply = self.ask("wait", stat=stat, min=min, max=max, timeoutMs=int(seconds * 1000))
        self.control.settimeout(PATIENCE)
        assert reply["ok"], f"the IM server's {stat} did not reach min {min}, max {max}: {reply}"
        return reply

    def stays(self, stat, value, seconds=0.6):
        """Looks on for a while (SLOW stretches it): this counter must not grow beyond value."""
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            stats = self.stats()
            assert stats[stat] <= value, f"the IM server's {stat} grew beyond {value}: {stats}"
            time.sleep(0.01)

    def mode(self, **mode):
        return self.do("mode", **mode)

    def received(self, type=None, clear=False, pings=False):
        """The frames that came, as bytes."""
        reply = self.do("received", type=type, clear=clear, pings=pings)
        assert reply["lost"] == 0
        return [bytes.fromhex(frame) for frame in reply["frames"]]

    def messages(self, **which):
        return [msgpack.unpackb(frame, timestamp=0, strict_map_key=False) for frame in self.received(**which)]

    def wait_frames(self, count, seconds=PATIENCE):
        """Waits until so many frames, pings not counted, have come in all."""
        pings = 0
        while True:
            stats = self.wait("frames", min=count + pings, seconds=seconds)
            if stats["frames"] - stats["pings"] >= count:
                return
            pings = stats["pings"]

    def push(self, value, **more):
        """Bytes go as they are, anything else as MessagePack."""
        data = value if isinstance(value, bytes) else msgpack.packb(value)
        return self.do("push", hex=data.hex(), **more)

    def push_text(self, text, **data):
        """An ordinary text message of somebody else."""
        message = {"messageType": "TxtMsg", "conversationType": 0, "from": "ann", "to": "server", **data,
                   "content": {"message": text}}
        return self.push({"code": 0, "data": message, "errMsg": "success!"})

    def headers(self):
        return self.do("headers")["headers"]
