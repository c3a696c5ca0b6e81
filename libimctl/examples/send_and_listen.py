#!/usr/bin/env python3
"""Sends a text through imd, waits for the server's ack, and prints the messages of others as they come.

    send_and_listen.py TEXT [COUNT]        COUNT: how many to print before it ends; without: all

Needs nothing but Python's standard library. The protocol is explained in imd-protocol(7).
"""

import itertools
import json
import os
import socket
import sys


class Refused(Exception):
    """imd, or the server, has refused a request."""

    def __init__(self, error):
        super().__init__(error["message"])
        # Errors of imd have the exit status of imctl as their code, negated; those of JSON-RPC itself are far below.
        self.exit_status = -error["code"] if error["code"] > -256 else 65


class Imd:
    """One connection: requests and their answers, and the events that come between them."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")
        self.ids = itertools.count(1)
        self.waiting = []  # events that came while an answer was waited for

    def _read(self):
        line = self.lines.readline()
        if not line:
            raise ConnectionError("imd has ended the connection")
        return json.loads(line)

    def call(self, method, **params):
        request = {"jsonrpc": "2.0", "id": next(self.ids), "method": method, "params": params}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            got = self._read()
            if "method" in got:
                self.waiting.append(got)
            elif "error" in got:
                raise Refused(got["error"])
            elif got["id"] == request["id"]:
                return got["result"]

    def events(self):
        """Events for ever, in the order in which they came."""
        while True:
            event = self.waiting.pop(0) if self.waiting else self._read()
            yield event["method"], event["params"]


def socket_path():
    own = os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), "imd/default.sock")
    return os.environ.get("IMCTL_SOCKET") or (own if os.path.exists(own) else "/run/imd/default.sock")


def main(text, count=None):
    imd = Imd(socket_path())
    imd.call("subscribe", events=["MESSAGE"])  # first: so nothing is missed that comes before the ack
    envelope = imd.call("send", message={"content": {"message": text}})
    print("sent as", envelope["data"]["messageId"], flush=True)
    messages = (params.get("data", {}) for method, params in imd.events() if method == "MESSAGE")
    for message in itertools.islice(messages, int(count) if count else None):
        print(f"{message.get('from', 'server')}: {message.get('content', {}).get('message', '')}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Refused as refused:
        print(f"send_and_listen.py: {refused}", file=sys.stderr)
        sys.exit(refused.exit_status)
    except OSError as error:
        print(f"send_and_listen.py: cannot talk to imd at {socket_path()}: {error}", file=sys.stderr)
        sys.exit(69)
    except KeyboardInterrupt:
        sys.exit(130)
