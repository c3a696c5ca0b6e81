"""A local program on the daemon's socket: JSON lines out and in, with the exact bytes kept."""

import collections
import json
import select
import socket
import time

from patience import PATIENCE, Impatient, until


class Refused(Exception):
    """The daemon answered a request with an error; .error is that object."""

    def __init__(self, error):
        super().__init__(json.dumps(error, ensure_ascii=False))
        self.error = error
        self.code = error["code"]
        self.data = error.get("data", {})
        self.reason = self.data.get("reason")


class Closed(Exception):
    """The daemon closed the connection."""


Event = collections.namedtuple("Event", "raw method params")


class Client:
    def __init__(self, path=None, sock=None):
        if sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(PATIENCE)
            sock.connect(path)
        self.sock = sock
        self.sock.setblocking(False)
        self.buffer = bytearray()
        self.events_waiting = collections.deque()
        self.replies_waiting = []
        self.next_id = 1

    def close(self):
        self.sock.close()

    # Bytes

    def write(self, data, seconds=PATIENCE):
        end = time.monotonic() + seconds
        view = memoryview(data)
        while view:
            if not select.select([], [self.sock], [], max(0, end - time.monotonic()))[1]:
                raise Impatient("the daemon does not read what this client writes")
            view = view[self.sock.send(view):]

    def write_with(self, data, descriptors):
        """In one sendmsg, its descriptors with its first byte."""
        sent = socket.send_fds(self.sock, [data], descriptors)
        self.write(data[sent:])

    def line(self, seconds=PATIENCE):
        """The next line as it came, with its newline; Closed at the end of the stream."""
        end = time.monotonic() + seconds
        searched = 0
        while True:
            at = self.buffer.find(b"\n", searched)
            if at >= 0:
                line = bytes(self.buffer[:at + 1])
                del self.buffer[:at + 1]
                return line
            searched = len(self.buffer)
            if not select.select([self.sock], [], [], max(0, end - time.monotonic()))[0]:
                raise Impatient(f"no line from the daemon within {seconds:g} s; so far {bytes(self.buffer[:200])!r}")
            try:
                got = self.sock.recv(1 << 18)
            except ConnectionResetError:
                got = b""
            if not got:
                raise Closed(bytes(self.buffer))
            self.buffer += got

    def wait_closed(self, seconds=PATIENCE):
        """Reads to the end of the stream; returns the lines that still came."""
        lines = []
        try:
            while True:
                lines.append(self.line(seconds))
        except Closed:
            return lines

    # Objects

    def take(self, seconds=PATIENCE):
        """Reads one line and files it under events or replies."""
        raw = self.line(seconds)
        value = json.loads(raw)
        assert value["jsonrpc"] == "2.0"
        if "method" in value:
            assert "id" not in value
            self.events_waiting.append(Event(raw, value["method"], value["params"]))
        else:
            assert ("result" in value) != ("error" in value)
            self.replies_waiting.append(value)

    def request(self, method, params=None, **more):
        """Writes a request, does not wait; returns its id."""
        number = self.next_id
        self.next_id += 1
        self.write(self.request_line(number, method, {**(params or {}), **more} or None))
        return number

    def request_with(self, descriptors, method, params=None):
        """The same with file descriptors."""
        number = self.next_id
        self.next_id += 1
        self.write_with(self.request_line(number, method, params), descriptors)
        return number

    @staticmethod
    def request_line(number, method, params=None):
        line = {"jsonrpc": "2.0", "id": number, "method": method}
        if params is not None:
            line["params"] = params
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"

    def notify(self, method, params=None):
        line = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            line["params"] = params
        self.write(json.dumps(line).encode() + b"\n")

    def reply(self, number, seconds=PATIENCE):
        """The whole reply object that bears this id."""
        while True:
            for i, reply in enumerate(self.replies_waiting):
                if reply["id"] == number:
                    return self.replies_waiting.pop(i)
            self.take(seconds)

    def result(self, number, seconds=PATIENCE):
        reply = self.reply(number, seconds)
        if "error" in reply:
            raise Refused(reply["error"])
        return reply["result"]

    def call(self, method, params=None, **more):
        return self.result(self.request(method, params, **more))

    def refusal(self, number):
        """The error that this request must be answered with, as Refused."""
        reply = self.reply(number)
        assert "error" in reply, f"was not refused: {reply}"
        return Refused(reply["error"])

    def refused(self, method, params=None, **more):
        return self.refusal(self.request(method, params, **more))

    def send(self, text, **message):
        """A text message; the id of the request."""
        content = message.pop("content", {"message": text})
        return self.request("send", {"message": {**message, "content": content}})

    # Events

    def subscribe(self, *events, **filters):
        params = {}
        if events:
            params["events"] = list(events)
        if filters:
            params["filter"] = filters
        return self.call("subscribe", params)

    def event(self, method=None, seconds=PATIENCE):
        """The next event; with method, it must be one of that kind."""
        while not self.events_waiting:
            self.take(seconds)
        event = self.events_waiting.popleft()
        assert method is None or event.method == method, f"expected {method}, got {event.raw[:500]!r}"
        return event

    def messages(self, count):
        return [self.event("MESSAGE") for _ in range(count)]

    def status(self, condition, what, seconds=PATIENCE):
        """Skips STATUS events until one satisfies condition (a function, or the state's name)."""
        if isinstance(condition, str):
            condition = lambda s, state=condition: s["state"] == state
        end = time.monotonic() + seconds
        seen = []
        while True:
            try:
                event = self.event(seconds=max(0, end - time.monotonic()))
            except Impatient:
                raise Impatient(f"{what}: not within {seconds:g} s; the states were {seen}") from None
            if event.method == "STATUS":
                seen.append(event.params)
                if condition(event.params):
                    return event.params

    def barrier(self):
        """When this returns, everything that the daemon had for this client before has been read."""
        self.call("hello")

    def nothing(self):
        """Nothing but the reply to this request came."""
        self.barrier()
        assert not self.events_waiting, f"unexpected: {[e.raw[:300] for e in self.events_waiting]}"
        assert not self.replies_waiting, f"unexpected: {self.replies_waiting}"

    def wait_status(self, condition, what, seconds=PATIENCE):
        """Asks until `status` satisfies condition."""

        def ask():
            status = self.call("status")
            return status if condition(status) else None

        return until(ask, what, seconds)

    def wait_stats(self, condition, what, seconds=PATIENCE):
        def ask():
            stats = self.call("stats")
            return stats if condition(stats) else None

        return until(ask, what, seconds)
