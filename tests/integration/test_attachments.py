"""Large binaries that the server sends become files; what the event says of them is true."""

import hashlib
import os
import re
import signal
import stat

import msgpack
import pytest

from patience import PATIENCE, until
from process import preload
from vitals import is_instrumented, measures_memory

KIB, MIB = 1 << 10, 1 << 20
INLINE = 64 * KIB


def folder_of(daemon):
    return os.path.join(daemon.state_path, "attachments")


def files(daemon):
    return sorted(os.listdir(folder_of(daemon))) if os.path.isdir(folder_of(daemon)) else []


def push(server, *bins, **data):
    return server.push({"code": 0, "data": {"messageType": "FileMsg", "content": {"message": list(bins)}, **data}})


def told(subscriber, seconds=PATIENCE):
    """What the next MESSAGE has in the place of the binaries."""
    return subscriber.event("MESSAGE", seconds).params["data"]["content"]["message"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def file_with(daemon, data):
    """What must be told of this binary."""
    digest = sha256(data)
    return {"$file": os.path.join(folder_of(daemon), digest), "size": len(data), "sha256": digest}


def is_inline(value):
    return isinstance(value, dict) and set(value) == {"$bin"}


def stats(daemon):
    client = daemon.client()
    try:
        return client.call("stats")
    finally:
        client.close()


def content(path):
    with open(path, "rb") as f:
        return f.read()


def test_a_binary_becomes_a_file(server, bridge):
    subscriber = bridge.subscriber()
    data = os.urandom(300_000)
    push(server, "before", data, "behind", {"x": data[:INLINE + 1]})
    small = data[:INLINE + 1]
    assert told(subscriber) == ["before", file_with(bridge, data), "behind", {"x": file_with(bridge, small)}]
    assert content(os.path.join(folder_of(bridge), sha256(data))) == data
    assert content(os.path.join(folder_of(bridge), sha256(small))) == small
    assert files(bridge) == sorted([sha256(data), sha256(small)])
    assert stat.S_IMODE(os.stat(folder_of(bridge)).st_mode) == 0o750
    assert {stat.S_IMODE(os.stat(os.path.join(folder_of(bridge), f)).st_mode) for f in files(bridge)} == {0o640}
    after = stats(bridge)
    assert (after["attachments"], after["attachmentsFailed"], after["attachmentsEvicted"]) == (2, 0, 0)
    assert 0 <= after["attachmentBytes"] - len(data) - len(small) < 8192


def test_the_umask_does_not_take_the_group_away(server, imd):
    daemon = imd(server.url(), umask=0o077).connected()
    subscriber = daemon.subscriber()
    push(server, b"x" * 100_000)
    told(subscriber)
    [name] = files(daemon)
    assert stat.S_IMODE(os.stat(folder_of(daemon)).st_mode) == 0o750
    assert stat.S_IMODE(os.stat(os.path.join(folder_of(daemon), name)).st_mode) == 0o640


def test_the_limit_is_exact(server, bridge):
    subscriber = bridge.subscriber()
    push(server, b"a" * INLINE, b"b" * (INLINE + 1), b"c" * (INLINE - 1))
    below, above, less = told(subscriber)
    assert is_inline(below) and is_inline(less) and above == file_with(bridge, b"b" * (INLINE + 1))
    push(server, b"b" * (INLINE + 1))
    assert told(subscriber) == [above]
    push(server, b"")
    assert told(subscriber) == [{"$bin": ""}]


def test_without_inline_all_but_the_empty_one_are_files(server, imd):
    daemon = imd(server.url(), InlineBinary="0").connected()
    subscriber = daemon.subscriber()
    push(server, b"", b"x", b"yy")
    assert told(subscriber) == [{"$bin": ""}, file_with(daemon, b"x"), file_with(daemon, b"yy")]


def test_switched_off(server, imd):
    daemon = imd(server.url(), AttachmentsMaxSize="0").connected()
    subscriber = daemon.subscriber()
    push(server, b"x" * 100_000)
    assert is_inline(told(subscriber)[0])
    assert files(daemon) == [] and stats(daemon)["attachmentsFailed"] == 0


# The envelope need not be one, and a key is a place like any other.
def test_anywhere_in_a_frame(server, bridge):
    subscriber = bridge.subscriber()
    data = b"k" * 70_000
    server.push(msgpack.packb(data))
    assert subscriber.event("MESSAGE").params["data"] == file_with(bridge, data)
    server.push({"code": 0, "data": {"messageType": "TxtMsg", data: [[{"a": data}]]}})
    event = subscriber.event("MESSAGE").params["data"]
    assert list(event.values())[1] == [[{"a": file_with(bridge, data)}]]
    assert sha256(data) in list(event)[1]


def test_events_keep_their_order(server, bridge):
    subscriber = bridge.subscriber()
    first = subscriber.call("status")["seq"]
    for i in range(30):
        push(server, b"%03d" % i * 40_000)
        server.push_text(f"behind {i}")
        server.do("push", hex=msgpack.packb({"code": i, "data": {}}).hex(), count=20)
    for i in range(30):
        assert told(subscriber) == [file_with(bridge, b"%03d" % i * 40_000)]
        assert told(subscriber) == f"behind {i}"
        for _ in range(20):
            assert subscriber.event("MESSAGE").params["code"] == i
    assert subscriber.call("status")["seq"] == first + 30 * 22
    assert subscriber.call("stats")["reconnects"] == 0


def test_an_answer_with_a_large_binary(server, imd):
    daemon = imd(server.url(), MaxLine="1M").connected()
    client = daemon.subscriber("SENT")
    data = os.urandom(200_000)
    with open(os.path.join(daemon.folder, "out"), "w+b") as f:
        f.write(data)
        f.flush()
        number = client.request_with([f.fileno()], "send", {"message": {"content": {"message": {"$fd": 0}}}})
        small = client.send("small")
        assert client.result(number)["data"]["content"]["message"] == file_with(daemon, data)
        assert client.result(small)["data"]["content"]["message"] == "small"
    assert client.event("SENT").params["data"]["content"]["message"] == file_with(daemon, data)
    assert client.event("SENT").params["data"]["content"]["message"] == "small"


def test_the_same_bytes_are_there_once(server, bridge):
    subscriber = bridge.subscriber()
    data = b"again" * 20_000
    push(server, data, data)
    assert told(subscriber) == [file_with(bridge, data)] * 2
    path = os.path.join(folder_of(bridge), sha256(data))
    before = os.stat(path)
    os.utime(path, (1, 1))
    push(server, data)
    assert told(subscriber) == [file_with(bridge, data)]
    after = os.stat(path)
    assert after.st_ino == before.st_ino and after.st_mtime >= int(before.st_mtime)
    assert stats(bridge)["attachments"] == 1


def test_the_oldest_go_first(server, imd):
    daemon = imd(server.url(), AttachmentsMaxSize="1M").connected()
    subscriber = daemon.subscriber()
    bins = [bytes([i]) * (256 * KIB) for i in range(7)]
    for i in range(4):
        push(server, bins[i])
        told(subscriber)
    push(server, bins[0])  # young again
    told(subscriber)
    for i in (4, 5):
        push(server, bins[i])
        told(subscriber)
    assert files(daemon) == sorted(sha256(bins[i]) for i in (0, 3, 4, 5))
    assert stats(daemon)["attachmentsEvicted"] == 2 and stats(daemon)["attachmentBytes"] == MIB


def test_a_smaller_bound_is_kept_at_once(server, imd_of):
    daemon = imd_of(server.url(), AttachmentsMaxSize="1M").start().connected()
    subscriber = daemon.subscriber()
    for i in range(4):
        push(server, bytes([i]) * (256 * KIB))
        told(subscriber)
    daemon.configure(server.url(), AttachmentsMaxSize="600K")
    daemon.process.signal(signal.SIGHUP)
    until(lambda: len(files(daemon)) == 2, "the oldest are removed")
    assert files(daemon) == sorted(sha256(bytes([i]) * (256 * KIB)) for i in (2, 3))


def test_larger_than_the_bound(server, imd):
    daemon = imd(server.url(), AttachmentsMaxSize="1M").connected()
    subscriber = daemon.subscriber()
    data = b"x" * (300 * KIB)
    push(server, data)
    told(subscriber)
    push(server, b"y" * (2 * MIB), b"z" * (100 * KIB))
    large, small = told(subscriber)
    assert is_inline(large) and small == file_with(daemon, b"z" * (100 * KIB))
    assert sha256(data) in files(daemon)
    assert stats(daemon)["attachmentsFailed"] == 1
    daemon.wait_log("within the line.*larger than AttachmentsMaxSize")


# A file stands where the folder should be; chmod does not stop root.
def test_a_folder_that_cannot_be_written(server, imd_of):
    daemon = imd_of(server.url())
    os.makedirs(daemon.state_path)
    with open(folder_of(daemon), "w"):
        pass
    daemon.start().connected()
    subscriber = daemon.subscriber()
    for _ in range(20):
        push(server, b"x" * 100_000)
        assert is_inline(told(subscriber)[0])
    assert stats(daemon)["attachmentsFailed"] == 20
    assert daemon.log().count("within the line") <= 6
    os.unlink(folder_of(daemon))
    push(server, b"x" * 100_000)
    assert told(subscriber) == [file_with(daemon, b"x" * 100_000)]


def test_files_and_their_bound_outlive_a_restart(server, imd_of):
    daemon = imd_of(server.url(), AttachmentsMaxSize="1M").start().connected()
    subscriber = daemon.subscriber()
    bins = [bytes([i]) * (256 * KIB) for i in range(5)]
    for i in range(4):
        push(server, bins[i])
        told(subscriber)
    daemon.crash()
    with open(os.path.join(folder_of(daemon), "partial"), "w") as f:
        f.write("half a file")
    daemon.start().connected()
    until(lambda: "partial" not in files(daemon), "what was half written is removed")
    until(lambda: stats(daemon)["attachmentBytes"] == MIB, "the files are counted")
    subscriber = daemon.subscriber()
    push(server, bins[4])
    assert told(subscriber) == [file_with(daemon, bins[4])]
    assert files(daemon) == sorted(sha256(b) for b in bins[1:])


def test_foreign_files_are_left_alone(server, imd):
    daemon = imd(server.url(), AttachmentsMaxSize="512K").connected()
    subscriber = daemon.subscriber()
    push(server, b"a" * 100_000)
    told(subscriber)
    victim = os.path.join(daemon.folder, "victim")
    with open(victim, "w") as f:
        f.write("mine")
    data = b"b" * (400 * KIB)
    os.symlink(victim, os.path.join(folder_of(daemon), sha256(data)))
    os.symlink(victim, os.path.join(folder_of(daemon), "0" * 64))
    for name in ("notes.txt", "A" * 64, "f" * 63):
        with open(os.path.join(folder_of(daemon), name), "wb") as f:
            f.write(b"n" * MIB)
    push(server, data)
    assert told(subscriber) == [file_with(daemon, data)]
    assert content(os.path.join(folder_of(daemon), sha256(data))) == data
    assert content(victim) == b"mine"
    for i in range(4):
        push(server, bytes([i]) * (400 * KIB))
        told(subscriber)
    left = files(daemon)
    assert {"notes.txt", "A" * 64, "f" * 63, "0" * 64} < set(left) and len(left) == 5


def test_history_has_the_path(server, bridge):
    subscriber = bridge.subscriber()
    push(server, b"kept" * 50_000)
    raw = subscriber.event("MESSAGE").raw
    again = bridge.client()
    again.call("subscribe", since=0)
    assert again.event("MESSAGE").raw == raw


def test_many_binaries_of_one_message(server, imd):
    daemon = imd(server.url(), InlineBinary="0").connected()
    subscriber = daemon.subscriber()
    push(server, *(b"%d" % i for i in range(300)))
    values = told(subscriber)
    assert [v.get("sha256") for v in values[:256]] == [sha256(b"%d" % i) for i in range(256)]
    assert all(is_inline(v) for v in values[256:])


STUCK = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int fsync(int fd)
{
    char link[64], path[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, "/attachments/partial"))
        while (access(getenv("STUCK"), F_OK) == 0)
            usleep(1000);
    return (int)syscall(SYS_fsync, fd);
}
"""


@pytest.fixture
def stuck(server, imd_of, folder):
    """A daemon whose disk does not finish a file of the attachment folder while the file STUCK is there; its path."""
    if is_instrumented():
        pytest.skip("what is preloaded must come before a sanitizer's own")
    path = os.path.join(folder, "stuck")
    daemon = imd_of(server.url(), env={"LD_PRELOAD": preload(folder, "stuck", STUCK), "STUCK": path})
    open(path, "w").close()
    daemon.start().connected()
    yield daemon, path
    if os.path.exists(path):
        os.unlink(path)


def push_stuck(server, daemon, data):
    """A binary, and an event behind it; both wait for the disk."""
    push(server, data)
    server.push_text("behind")
    until(lambda: "partial" in files(daemon), "the file is being written")


def test_a_slow_disk_holds_up_the_server_and_nobody_else(server, stuck):
    daemon, path = stuck
    subscriber, client = daemon.subscriber(), daemon.client()
    data = os.urandom(100_000)
    push_stuck(server, daemon, data)
    frames = server.stats()["frames"]
    number = client.send("meanwhile")
    server.wait("frames", min=frames + 1)
    assert client.call("status")["state"] == "connected"
    os.unlink(path)
    assert told(subscriber) == [file_with(daemon, data)] and told(subscriber) == "behind"
    assert client.result(number)["code"] == 0
    assert client.call("stats")["reconnects"] == 0


def test_a_link_lost_meanwhile(server, stuck):
    daemon, path = stuck
    subscriber, watcher = daemon.subscriber("MESSAGE"), daemon.watcher()
    data = os.urandom(100_000)
    push_stuck(server, daemon, data)
    daemon.client().call("reconnect")
    watcher.status("connecting", "the link is lost")
    watcher.status("connected", "it comes back")
    server.push_text("of the new link")
    os.unlink(path)
    assert told(subscriber) == [file_with(daemon, data)]
    assert told(subscriber) in ("behind", "of the new link")


def test_stopped_meanwhile(server, stuck):
    daemon, path = stuck
    subscriber = daemon.subscriber()
    data = os.urandom(100_000)
    push_stuck(server, daemon, data)
    daemon.terminate()
    daemon.wait_log("stopping")
    os.unlink(path)
    assert told(subscriber) == [file_with(daemon, data)]
    subscriber.wait_closed()
    assert daemon.process.wait() == 0
    daemon.process = None
    daemon.start()
    again = daemon.client()
    again.call("subscribe", since=0)
    assert told(again) == [file_with(daemon, data)]


def peak(daemon):
    with open(f"/proc/{daemon.process.pid}/status") as f:
        return int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.MULTILINE).group(1)) << 10


@measures_memory
def test_a_file_takes_little_more_memory_than_it_has_bytes(server, bridge):
    subscriber = bridge.subscriber()
    base = peak(bridge)
    data = os.urandom(MIB) * 24
    push(server, data)
    assert told(subscriber, 3 * PATIENCE) == [file_with(bridge, data)]
    assert peak(bridge) < base + 1.2 * len(data)


@measures_memory
def test_an_answer_of_60_mib(server, bridge):
    client = bridge.client()
    data = os.urandom(MIB) * 60
    with open(os.path.join(bridge.folder, "out"), "w+b") as f:
        f.write(data)
        f.flush()
        number = client.request_with([f.fileno()], "send", {"message": {"content": {"message": {"$fd": 0}}}})
        assert client.result(number, 3 * PATIENCE)["data"]["content"]["message"] == file_with(bridge, data)
    print(f"VmHWM: {peak(bridge) / MIB:.1f} MiB")
    assert peak(bridge) < 1.5 * len(data)
