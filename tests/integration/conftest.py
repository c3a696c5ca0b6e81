"""Fixtures: a private folder, servers, daemons, proxies and certificates that are gone when the test is over."""

import contextlib
import os
import shutil
import signal
import tempfile

import pytest

from certs import Certs
from daemon import Daemon
from fake import FakeDaemon
from imctl import Imctl
from nameserver import NameServer
from patience import SLOW, Impatient, until
from proxy import Proxy
from server import Server
from terminal import Terminal

TEST_LIMIT = 60


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): how long the test may take")
    if "IMD_BUILD_DIR" not in os.environ:
        pytest.exit("IMD_BUILD_DIR must name the build folder", 2)


@pytest.fixture(autouse=True)
def time_limit(request):
    """Ends a test that hangs in spite of all its own limits."""
    marker = request.node.get_closest_marker("limit")
    limit = (marker.args[0] if marker else TEST_LIMIT) * SLOW

    def ring(number, frame):
        raise Impatient(f"the test did not end within {limit:g} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(int(limit))
    yield
    signal.alarm(0)


@pytest.fixture
def folder():
    """Short, because a socket's path has 107 bytes."""
    path = tempfile.mkdtemp(prefix="imd-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def certs():
    path = tempfile.mkdtemp(prefix="imd-certs-")
    yield Certs(path)
    shutil.rmtree(path, ignore_errors=True)


def stop_all(started):
    """Stops every one, even when one of them complains."""
    with contextlib.ExitStack() as stack:
        for one in started:
            stack.callback(one.stop)


@pytest.fixture
def im_server(folder):
    """im_server(listen=…, tls=…) starts one more IM server."""
    started = []

    def start(**options):
        server = Server(folder, name=f"server{len(started)}", **options)
        started.append(server)
        return server.start()

    yield start
    stop_all(started)


@pytest.fixture
def server(im_server):
    return im_server()


@pytest.fixture
def imd_of(folder, im_server):
    """imd_of(url, Key=value, …) makes a daemon, not yet started. Needs im_server to end before servers do."""
    made = []

    def make(url, launcher=(), env=None, umask=None, pass_fds=(), account="test", **keys):
        daemon = Daemon(folder, url, keys, name=f"imd{len(made)}", launcher=launcher, env=env, umask=umask,
                        pass_fds=pass_fds, account=account)
        made.append(daemon)
        return daemon

    yield make
    stop_all(made)


@pytest.fixture
def imd(imd_of):
    """imd(url, Key=value, …) starts a daemon."""
    return lambda url, **options: imd_of(url, **options).start()


@pytest.fixture
def bridge(server, imd):
    """A daemon that is connected to `server`."""
    return imd(server.url()).connected()


@pytest.fixture
def proxy_of():
    """proxy_of(port) starts a proxy to that port of 127.0.0.1."""
    started = []

    def start(port, **options):
        proxy = Proxy(port, **options)
        started.append(proxy)
        return proxy

    yield start
    stop_all(started)


@pytest.fixture
def name_server(folder):
    server = NameServer(folder)
    yield server
    server.stop()


@pytest.fixture
def listen(bridge, folder):
    """listen(word…) starts `imctl listen` and waits until it is subscribed."""
    started = []

    def start(*words, daemon=bridge, **options):
        before = daemon.client().call("status")["subscribers"]
        one = Imctl(daemon, folder, "listen", *words, name=f"imctl{len(started)}", **options)
        started.append(one)
        until(lambda: daemon.client().call("status")["subscribers"] > before, "imctl is subscribed")
        return one

    yield start
    stop_all(started)


@pytest.fixture
def fake(folder):
    """fake((kind, params), …) is a daemon that tells of these events."""
    made = []

    def make(*events, **options):
        made.append(FakeDaemon(folder, *events, **options))
        return made[-1]

    yield make
    stop_all(made)


@pytest.fixture
def terminal(folder):
    """terminal(word…) runs a program in a terminal."""
    started = []

    def start(*argv, **options):
        one = Terminal(folder, argv, name=f"terminal{len(started)}", **options)
        started.append(one)
        return one

    yield start
    stop_all(started)
