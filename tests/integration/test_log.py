"""The log: lines on stderr that nobody need read, and entries with fields where stderr is the journal."""

import fcntl
import os
import re
import signal
import socket
import sys

import pytest

from journal import Journal
from patience import until
from process import run

# These numbers are in imd(8): they must not change.
STARTED = "cff58944decf4dec9b0dc1ddd34a4729"
STOPPED = "69adbf0400414f3fb34045b1a510e508"
LINK_CHANGED = "84ed112a3aab44e587b905387e6db4fa"
CLIENT_DISCONNECTED = "3ad6769c540a496ea1edadce259bcdf9"
NOT_DELIVERED = "761fe587fce0497fbab742a7e1807992"
STORAGE_FAILED = "e8691348c97041f4aad5d8ad0d2c241f"
STORAGE_RECOVERED = "26df9a3f7d5f447c828238f39577c69e"


# Lines


def test_lines_have_their_levels(server, imd):
    daemon = imd(server.url()).connected()
    lines = daemon.log().splitlines()
    assert lines[0] == f"<5>account test: serving {daemon.socket_path}"
    assert f"<5>connected to {server.url()}" in lines


class Stderr:
    """Both ends of what a daemon gets as its stderr; fills it, and reads what is in it."""

    def __init__(self, near, far):
        self.near, self.far = near, far
        os.set_blocking(far, False)

    def fill(self):
        os.set_blocking(self.near, False)
        for size in 4096, 1:
            try:
                while True:
                    os.write(self.near, b"#" * size)
            except BlockingIOError:
                pass
        os.set_blocking(self.near, True)  # as somebody who starts a program would leave it

    def take(self):
        text = b""
        try:
            while got := os.read(self.far, 1 << 16):
                text += got
        except BlockingIOError:
            pass
        return text.decode()

    def launcher(self):
        return [sys.executable, "-c", f"import os, sys; os.dup2({self.near}, 2); os.execv(sys.argv[1], sys.argv[1:])"]

    def leave(self):
        """Nobody reads, nor will."""
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, self.far)
        os.close(nothing)


@pytest.fixture(params=["pipe", "socket"])
def stderr(request):
    if request.param == "pipe":
        far, near = os.pipe()
    else:
        far, near = [s.detach() for s in socket.socketpair()]
    yield Stderr(near, far)
    os.close(near)
    os.close(far)


def test_nobody_reads_stderr(server, imd, stderr):
    """It is full from the start: imd starts, serves, says more, and stops."""
    stderr.fill()
    daemon = imd(server.url(), launcher=stderr.launcher(), pass_fds=(stderr.near,)).connected()
    client = daemon.client()
    for _ in range(3):
        client.call("disconnect")
        client.call("connect")
    daemon.process.signal(signal.SIGHUP)
    daemon.connected()
    assert client.call("hello")
    assert not fcntl.fcntl(stderr.near, fcntl.F_GETFL) & os.O_NONBLOCK, "it is not imd's alone"
    assert set(stderr.take()) == {"#"}
    client.call("disconnect")
    told = until(stderr.take, "somebody reads again")
    assert re.match(r"<4>\d+ log lines were lost: nobody read them in time\n<", told), told
    stderr.fill()
    daemon.stop()


def test_a_reader_that_is_gone_stops_nothing(server, imd, stderr):
    daemon = imd(server.url(), launcher=stderr.launcher(), pass_fds=(stderr.near,)).connected()
    stderr.leave()
    client = daemon.client()
    client.call("disconnect")
    assert client.call("connect")
    daemon.connected()


def test_lines_that_peers_cause_are_few(server, imd):
    daemon = imd(server.url(), MaxClients="8").connected()
    client = daemon.client()
    for _ in range(40):
        client.call("disconnect")
        client.call("connect")
        client.wait_status(lambda s: s["state"] == "connected", "connected again")
    for _ in range(60):
        last = daemon.client()
    last.wait_closed()
    for word in "disconnected from", "connected to", "MaxClients":
        assert 1 <= len(re.findall(rf"^<\d>.*{word}", daemon.log(), re.M)) <= 25, word


# The journal


@pytest.fixture
def journal(folder):
    journal = Journal(folder, os.path.join(folder, "imd0.stderr"))
    yield journal
    journal.stop()


@pytest.fixture
def journaled(server, journal, imd):
    """A connected daemon, of the account work, whose stderr is the journal."""

    def start(**keys):
        return imd(server.url(), launcher=journal.launcher(), env=journal.env(), account="work", **keys).connected()

    return start


def entry_of(journal, message_id, condition=lambda e: True):
    return until(lambda: [e for e in journal.of(message_id) if condition(e)], f"an entry {message_id}")[0]


def common(priority, message_id, text):
    return {"PRIORITY": str(priority).encode(), "SYSLOG_IDENTIFIER": b"imd", "IM_ACCOUNT": b"work",
            "MESSAGE_ID": message_id.encode(), "MESSAGE": text.encode()}


