"""imctl as a process: run to its end, or started and watched."""

import os

from patience import PATIENCE, until
from process import Process, build_dir, run


def imctl_argv(daemon, *words):
    """daemon: one of ours, or the path of a socket."""
    return [os.path.join(build_dir(), "cli/imctl"), "-s", getattr(daemon, "socket_path", daemon), *words]


def imctl(daemon, *words, **options):
    """(exit status, lines of stdout, stderr)"""
    status, out, error = run(imctl_argv(daemon, *words), **options)
    return status, out.splitlines(), error


class Imctl:
    """One that runs; what it prints is in files, so that it never waits for its reader."""

    def __init__(self, daemon, folder, *words, env=None, name="imctl"):
        self.out_path = os.path.join(folder, f"{name}.stdout")
        with open(self.out_path, "wb") as out:
            self.process = Process(imctl_argv(daemon, *words), folder, name, env=env, stdout=out)
        self.pid = self.process.pid

    def lines(self):
        with open(self.out_path, encoding="utf-8") as f:
            return f.read().splitlines()

    def wait_lines(self, count):
        return until(lambda: len(self.lines()) >= count and self.lines(), f"{count} lines of imctl")

    def stderr(self):
        return self.process.stderr()

    def wait_stderr(self, text):
        until(lambda: text in self.stderr(), f"imctl says {text!r}")

    def signal(self, number):
        self.process.signal(number)

    def wait(self, seconds=PATIENCE):
        return self.process.wait(seconds)

    def stop(self):
        self.process.kill()


CONSUMER = ["listen", "--consumer", "me", "--since", "earliest", "-e", "MESSAGE"]


def has_left(daemon):
    until(lambda: daemon.client().call("status")["subscribers"] == 0, "the subscriber has left")


def not_acked(daemon, name="me"):
    """The numbers of the messages that this consumer gets next."""
    has_left(daemon)
    client = daemon.client()
    client.call("subscribe", consumer=name, events=["MESSAGE"])
    client.barrier()
    seqs = [event.params["seq"] for event in client.events_waiting]
    client.close()
    has_left(daemon)
    return seqs


def pushed(server, daemon, *texts):
    """Pushes these; their numbers."""
    client = daemon.subscriber("MESSAGE")
    for text in texts:
        server.push_text(text)
    seqs = [event.params["seq"] for event in client.messages(len(texts))]
    client.close()
    has_left(daemon)
    return seqs


def last_seq(daemon):
    return daemon.client().call("status")["seq"]
