"""imd under test: a config in a private folder, started, asked whether it is ready, ended, its log examined."""

import os
import re
import shlex
import signal
import socket

from client import Client, Closed
from patience import PATIENCE, Impatient, until
from process import Process, build_dir

LOCAL_KEYS = {"RingSize", "MaxLine", "MaxMessage", "InlineBinary", "MaxClients", "MaxClientsPerUser", "MaxPending",
              "MaxPendingPerUser", "SendRate", "StallTimeout", "AckTimeout"}
ACCESS_KEYS = {"Receive", "Send", "Control"}
STORE_KEYS = {"History", "HistoryMaxAge", "HistoryMaxSize", "OutboxMax", "OutboxWindow", "OutboxExpires", "OutboxKeep",
              "AttachmentsMaxSize"}
# Quick to come back, so that tests need not wait; each test may say otherwise.
QUICK = {"UserId": "me", "ReconnectMin": "20ms", "ReconnectMax": "200ms"}
DIRT = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|ERROR SUMMARY: [1-9]")
GRACE = 5  # seconds that a daemon waits for acks when it is ended


def imd_argv():
    return [*shlex.split(os.environ.get("IMD_WRAPPER", "")), os.path.join(build_dir(), "daemon/imd")]


def config_text(url, keys):
    """Keys find their section by themselves; a list writes a key more than once; None leaves it out."""
    sections = {"Session": [("Url", url)] if url else [], "Local": [], "Access": [], "Store": []}
    of_key = {**dict.fromkeys(LOCAL_KEYS, "Local"), **dict.fromkeys(ACCESS_KEYS, "Access"),
              **dict.fromkeys(STORE_KEYS, "Store")}
    for key, value in {**QUICK, **keys}.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                sections[of_key.get(key, "Session")].append((key, one))
    return "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in pairs) for name, pairs in sections.items())


class Daemon:
    def __init__(self, folder, url, keys, name="imd", launcher=(), env=None, umask=None, pass_fds=(), account="test"):
        self.folder = folder
        self.name = name
        self.account = account
        self.launcher = list(launcher)
        self.options = {"env": env, "umask": umask, "pass_fds": pass_fds}
        self.config_path = os.path.join(folder, f"{name}.conf")
        self.socket_path = os.path.join(folder, f"{name}.sock")
        self.state_path = os.path.join(folder, f"{name}.state")
        self.clients = []
        self.process = None
        self.configure(url, **keys)

    def configure(self, url, **keys):
        with open(self.config_path, "w") as f:
            f.write(config_text(url, keys))

    def argv(self):
        return [*self.launcher, *imd_argv(), "--account", self.account, "--config", self.config_path, "--socket",
                self.socket_path, "--state", self.state_path]

    def spawn(self):
        self.process = Process(self.argv(), self.folder, self.name, **self.options)
        return self

    def start(self):
        """Ready means: the socket accepts, and `hello` is answered."""
        self.spawn()
        until(self._answers, "imd is ready")
        return self

    def start_fails(self):
        """It must end by itself, in order and with an error: (status, log)."""
        process = self.spawn().process
        try:
            status = process.wait()
        finally:
            process.kill()
            self.process = None
        assert 0 < status < 128, f"imd ended with {status}: {process.stderr()}"
        return status, process.stderr()

    def _answers(self):
        if not self.process.running():
            raise AssertionError(f"imd ended with {self.process.wait()} at its start: {self.process.stderr()}")
        try:
            client = Client(self.socket_path)
        except (FileNotFoundError, ConnectionRefusedError, socket.timeout):
            return False
        try:
            return client.call("hello")
        except (Closed, Impatient, BrokenPipeError, ConnectionResetError):
            return False
        finally:
            client.close()

    def client(self):
        client = Client(self.socket_path)
        self.clients.append(client)
        return client

    def subscriber(self, *events, **filters):
        client = self.client()
        client.subscribe(*events, **filters)
        return client

    def watcher(self):
        """A client that gets every STATUS from now on."""
        return self.subscriber("STATUS")

    def wait_state(self, state, seconds=PATIENCE):
        client = self.client()
        try:
            return client.wait_status(lambda s: s["state"] == state, f"state {state}", seconds)
        finally:
            client.close()

    def connected(self):
        self.wait_state("connected")
        return self

    def log(self):
        return self.process.stderr()

    def wait_log(self, pattern):
        return until(lambda: re.search(pattern, self.log()), f"log line {pattern!r}")

    def terminate(self):
        self.process.signal(signal.SIGTERM)

    def stop(self, status=0):
        """Ends it as systemd would. It must leave with this status and a clean log."""
        if not self.process:
            return
        process, self.process = self.process, None
        for client in self.clients:
            client.close()
        try:
            if process.running():
                process.signal(signal.SIGTERM)
            code = process.wait(PATIENCE + GRACE)
        finally:
            process.kill()
            print(f"---- {self.name}: its log\n{process.stderr()}")
        assert not DIRT.search(process.stderr()), "a sanitizer or valgrind has complained, see imd's log"
        assert code == status, f"imd ended with {code}, not {status}"

    def crash(self):
        """kill -9: nothing is tidied up."""
        process, self.process = self.process, None
        process.signal(signal.SIGKILL)
        process.wait()
        process.kill()
