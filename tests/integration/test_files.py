"""Files that programs pass open, with the line of a send: their bytes go to the server as they are."""

import contextlib
import os
import signal
import socket
import time

import pytest

from patience import PATIENCE, until
from process import preload
from vitals import descriptors, is_instrumented, measures_memory, rss

MIB = 1 << 20
LINE_FDS_MAX = 16


@pytest.fixture
def opened(folder):
    """opened(bytes) is the descriptor of a file with these, somewhere behind its start."""
    with contextlib.ExitStack() as stack:

        def open_file(data, flags=os.O_RDWR, name="file"):
            path = os.path.join(folder, f"{name}{len(os.listdir(folder))}")
            with open(path, "wb") as f:
                f.write(data)
            fd = os.open(path, flags)
            stack.callback(os.close, fd)
            if flags == os.O_RDWR:
                os.lseek(fd, len(data) // 2, os.SEEK_SET)
            return fd

        yield open_file


def message(*numbers, **more):
    return {"message": {"content": {"message": [{"$fd": n} for n in numbers]}, **more}, "timeoutMs": int(PATIENCE * 1000)}


def contents(server, count):
    server.wait_frames(count)
    return [m["content"]["message"] for m in server.messages() if m["messageType"] != "PingMsg"]


def test_a_file_goes_as_bytes(server, bridge, opened):
    client = bridge.client()
    data = os.urandom(300000)
    number = client.request_with([opened(data)], "send", message(0, to="bob", extra=7))
    assert client.result(number)["code"] == 0
    server.wait_frames(1)
    [got] = server.messages()
    assert got["content"] == {"message": [data]}
    assert (got["to"], got["extra"], got["messageType"]) == ("bob", 7, "TxtMsg")
    assert client.call("stats")["files"] == 1


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65535, 65536])
def test_sizes(server, bridge, opened, size):
    client = bridge.client()
    data = os.urandom(size)
    client.result(client.request_with([opened(data)], "send", message(0)))
    assert contents(server, 1) == [[data]]


def test_several_files_and_a_memfd(server, bridge, opened):
    client = bridge.client()
    memory = os.memfd_create("memory")
    os.write(memory, b"in memory")
    first = opened(b"first")
    client.result(client.request_with([first, memory, opened(b"not used")], "send", message(1, 0)))
    assert contents(server, 1) == [[b"in memory", b"first"]]
    os.close(memory)


def test_as_many_as_a_line_may_have(server, bridge, opened):
    client = bridge.client()
    fds = [opened(b"%d" % i) for i in range(LINE_FDS_MAX + 1)]
    client.result(client.request_with(fds[1:], "send", message(*range(LINE_FDS_MAX))))
    assert contents(server, 1) == [[b"%d" % i for i in range(1, LINE_FDS_MAX + 1)]]
    refused = client.refusal(client.request_with(fds, "send", message(0)))
    assert (refused.reason, refused.data["limit"]) == ("busy", "file descriptors")


# What is written behind a file waits for it; each line has its own descriptors.
def test_order(server, bridge, opened):
    client = bridge.client()
    numbers = []
    for i in range(20):
        numbers.append(client.request("send", {"message": {"content": {"message": i}}}))
        numbers.append(client.request_with([opened(b"%d" % i * 10000)], "send", message(0)))
    for number in numbers:
        assert client.result(number)["code"] == 0
    expected = [value for i in range(20) for value in (i, [b"%d" % i * 10000])]
    assert contents(server, 40) == expected


def test_a_line_in_pieces(server, bridge, opened):
    client = bridge.client()
    line = client.request_line(1, "send", message(0))
    client.write_with(line[:1], [opened(b"whole")])
    for byte in line[1:]:
        client.write(bytes([byte]))
    assert client.result(1)["code"] == 0
    assert contents(server, 1) == [[b"whole"]]


