"""A machine of the tests' own, with systemd as PID 1 and this build installed: see the script beside this file."""

import concurrent.futures
import ctypes
import json
import os
import re
import subprocess

from client import Client
from daemon import config_text
from patience import PATIENCE, until
from process import build_dir, run
from server import Server

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "machine")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
UNIT = "imd@{}.service"


def unit(account):
    return UNIT.format(account)


def obstacle():
    """Why no machine can be had here, or None."""
    status, _, error = run([SCRIPT, "examine"])
    return None if status == 0 else error.strip().splitlines()[-1]


class Machine:
    def __init__(self, folder, layer):
        """folder: where its files are; it is there under the same path inside. layer: what lies over the root."""
        self.folder = folder
        self.layer = layer
        self.name = f"{folder}/machine"
        self.log_path = f"{folder}/machine.log"
        self.keeper = None
        self.pid = 0
        self.clients = []
        self.servers = []
        self.runtime = {}  # of users whose manager runs: XDG_RUNTIME_DIR

    # Life

    def start(self):
        argv = [SCRIPT, "up", self.name, "--layer", self.layer, "--share", self.folder, "--share", build_dir()]
        with open(self.log_path, "wb") as log:
            # No signal ends it with us: it takes the machine down when its standard input ends.
            self.keeper = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                           start_new_session=True)
        line = self.keeper.stdout.readline()
        if not line:
            with open(self.log_path, errors="replace") as log:
                raise AssertionError(f"the machine did not boot: {log.read()}")
        self.pid = int(line)
        self.run("systemd-sysusers")
        return self

    def stop(self):
        if not self.keeper:
            return
        for client in self.clients:
            client.close()
        try:
            if self.pid:
                print(f"---- the machine's journal\n{self.journal()}")
        finally:
            self._end()
        for server in self.servers:  # which are not in its PID namespace, and go on without it
            server.stop()

    def _end(self):
        """What was started by it is gone when this returns."""
        keeper, self.keeper, self.pid = self.keeper, None, 0
        keeper.stdin.close()
        keeper.stdout.close()
        keeper.wait(PATIENCE)

    # Files and programs in it

    def path(self, path):
        """The same file as seen from outside."""
        return f"/proc/{self.pid}/root{path}"

    def write(self, path, text, mode=0o644, owner=None):
        outside = self.path(path)
        os.makedirs(os.path.dirname(outside), exist_ok=True)
        if os.path.islink(outside):
            os.unlink(outside)  # an absolute link would lead out of the machine
        with open(outside, "w") as f:
            os.fchmod(f.fileno(), mode)
            f.write(text)
        if owner:
            self.run("chown", f"{owner}:", path)

    def copy(self, path, target):
        status, _, error = run([SCRIPT, "put", self.name, path, target])
        assert status == 0, error

    def read(self, path):
        with open(self.path(path)) as f:
            return f.read()

    def attempt(self, *argv, seconds=PATIENCE):
        """Runs a program as root: (exit status, stdout, stderr)."""
        return run([SCRIPT, "run", self.name, *argv], seconds=seconds)

    def run(self, *argv, seconds=PATIENCE):
        """The same, and it must succeed: its stdout."""
        status, out, error = self.attempt(*argv, seconds=seconds)
        assert status == 0, f"{' '.join(argv)}: exit status {status}: {out}{error}"
        return out

    @staticmethod
    def as_user(user, *argv):
        """argv that runs another as this user, with this user's groups."""
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *argv]

    def run_as(self, user, *argv, **options):
        """(exit status, stdout, stderr)"""
        return self.attempt(*self.as_user(user, *argv), **options)

    def add_user(self, name, *groups):
        self.run("useradd", "--create-home", "--user-group", *(["--groups", ",".join(groups)] if groups else []), name)

    def outside_launcher(self):
        """argv in front of a program of the tests that shall see the machine's network and files, but be none of its
        processes: it stays the same process, which the tests start, signal and wait for."""
        return ["nsenter", "--target", str(self.pid), "--mount", "--net", "--"]

    def inside_network(self, make):
        """What make() returns when sockets are the machine's: in a thread, because one alone can go there."""
        def go():
            with open(f"/proc/{self.pid}/ns/net") as net:
                if _libc.setns(net.fileno(), CLONE_NEWNET) < 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return make()

        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(go).result()

    def host_pid(self, pid):
        """A process id in the machine, as it is called outside."""
        ours = os.readlink(f"/proc/{self.pid}/ns/pid")
        for one in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{one}/status") as f:
                    numbers = re.search(r"^NSpid:\t(.*)$", f.read(), re.M).group(1).split()
                if numbers[-1] == str(pid) and os.readlink(f"/proc/{one}/ns/pid") == ours:
                    return int(one)
            except (FileNotFoundError, ProcessLookupError):
                continue
        raise AssertionError(f"the machine has no process {pid}")

    # systemd

    def systemctl(self, *words, seconds=2 * PATIENCE):
        return self.run("systemctl", *words, seconds=seconds)

    def show(self, name, prop):
        return self.systemctl("show", "--property", prop, "--value", name).strip()

    def main_pid(self, name):
        """Of the unit's running process, as seen from outside; 0: there is none."""
        pid = int(self.show(name, "MainPID"))
        return self.host_pid(pid) if pid else 0

    def journal(self, name=None):
        """The messages of this unit, one a line; without a name all."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--quiet", "--all", "--output=cat",
                        *(["--unit", name] if name else []))

    def journal_fields(self, name):
        """The entries of this unit, each with all its fields."""
        self.run("journalctl", "--sync")
        out = self.run("journalctl", "--no-pager", "--quiet", "--all", "--output=json", "--unit", name)
        return [json.loads(line) for line in out.splitlines()]

    def wait_journal(self, name, pattern):
        return until(lambda: re.search(pattern, self.journal(name)), f"{pattern!r} in the journal of {name}")

    def drop_in(self, name, text):
        """Lines on top of a unit, as `systemctl edit` would add them."""
        self.write(f"/etc/systemd/system/{name}.d/test.conf", text)
        self.systemctl("daemon-reload")

    # Users' own managers

    def start_user_manager(self, user):
        """`systemd --user` as a login would start it; without PAM and D-Bus, which systemctl can do without."""
        uid = self.run("id", "--user", user).strip()
        runtime = f"/run/user/{uid}"
        self.run("install", "--directory", "--mode=0700", f"--owner={user}", f"--group={user}", runtime)
        self.write(f"/etc/systemd/system/manager-{user}.service",
                   f"[Service]\nType=notify\nUser={user}\nDelegate=yes\nKillMode=mixed\n"
                   f"Environment=XDG_RUNTIME_DIR={runtime}\nExecStart=/usr/lib/systemd/systemd --user\n")
        self.systemctl("daemon-reload")
        self.systemctl("start", f"manager-{user}")
        self.runtime[user] = runtime

    def attempt_in_session(self, user, *argv, **options):
        """With the environment of a login: (exit status, stdout, stderr)."""
        environment = [f"HOME=/home/{user}", f"XDG_RUNTIME_DIR={self.runtime[user]}"]
        return self.run_as(user, "env", *environment, *argv, **options)

    def run_in_session(self, user, *argv, **options):
        """The same, and it must succeed: its stdout."""
        status, out, error = self.attempt_in_session(user, *argv, **options)
        assert status == 0, f"{' '.join(argv)}: exit status {status}: {out}{error}"
        return out

    # imd

    def im_server(self, **options):
        """One more IM server on the machine's loopback."""
        server = Server(self.folder, name=f"server{len(self.servers)}", launcher=self.outside_launcher(), **options)
        self.servers.append(server)
        return server.start()

    @property
    def server(self):
        """The first of them."""
        return self.servers[0] if self.servers else self.im_server()

    def account(self, name, url=None, **keys):
        """Its configuration, for the first IM server unless there is a url; and its socket unit is started."""
        self.configure(name, url, **keys)
        self.systemctl("start", f"imd@{name}.socket")

    def configure(self, name, url=None, **keys):
        self.write(f"/etc/imd/{name}.conf", config_text(url or self.server.url(), keys))

    def socket_path(self, account):
        return f"/run/imd/{account}.sock"

    def client(self, account):
        """A program (root's) on the account's socket."""
        client = Client(self.path(self.socket_path(account)))
        self.clients.append(client)
        return client

    def wait_state(self, account, state):
        client = self.client(account)
        client.wait_status(lambda s: s["state"] == state, f"state {state}")
        return client

    def imctl(self, user, account, *words, **options):
        """(exit status, stdout, stderr)"""
        return self.run_as(user, "imctl", "-a", account, *words, **options)