def test_start_link_and_stop(server, journal, journaled):
    daemon, url = journaled(), server.url()
    assert entry_of(journal, STARTED) == common(5, STARTED, f"account work: serving {daemon.socket_path}")
    assert entry_of(journal, LINK_CHANGED) == {**common(5, LINK_CHANGED, f"connected to {url}"),
                                               "IM_STATE": b"connected"}
    daemon.client().call("disconnect")
    assert entry_of(journal, LINK_CHANGED, lambda e: e["IM_STATE"] == b"disconnected") == {
        **common(5, LINK_CHANGED, f"disconnected from {url}: requested"), "IM_STATE": b"disconnected",
        "IM_REASON": b"requested"}
    assert daemon.log() == "", "all of it goes to the journal"
    daemon.stop()
    assert entry_of(journal, STOPPED) == common(5, STOPPED, "account work: stopped")


def test_link_lost(server, journal, journaled):
    journaled(ReconnectMin="1h", ReconnectMax="1h")
    server.kill()
    lost = entry_of(journal, LINK_CHANGED, lambda e: e["IM_STATE"] == b"waiting")
    assert lost["PRIORITY"] == b"4" and lost["IM_REASON"] == b"closed"
    assert lost["MESSAGE"].startswith(f"connection lost to {server.url()}: closed".encode())


def test_client_disconnected(journal, journaled):
    daemon = journaled(MaxClients="8")
    until(lambda: daemon.client() and journal.of(CLIENT_DISCONNECTED), "one is too many")
    assert entry_of(journal, CLIENT_DISCONNECTED) == {
        **common(4, CLIENT_DISCONNECTED, f"client of uid {os.getuid()} disconnected: MaxClients"),
        "IM_CLIENT_UID": str(os.getuid()).encode()}


def test_queued_message_rejected(server, journal, journaled):
    daemon = journaled()
    server.mode(ack="reject", code=9)
    hostile = "a\nPRIORITY=0"
    for id in "plain", hostile:
        daemon.client().call("send", message={"messageId": id, "content": {"message": "s3cret"}}, queue=True)
    assert entry_of(journal, NOT_DELIVERED) == {
        **common(4, NOT_DELIVERED, "queued message plain was rejected by the server: code 9"),
        "IM_STATE": b"rejected", "IM_MESSAGE_ID": b"plain", "IM_CODE": b"9"}
    entry = entry_of(journal, NOT_DELIVERED, lambda e: e["IM_MESSAGE_ID"] != b"plain")
    assert entry["IM_MESSAGE_ID"] == hostile.encode() and entry["PRIORITY"] == b"4"
    assert entry["MESSAGE"] == b"queued message a PRIORITY=0 was rejected by the server: code 9"
    assert "s3cret" not in str(journal.entries)


def test_queued_message_expired(journal, journaled):
    daemon = journaled()
    client = daemon.client()
    client.call("disconnect")
    client.call("send", message={"messageId": "late", "content": {"message": "x"}}, queue=True, expiresMs=1)
    entry = entry_of(journal, NOT_DELIVERED)
    assert entry == {**common(4, NOT_DELIVERED, "queued message late has expired: it was not delivered in time"),
                     "IM_STATE": b"expired", "IM_MESSAGE_ID": b"late"}


def on_small_disk(daemon):
    """Its state folder is a tmpfs; what comes before in the launcher has made the mount namespace private."""
    os.makedirs(daemon.state_path)
    daemon.launcher += ["sh", "-c", 'mount -t tmpfs -o size=256k,mode=700 imd-test "$0" && exec "$@"', daemon.state_path]
    return daemon


def enlarge(daemon):
    status, _, error = run(["nsenter", f"--mount=/proc/{daemon.process.pid}/ns/mnt", "mount", "-o", "remount,size=64m",
                            daemon.state_path])
    assert status == 0, error


def test_storage_fails_and_recovers(server, journal, imd_of):
    daemon = imd_of(server.url(), launcher=journal.launcher(), env=journal.env(), account="work", AckTimeout="60min")
    client = on_small_disk(daemon).start().connected().client()
    server.mode(ack="swallow")
    while "error" not in client.reply(client.request("send", message={"content": {"message": "x" * 4000}}, queue=True)):
        pass
    failed = entry_of(journal, STORAGE_FAILED)
    assert failed["PRIORITY"] == b"3" and b"nothing can be stored in " in failed["MESSAGE"]
    enlarge(daemon)
    recovered = entry_of(journal, STORAGE_RECOVERED)
    assert recovered["PRIORITY"] == b"5" and b"can be written again" in recovered["MESSAGE"]


def test_without_the_journals_socket_its_stream_is_used(journal, journaled):
    daemon = journaled()
    os.unlink(journal.path)
    daemon.client().call("disconnect")
    daemon.wait_log(r"<5>disconnected from")
