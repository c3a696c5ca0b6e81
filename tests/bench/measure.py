"""One measurement: a system and its load, started, brought together and ended, whatever happens."""

import contextlib
import json
import os
import re
import select
import subprocess
import tempfile

from client import Client
from process import Process, build_dir
from systems import Link, pinned

DEADLINE = 120  # seconds that the load gives itself
LARGE = 60 << 20
LARGE_PATIENCE = 60
WAKE_UPS_A_HEARTBEAT = 2  # the timer, then the answers
WRONGS = ("lost", "repeated", "reordered", "torn", "wrong")


class Void(Exception):
    """It does not count, and why, in one line."""

    def __init__(self, why):
        super().__init__(" ".join(why.split()))


def bench_load():
    return os.environ.get("IMD_BENCH_LOAD", os.path.join(build_dir(), "tests/bench/bench_load"))


def _arguments(axis, system, certs):
    given = dict(axis.arguments)
    if axis.mode == "fanout":
        given["dialect"] = system.dialect
        if "rate" not in given:
            given["messages"] = max(int(given["messages"] * system.share), 100)
    argv = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    return [*argv, *system.load, *(["--tls", *certs.good()] if system.tls else []), "--deadline", str(DEADLINE)]


@contextlib.contextmanager
def _killed(process):
    try:
        yield process
    finally:
        process.kill()
        if process.child.stdin:
            with contextlib.suppress(BrokenPipeError):
                process.child.stdin.close()


def _line(process, what):
    if not select.select([process.child.stdout], [], [], 10)[0]:
        raise Void(f"{what}: says nothing")
    line = process.child.stdout.readline().decode()
    if not line:
        raise Void(f"{what}: {process.stderr().strip() or 'ended'}")
    return line


def _result(load, running):
    """Tells the load to begin, and waits for what it has measured."""
    start = f"start {running.process.pid} {running.address}\n".encode()
    try:
        out, _ = load.child.communicate(start, DEADLINE + 10)
    except subprocess.TimeoutExpired:
        raise Void("bench_load: no end") from None
    if load.child.returncode:
        why = load.stderr().strip() or f"bench_load: status {load.child.returncode}"
        if not running.process.running():
            why += f"; the system ended with {running.process.wait()}: {running.process.stderr().strip()[-300:]}"
        raise Void(why)
    return json.loads(out)


def _stats(running):
    client = Client(running.address)
    try:
        return client.call("stats")
    finally:
        client.close()


def _derive(result):
    """What is not in the load's output, but follows from it."""
    memory = result.get("rssKiB", {})
    if "peak" in memory:
        memory["growth"] = memory["peak"] - memory["before"]
    if "loadCpuSeconds" in result:
        result["loadBusyPercent"] = 100 * result["loadCpuSeconds"] / result["seconds"]
    if "heartbeats" in result:
        result["wakeUps"] = max(0, result["switches"] - WAKE_UPS_A_HEARTBEAT * result["heartbeats"])
    return result


def _with_load(axis, system, folder, certs):
    argv = [*pinned(1), bench_load(), axis.mode, *_arguments(axis, system, certs)]
    load = Process(argv, folder, "load", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with _killed(load):
        # To the others the load connects by itself.
        port = 0
        if system.dialect in ("imd", "line"):
            port = int(_line(load, "bench_load").removeprefix("port "))
        running = system.start(folder, Link(port, certs.ca() if system.tls else None))
        with _killed(running.process):
            result = _result(load, running)
            if any(figure.path[0] == "stats" for figure in axis.figures):
                result["stats"] = _stats(running)
    return _derive(result)


def _peak(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.MULTILINE).group(1))


def _large(axis, system, folder, certs):
    """One message of LARGE bytes from the loopback IM server to one subscriber: the peak of memory."""
    from server import Server  # needs python3-msgpack

    server = Server(folder).start()
    try:
        running = system.start(folder, Link(server.port))
        with _killed(running.process):
            client = Client(running.address)
            client.wait_status(lambda s: s["state"] == "connected", "it is connected")
            client.subscribe("MESSAGE")
            server.do("push_big", size=LARGE, fragments=1)
            event = client.event("MESSAGE", LARGE_PATIENCE)
            if event.params["data"]["content"]["message"] != "x" * LARGE:
                raise Void("not what was sent")
            peak = _peak(running.process.pid)
            client.close()
    finally:
        server.kill()
    return {"rssKiB": {"peak": peak}, "peakPerMessage": peak * 1024 / LARGE}


def measure(axis, system, certs):
    """What came out, as a dict. Void: nothing that may be counted."""
    with tempfile.TemporaryDirectory(prefix="imd-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        try:
            result = (_large if axis.mode == "large" else _with_load)(axis, system, folder, certs)
        except (AssertionError, OSError, ValueError) as error:
            raise Void(f"{type(error).__name__}: {error}") from error
    wrong = [f"{result[what]} {what}" for what in WRONGS if result.get(what)]
    if wrong:
        raise Void(", ".join(wrong))
    return result