def test_two_lines_in_one_read(server, bridge, opened):
    """The descriptors belong to the line that the read ends in."""
    client = bridge.client()
    lines = [client.request_line(1, "status"), client.request_line(2, "send", message(0))]
    client.write_with(b"".join(lines), [opened(b"the second")])
    client.result(1)
    client.result(2)
    assert contents(server, 1) == [[b"the second"]]


# A read may bring the rest of one line, whose descriptors have come, and the next line with its own.
def test_descriptors_go_with_their_own_line(server, bridge, opened):
    client = bridge.client()
    client.call("status")
    first, second = [client.request_line(n, "send", message(0, to=to)) for n, to in [(11, "alice"), (12, "bob")]]
    bridge.process.signal(signal.SIGSTOP)
    client.write_with(first[:20], [opened(b"for alice")])
    client.write(first[20:])
    client.write_with(second, [opened(b"for bob")])
    bridge.process.signal(signal.SIGCONT)
    for number in 11, 12:
        assert client.result(number)["code"] == 0
    assert [(m["to"], m["content"]["message"]) for m in server.messages() if m["messageType"] == "TxtMsg"] == [
        ("alice", [b"for alice"]), ("bob", [b"for bob"])]


def test_a_line_with_two_lots(server, bridge, opened):
    client = bridge.client()
    line = client.request_line(1, "send", message(1, 0))
    client.write_with(line[:20], [opened(b"first")])
    client.write_with(line[20:], [opened(b"second")])
    assert client.result(1)["code"] == 0
    assert contents(server, 1) == [[b"second", b"first"]]
    client.write_with(line[:20], [opened(b"%d" % n) for n in range(16)])
    client.write_with(line[20:], [opened(b"one too many")])
    assert client.refusal(1).data["limit"] == "file descriptors"


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "socket"])
def test_only_files(server, bridge, what):
    client = bridge.client()
    ends = {"pipe": lambda: os.pipe(), "device": lambda: [os.open("/dev/zero", os.O_RDONLY)],
            "folder": lambda: [os.open("/", os.O_RDONLY)],
            "socket": lambda: [s.detach() for s in socket.socketpair()]}[what]()
    refused = client.refusal(client.request_with(ends[:1], "send", message(0)))
    for fd in ends:
        os.close(fd)
    assert (refused.reason, str(refused.error["message"])) == ("invalid_params", "file descriptor 0 is no regular file")
    assert client.call("status")["state"] == "connected"


def test_a_file_that_cannot_be_read(server, bridge, opened):
    client = bridge.client()
    for flags in os.O_WRONLY, os.O_PATH:
        refused = client.refusal(client.request_with([opened(b"secret", flags)], "send", message(0)))
        assert refused.reason == "invalid_params"
        assert refused.error["message"] == "file descriptor 0 cannot be read: Bad file descriptor"


# The kernel says 4096 of these, and then gives less.
def test_a_file_that_is_shorter_than_it_says(server, bridge):
    client = bridge.client()
    with open("/sys/kernel/uevent_seqnum") as f:
        refused = client.refusal(client.request_with([f.fileno()], "send", message(0)))
    assert refused.error["message"] == "file descriptor 0 has become shorter while it was read"


@pytest.mark.parametrize("value", [1, -1, "0", 0.0, None])
def test_no_such_descriptor(server, bridge, opened, value):
    client = bridge.client()
    for fds in [], [opened(b"x")]:
        params = {"message": {"content": {"message": {"$fd": value}}}}
        number = client.request_with(fds, "send", params) if fds else client.request("send", params)
        assert client.refusal(number).reason == "invalid_params"


