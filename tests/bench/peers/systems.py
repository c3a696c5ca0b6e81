"""The systems under test: how each is started in a folder of its own, with settings that let it not drop anything.

A system is pinned to the first processor of those that this process may use; the load has the second.
"""

import dataclasses
import glob
import json
import os
import shutil
import subprocess
from collections.abc import Callable

from daemon import Daemon
from patience import until
from process import Process, build_dir

HERE = os.path.dirname(os.path.realpath(__file__))
LOCALHOST = "127.0.0.1"
CLIENTS_MAX = 4096


def pinned(which):
    """What goes before a command so that it runs on that processor: 0 the system's, 1 the load's."""
    return ["taskset", "-c", str(sorted(os.sched_getaffinity(0))[which])]


@dataclasses.dataclass
class Running:
    process: Process
    address: str


@dataclasses.dataclass(frozen=True)
class Link:
    """Where the load's server is. ca: of its certificate, when it speaks TLS."""
    port: int
    ca: str | None = None

    def url(self):
        # Certs.good() is for this name.
        return f"wss://localhost:{self.port}/im" if self.ca else f"ws://{LOCALHOST}:{self.port}/im"


def _listens(path):
    """Does somebody listen on this Unix socket? Asked of the kernel: a try to connect would be a client."""
    with open("/proc/net/unix") as f:
        return any(line.endswith(f" {path}\n") and line.split()[3] == "00010000" for line in f)


def _unix(process, path):
    def ready():
        assert process.running(), f"it ended with {process.wait()}: {process.stderr()}"
        return _listens(path)

    try:
        until(ready, "it listens")
    except BaseException:
        process.kill()
        raise
    return Running(process, path)


def _start(argv, folder, **options):
    return Process([*pinned(0), *argv], folder, "system", **options)


def _imd(**keys):
    def start(folder, link):
        daemon = Daemon(folder, link.url(), {"History": "no", "CaFile": link.ca, **keys}, launcher=pinned(0))
        return _unix(daemon.spawn().process, daemon.socket_path)

    return start


def _limit(way):
    def start(folder, link):
        path = os.path.join(folder, "limit.sock")
        limit = os.path.join(build_dir(), "tests/bench/bench_limit")
        return _unix(_start([limit, way, f"{LOCALHOST}:{link.port}", path], folder), path)

    return start


def _node(folder, link):
    path = os.path.join(folder, "bridge.sock")
    argv = ["node", os.path.join(HERE, "bridge.mjs"), "--modules", modules_dir(), "--url", link.url(), "--socket", path]
    return _unix(_start([*argv, *(["--ca", link.ca] if link.ca else [])], folder), path)


def _redis(folder, link):
    path = os.path.join(folder, "redis.sock")
    settings = {"port": 0, "unixsocket": path, "dir": folder, "save": "", "appendonly": "no", "maxclients": CLIENTS_MAX,
                "tcp-backlog": 2048, "client-output-buffer-limit": "pubsub 0 0 0"}
    argv = ["redis-server"]
    for key, value in settings.items():
        argv += [f"--{key}", *(str(value).split() or [""])]
    return _unix(_start(argv, folder), path)


def _mosquitto(folder, link):
    path, config = os.path.join(folder, "mosquitto.sock"), os.path.join(folder, "mosquitto.conf")
    with open(config, "w") as f:
        # Started by root it would become another user, who cannot write into this folder.
        f.write("user root\n"
                f"listener 0 {path}\n"
                "allow_anonymous true\n"
                "persistence false\n"
                "max_queued_messages 0\n"
                "max_queued_bytes 0\n"
                "log_type error\n")
    return _unix(_start(["mosquitto", "-c", config], folder), path)


def _nats(folder, link):
    config = os.path.join(folder, "nats.conf")
    with open(config, "w") as f:
        f.write(f'listen: "{LOCALHOST}:-1"\n'
                "max_payload: 2097152\n"
                "max_pending: 1073741824\n"
                'write_deadline: "60s"\n'
                f"max_connections: {CLIENTS_MAX}\n")
    process = _start(["nats-server", "-c", config, "--ports_file_dir", folder], folder)

    def ports():
        assert process.running(), f"it ended with {process.wait()}: {process.stderr()}"
        for path in glob.glob(os.path.join(folder, "*.ports")):
            with open(path) as f:
                text = f.read()
            return text.endswith("}") and json.loads(text)["nats"][0].removeprefix("nats://")

    try:
        return Running(process, until(ports, "it listens"))
    except BaseException:
        process.kill()
        raise


@dataclasses.dataclass(frozen=True)
class System:
    name: str
    dialect: str  # of bench_load
    start: Callable[[str, Link], Running]
    program: str = ""  # that must be installed; "": built here
    version: tuple = ()  # how it is asked for its version
    # Part of the messages that it gets when they go as fast as possible: a slow one takes no longer than the others.
    share: float = 1
    load: tuple = ()  # further arguments of bench_load
    tls: bool = False


def modules_dir():
    return os.path.join(build_dir(), "interop")


def _bridge_version():
    versions = [subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()]
    for package in "ws", "@msgpack/msgpack":
        with open(os.path.join(modules_dir(), "node_modules", package, "package.json")) as f:
            versions.append(f"{package} {json.load(f)['version']}")
    return ", ".join(versions)


NODE = {"program": "node", "share": 0.07}
SYSTEMS = {system.name: system for system in (
    System("imd", "imd", _imd()),
    System("imd, history", "imd", _imd(History="yes")),
    System("imd, one stalled", "imd", _imd(), load=("--stalled", "1")),
    System("imd, filter", "imd", _imd(), load=("--filter",)),
    System("imd, tls", "imd", _imd(), tls=True),
    System("limit, line", "line", _limit("line"), share=0.15),
    System("limit, coalesced", "line", _limit("coalesced")),
    System("node", "imd", _node, **NODE),
    System("node, filter", "imd", _node, load=("--filter",), **NODE),
    System("node, tls", "imd", _node, tls=True, **NODE),
    System("redis", "redis", _redis, "redis-server", ("redis-server", "--version"), 0.5),
    System("mosquitto", "mqtt", _mosquitto, "mosquitto", ("mosquitto", "-h"), 0.05),
    System("nats", "nats", _nats, "nats-server", ("nats-server", "--version"), 0.4),
)}


def missing(system):
    """Why this system cannot be measured here; None: it can."""
    if system.program and not shutil.which(system.program):
        return f"{system.program} is not installed"
    if system.program == "node" and not os.path.exists(os.path.join(modules_dir(), "node_modules/.finished")):
        return f"its npm packages are not there: run tests/interop/install {build_dir()}"
    return None


def versions():
    """Of the programs beside imd that are there."""
    told = {}
    for name, system in SYSTEMS.items():
        if missing(system):
            continue
        if name == "node":
            told[name] = _bridge_version()
        elif system.version:
            out = subprocess.run(system.version, capture_output=True, text=True)
            told[name] = out.stdout.splitlines()[0]
    return told
