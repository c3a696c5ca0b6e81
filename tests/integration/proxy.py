"""Bad networks in a thread: a TCP proxy that can swallow, delay, cut and reset, also behind an HTTP CONNECT."""

import collections
import selectors
import socket
import struct
import threading
import time


class Pair:
    """One connection through the proxy. `request` collects the bytes of a CONNECT until it is whole."""

    def __init__(self, near):
        self.near = near
        self.far = None
        self.request = b""


class Proxy:
    """Forwards 127.0.0.1:port to target. What it does can be changed while connections run."""

    def __init__(self, target_port, connect=False, connect_answer="200 OK"):
        self.target_port = target_port
        self.connect = connect
        self.connect_answer = connect_answer
        self.requests = []  # the CONNECT requests that were seen
        self.accepted = 0
        self.swallowing = False
        self.latency = 0
        self.swallowed = 0  # bytes
        self._pairs = []
        self._delayed = collections.deque()  # (due, socket, bytes)
        self._orders = collections.deque()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._obey)
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # For tests

    def swallow(self, on=True):
        """Half-open: both sides may write, nothing arrives, nobody is told."""
        self._order(lambda: setattr(self, "swallowing", on))

    def delay(self, seconds):
        """Each way."""
        self._order(lambda: setattr(self, "latency", seconds))

    def cut(self):
        self._order(lambda: [self._drop(pair) for pair in list(self._pairs)])

    def reset(self):
        self._order(lambda: [self._drop(pair, True) for pair in list(self._pairs)])

    def stop(self):
        if self._running:
            self._order(lambda: setattr(self, "_running", False))
            self._thread.join()

    # The thread

    def _order(self, action):
        done = threading.Event()
        self._orders.append((action, done))
        self._wake_out.send(b"x")
        assert done.wait(10), "the proxy's thread is stuck"

    def _obey(self, _):
        self._wake_in.recv(64)
        while self._orders:
            action, done = self._orders.popleft()
            action()
            done.set()

    def _run(self):
        while self._running:
            wait = max(0, self._delayed[0][0] - time.monotonic()) if self._delayed else None
            for key, _ in self._selector.select(wait):
                key.data(key.fileobj)
            while self._delayed and self._delayed[0][0] <= time.monotonic():
                _, target, data = self._delayed.popleft()
                self._write(target, data)
        for pair in list(self._pairs):
            self._drop(pair)
        for item in (self._listener, self._wake_in, self._wake_out, self._selector):
            item.close()

    def _accept(self, listener):
        near, _ = listener.accept()
        self.accepted += 1
        pair = Pair(near)
        self._pairs.append(pair)
        if self.connect:
            self._selector.register(near, selectors.EVENT_READ, lambda _: self._read_connect(pair))
        else:
            self._dial(pair)

    def _read_connect(self, pair):
        data = self._receive(pair.near)
        if not data:
            return self._drop(pair)
        pair.request += data
        if b"\r\n\r\n" not in pair.request:
            return None
        self._selector.unregister(pair.near)
        self.requests.append(pair.request.decode("latin-1"))
        self._write(pair.near, f"HTTP/1.1 {self.connect_answer}\r\n\r\n".encode())
        return self._dial(pair) if self.connect_answer.startswith("200") else self._drop(pair)

    def _dial(self, pair):
        try:
            pair.far = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
        except OSError:
            return self._drop(pair)
        pair.far.settimeout(10)
        pair.near.settimeout(10)
        self._selector.register(pair.near, selectors.EVENT_READ, lambda _: self._pump(pair, pair.near, pair.far))
        self._selector.register(pair.far, selectors.EVENT_READ, lambda _: self._pump(pair, pair.far, pair.near))

    def _pump(self, pair, source, target):
        if pair not in self._pairs:
            return
        data = self._receive(source)
        if not data:
            self._drop(pair)
        elif self.swallowing:
            self.swallowed += len(data)
        elif self.latency or self._delayed:
            self._delayed.append((time.monotonic() + self.latency, target, data))
        else:
            self._write(target, data)

    @staticmethod
    def _receive(source):
        try:
            return source.recv(1 << 16)
        except OSError:
            return b""

    @staticmethod
    def _write(target, data):
        try:
            target.sendall(data)
        except OSError:
            pass  # the reading side will notice

    def _drop(self, pair, reset=False):
        self._pairs.remove(pair)
        for sock in (pair.near, pair.far):
            if sock is None:
                continue
            try:
                self._selector.unregister(sock)
            except (KeyError, ValueError):
                pass
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