def test_files_that_are_too_large(server, imd, opened):
    client = imd(server.url(), MaxMessage="1M").connected().client()
    assert client.refusal(client.request_with([opened(b"x" * MIB)], "send", message(0))).reason == "too_large"
    half = opened(b"x" * (MIB // 2 + 1))
    assert client.refusal(client.request_with([half, half], "send", message(0, 1))).reason == "too_large"
    client.result(client.request_with([opened(b"x" * (MIB - 1000))], "send", message(0)))


# Whatever they came with: imd has none of them in the end.
def test_unwanted_descriptors_are_closed(server, imd, opened):
    daemon = imd(server.url(), MaxLine="4K").connected()
    client = daemon.client()
    client.call("status")
    before = descriptors(daemon.process.pid)
    file = opened(b"x")
    client.result(client.request_with([file] * 3, "status"))
    client.refusal(client.request_with([file], "no such method"))
    client.result(client.request_with([file, file], "send", message()))
    client.write_with(b"no JSON\n", [file])
    client.write_with(b"x" * 5000, [file])
    client.write_with(b"x" * 5000, [file])
    client.write(b"\n")
    client.result(client.request_with([file], "send", message(0)))
    client.write_with(b"half a line", [file])
    client.close()
    other = daemon.client()
    number = other.request_with([file], "send", message(0))
    other.close()
    until(lambda: descriptors(daemon.process.pid) == before - 1, "imd has closed them all")
    assert number
    assert contents(server, 3) == [[], [b"x"], [b"x"]]


# Who is gone before its file was read has sent it all the same.
def test_a_sender_that_has_gone(server, bridge, opened):
    client = bridge.client()
    data = os.urandom(10 * MIB)
    client.request_with([opened(data)], "send", message(0))
    client.send("behind it")
    client.close()
    assert contents(server, 2) == [[data], "behind it"]


def test_a_file_in_the_outbox(server, imd_of, opened):
    daemon = imd_of("ws://127.0.0.1:9/").start()
    client = daemon.client()
    data = os.urandom(MIB)
    params = {"message": {"messageId": "once", "content": {"message": {"$fd": 0}}}, "queue": True}
    assert client.result(client.request_with([opened(data)], "send", params)) == {"messageId": "once",
                                                                                "state": "queued"}
    params = {"message": {"content": {"message": {"$fd": 0}}}}
    assert client.refusal(client.request_with([opened(data)], "send", params)).reason == "not_connected"
    daemon.crash()
    daemon.configure(server.url())
    daemon.start().connected()
    assert contents(server, 1) == [data]


@measures_memory
def test_memory(server, bridge, opened):
    client = bridge.client()
    size = 60 * MIB
    server.mode(ack="swallow")
    client.request_with([opened(os.urandom(MIB) * 60)], "send", message(0))
    server.wait_frames(1)
    with open(f"/proc/{bridge.process.pid}/status") as f:
        peak = next(int(line.split()[1]) << 10 for line in f if line.startswith("VmHWM:"))
    assert peak < 3 * size


STUCK_SIZE = 4711
STUCK = r"""
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static void wait_here(int fd)
{
    struct stat s;
    if (fstat(fd, &s) == 0 && s.st_size == STUCK_SIZE)
        while (access(getenv("STUCK"), F_OK) == 0)
            usleep(1000);
}
ssize_t pread64(int fd, void *to, size_t n, off_t at) { wait_here(fd); return syscall(SYS_pread64, fd, to, n, at); }
ssize_t pread(int fd, void *to, size_t n, off_t at) { wait_here(fd); return syscall(SYS_pread64, fd, to, n, at); }
int close(int fd) { wait_here(fd); return (int)syscall(SYS_close, fd); }
"""


@pytest.fixture
def stuck_files(folder):
    """The environment in which files of STUCK_SIZE bytes can be neither read nor closed while the file STUCK is there."""
    if is_instrumented():
        pytest.skip("what is preloaded must come before a sanitizer's own")
    env = {"LD_PRELOAD": preload(folder, "stuck", f"#define STUCK_SIZE {STUCK_SIZE}\n{STUCK}"), "STUCK": os.path.join(folder, "stuck")}
    open(env["STUCK"], "w").close()
    return env


def test_a_file_system_that_does_not_answer(server, imd_of, opened, stuck_files):
    """It holds up who sent the file, and nobody else; who has too many such files is told so."""
    daemon = imd_of(server.url(), env=stuck_files).start().connected()
    file = opened(b"x" * STUCK_SIZE)
    senders = [daemon.client() for _ in range(5)]
    numbers = [s.request_with([file], "send", message(0)) for s in senders[:4]]
    behind = senders[0].send("behind")
    refused = senders[4].refusal(senders[4].request_with([file], "send", message(0)))
    assert (refused.reason, refused.data["limit"]) == ("busy", "files")
    other = daemon.client()
    other.result(other.send("meanwhile"))
    for _ in range(30):  # unwanted, and cannot be closed: beyond a bound they are not even taken
        other.result(other.request_with([file], "status"))
    refused = other.refusal(other.request_with([opened(b"y")], "send", message(0)))
    assert refused.data["limit"] == "file descriptors"
    assert contents(server, 1) == ["meanwhile"]
    os.unlink(stuck_files["STUCK"])
    for sender, number in zip(senders, numbers):
        assert sender.result(number)["code"] == 0
    senders[0].result(behind)
    assert len(contents(server, 6)) == 6


HELD_SYNC = r"""
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int fd)
{
    while (access(getenv("STUCK"), F_OK) == 0)
        usleep(1000);
    return (int)syscall(SYS_fdatasync, fd);
}
"""


def test_files_that_wait_for_the_disk(server, imd_of, folder):
    """What waits in memory is bounded: senders are not read any more."""
    if is_instrumented():
        pytest.skip("what is preloaded must come before a sanitizer's own")
    env = {"LD_PRELOAD": preload(folder, "held", HELD_SYNC), "STUCK": os.path.join(folder, "stuck")}
    daemon = imd_of("ws://127.0.0.1:9/", env=env).start()
    client, senders = daemon.client(), [daemon.client() for _ in range(3)]
    file = os.memfd_create("sparse")
    os.truncate(file, 10 * MIB)
    params = {"message": {"content": {"message": {"$fd": 0}}}, "queue": True}
    for sender in senders:  # from now on they use the store
        sender.call("send", message={}, queue=True)
    open(env["STUCK"], "w").close()
    for _ in range(10):
        for sender in senders:
            sender.request_with([file], "send", params)
    until(lambda: client.call("stats")["files"] >= 64 // 10, "memory is full of them")
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        files = client.call("stats")["files"]
    assert files <= 64 // 10 + 1 + len(senders)
    assert rss(daemon.process.pid) < 150 * MIB
    os.close(file)
    daemon.crash()


def hold_descriptors(daemon, file, count):
    """So many clients with a line that has a descriptor and does not end."""
    clients = [daemon.client() for _ in range(count)]
    for client in clients:
        client.write_with(b" ", [file])
    return clients


def test_descriptors_that_were_not_taken_count_for_nothing(server, bridge, opened):
    file = opened(b"x")
    bridge.client().call("status")
    before = descriptors(bridge.process.pid)
    held = hold_descriptors(bridge, file, 16)
    until(lambda: descriptors(bridge.process.pid) == before + 32, "imd has as many as it takes of one user")
    lost = hold_descriptors(bridge, file, 140)
    client = bridge.client()
    line = client.request_line(1, "send", message(0))
    client.write_with(line[:20], [file])
    until(lambda: descriptors(bridge.process.pid) == before + 32 + 141, "all are connected")
    for one in held:
        one.close()
    until(lambda: descriptors(bridge.process.pid) == before + 141, "those are gone")
    client.write_with(line[20:], [opened(b"another")])  # whose first one was lost
    assert client.refusal(1).data["limit"] == "file descriptors"
    assert client.result(client.request_with([file], "send", message(0)))["code"] == 0
    assert len(lost) == 140


def test_stopped_while_a_file_is_read(server, imd_of, opened, stuck_files):
    daemon = imd_of(server.url(), env=stuck_files).start().connected()
    client = daemon.client()
    client.request_with([opened(b"x" * STUCK_SIZE)], "send", message(0))
    daemon.client().call("status")
    daemon.terminate()
    assert daemon.process.wait() == 0
    daemon.process = None
