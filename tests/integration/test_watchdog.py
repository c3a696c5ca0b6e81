"""What the service manager is told, and the watchdog: fed while both the loop and the store get on, and only then."""

import os
import re
import signal

import pytest

from manager import Manager
from patience import SLOW, until
from process import preload
from threads import stopped, thread_named
from vitals import is_instrumented

WATCHDOG_MS = int(400 * SLOW)
WHILE = 3 * WATCHDOG_MS / 1000  # twelve signs of life, had they come


@pytest.fixture
def manager_of(folder):
    made = []

    def make(**options):
        made.append(Manager(folder, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def manager(manager_of):
    """One that has asked for a watchdog."""
    return manager_of(watchdog_ms=WATCHDOG_MS)


# What it is told


def test_states_and_status(server, manager_of, imd):
    manager, url = manager_of(), server.url()
    daemon = imd(url, env=manager.env()).connected()
    assert manager.wait_news(f"STATUS=Connected to {url} as me") == [
        ["READY=1"], [f"STATUS=Connecting to {url}"], [f"STATUS=Connected to {url} as me"]]
    daemon.client().call("disconnect")
    assert manager.wait_news("STATUS=Disconnected on request") == [["STATUS=Disconnected on request"]]
    daemon.process.signal(signal.SIGHUP)
    (reloading, clock), ready = manager.wait_news("READY=1")
    assert reloading == "RELOADING=1" and re.fullmatch(r"MONOTONIC_USEC=\d+", clock) and ready == ["READY=1"]
    daemon.stop()
    assert manager.wait_news("STOPPING=1") == [["STOPPING=1"]]
    assert manager.signs() == 0, "nobody has asked for a watchdog"


def test_status_while_the_server_is_away(server, manager_of, imd):
    manager = manager_of()
    daemon = imd(server.url(), env=manager.env(), ReconnectMin="1h", ReconnectMax="1h").connected()
    manager.wait_news(f"STATUS=Connected to {server.url()} as me")
    server.kill()
    until(manager.news, "the manager is told")
    assert re.fullmatch(r"STATUS=Waiting \d+ s before try 1: \w+", manager.news()[0][0]), manager.news()
    daemon.client().call("connect")
    until(lambda: len(manager.news()) >= 3, "the manager is told of the try")
    assert manager.news()[1] == [f"STATUS=Connecting to {server.url()}"]
    assert re.fullmatch(r"STATUS=Waiting \d+ s before try 1: refused", manager.news()[2][0]), manager.news()


def test_status_tells_no_token(server, manager_of, imd):
    manager = manager_of()
    imd(server.url("/im?token=s3cret"), env=manager.env()).connected()
    until(lambda: any("Connected" in lines[0] for lines in manager.news()), "the manager is told")
    assert "s3cret" not in str(manager.told)


def test_a_manager_that_does_not_read_stops_nothing(server, manager_of, imd):
    manager = manager_of()
    daemon = imd(server.url(), env=manager.env()).connected()
    manager.wait_news(f"STATUS=Connected to {server.url()} as me")
    manager.deaf()
    client = daemon.client()
    for _ in range(400):  # more than the socket's queue may hold; its length is the machine's
        client.call("disconnect")
        client.call("connect")
    daemon.process.signal(signal.SIGHUP)
    daemon.wait_log("reloaded")
    daemon.wait_state("connected")
    assert client.call("hello")
    manager.hear()
    # What could not be told then is told now, as it is by now.
    until(lambda: manager.news()[-1:] == [["READY=1", f"STATUS=Connected to {server.url()} as me"]],
          "the manager is told how it is")


def test_a_manager_that_is_gone_stops_nothing(server, manager_of, imd):
    manager = manager_of(watchdog_ms=WATCHDOG_MS)
    daemon = imd(server.url(), env=manager.env()).connected()
    manager.socket.close()
    os.unlink(manager.path)
    client = daemon.client()
    client.call("disconnect")
    client.call("connect")
    daemon.connected()


# The watchdog


def test_fed_while_idle(server, manager, imd):
    imd(server.url(), env=manager.env()).connected()
    manager.wait_signs(20)


def test_another_process_has_the_watchdog(server, manager, imd):
    imd(server.url(), env={**manager.env(), "WATCHDOG_PID": "1"}).connected()
    assert manager.signs_within(WHILE, lambda: None) == 0


def test_not_fed_while_the_store_stands_still(server, manager, imd):
    daemon = imd(server.url(), env=manager.env()).connected()
    client = daemon.client()
    manager.wait_signs(2)
    with stopped(thread_named(daemon.process.pid, "imd-store")):
        # What it had done by then counts once.
        assert manager.signs_within(WHILE, lambda: client.call("hello")) <= 1
        assert manager.signs_within(WHILE, lambda: client.call("hello")) == 0
    manager.wait_signs(4)


def test_not_fed_while_the_loop_stands_still(server, manager, imd):
    daemon = imd(server.url(), env=manager.env()).connected()
    manager.wait_signs(2)
    with stopped(daemon.process.pid):
        assert manager.signs_within(WHILE, lambda: None) <= 1  # on its way
    manager.wait_signs(4)


def test_fed_while_the_name_server_is_silent(server, manager, imd, name_server):
    daemon = imd(f"ws://im.example:{server.port}/im", env=manager.env(), launcher=name_server.launcher())
    until(lambda: name_server.queries, "the lookup has begun")
    manager.wait_signs(12)
    assert daemon.client().call("status")["state"] == "connecting" and name_server.silent


# Slow and stuck disks

DISK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void wait_ms(long ms)
{
    struct timespec t = {ms / 1000, ms %% 1000 * 1000000};
    nanosleep(&t, NULL);
}

int fdatasync(int fd)
{
    while (access("%(stuck)s", F_OK) == 0)
        wait_ms(5);
    return fsync(fd);
}

#define SLOW(name)                                                                       \\
    ssize_t name(int fd, const void *bytes, size_t len, off_t at)                        \\
    {                                                                                    \\
        ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, #name);     \\
        if (access("%(slow)s", F_OK) == 0)                                               \\
            wait_ms(%(ms)d);                                                             \\
        return real(fd, bytes, len, at);                                                 \\
    }
SLOW(pwrite)
SLOW(pwrite64)
"""


class Disk:
    """Writes are slow, or a sync does not come back, as long as it is told so."""

    def __init__(self, folder):
        self.paths = {what: os.path.join(folder, what) for what in ("slow", "stuck")}
        self.library = preload(folder, "disk", DISK % {**self.paths, "ms": WATCHDOG_MS // 8})

    def begin(self, what):
        with open(self.paths[what], "w"):
            pass

    def mend(self):
        for path in self.paths.values():
            if os.path.exists(path):
                os.unlink(path)


@pytest.fixture
def disk(folder):
    if is_instrumented():
        pytest.skip("what is preloaded must come before a sanitizer's own")
    disk = Disk(folder)
    yield disk
    disk.mend()


def history_request(client):
    """Behind everything that the store has been given so far."""
    return client.request("history", limit=1)


def test_fed_through_a_long_write(server, manager, imd, disk):
    """One transaction that takes many times the watchdog's time, but gets on."""
    daemon = imd(server.url(), env={**manager.env(), "LD_PRELOAD": disk.library}).connected()
    client = daemon.subscriber("MESSAGE")
    manager.wait_signs(1)
    disk.begin("slow")
    server.push_text("x" * (4 << 20))
    assert len(client.event().raw) > 4 << 20
    request = history_request(client)
    before = manager.signs()
    reply = client.reply(request, seconds=50 * SLOW)
    disk.mend()
    assert reply
    assert manager.signs() - before >= 8, "twice the watchdog's time, at least"


def test_not_fed_while_a_sync_hangs(server, manager, imd, disk):
    daemon = imd(server.url(), env={**manager.env(), "LD_PRELOAD": disk.library}).connected()
    client = daemon.subscriber("MESSAGE")
    manager.wait_signs(2)
    disk.begin("stuck")
    server.push_text("hello")
    assert b"hello" in client.event().raw
    request = history_request(client)
    until(lambda: manager.signs_within(WHILE, lambda: client.call("hello")) == 0, "no sign of life any more")
    disk.mend()
    assert client.reply(request)
    manager.wait_signs(4)
