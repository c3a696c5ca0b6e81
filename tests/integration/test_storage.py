"""The state folder: whose it is, what becomes of a damaged file, and what goes on while the disk takes nothing."""

import glob
import hashlib
import os
import re
import sqlite3
import stat
import time

import pytest

from patience import SLOW
from process import preload, run
from test_history import assert_covered, assert_same, expect, lines_until, range_of, subscribed
from test_outbox import drained, entries, ids, put, queue, states, unreachable
from vitals import is_instrumented

QUIET = {"PingGap": "60min"}


def database(daemon):
    return os.path.join(daemon.state_path, "imd.db")


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def fill(server, daemon, count=2000, size=300):
    """Events that are on disk: their lines."""
    subscriber = daemon.subscriber("MESSAGE")
    server.do("push_many", count=count, size=size)
    lines = [e.raw for e in subscriber.messages(count)]
    subscriber.call("history", limit=1)
    subscriber.close()
    return lines


# ---- The folder ----

def test_the_folder_is_made(server, imd_of):
    """With all that it needs above it, for imd's user alone."""
    daemon = imd_of(server.url(), umask=0)
    daemon.state_path = os.path.join(daemon.folder, "a", "b", "state")
    daemon.start().connected()
    fill(server, daemon, 10)
    assert stat.S_IMODE(os.stat(daemon.state_path).st_mode) == 0o700
    assert os.path.getsize(database(daemon)) > 0
    for name in os.listdir(daemon.state_path):
        assert stat.S_IMODE(os.stat(os.path.join(daemon.state_path, name)).st_mode) & 0o077 == 0, name


def test_a_folder_that_is_there_is_left_as_it_is(server, imd_of):
    daemon = imd_of(server.url())
    os.mkdir(daemon.state_path)
    os.chmod(daemon.state_path, 0o750)
    daemon.start()
    assert stat.S_IMODE(os.stat(daemon.state_path).st_mode) == 0o750


def test_a_second_daemon_does_not_start(server, imd_of):
    first, second = imd_of(server.url()).start().connected(), imd_of(server.url())
    second.state_path = first.state_path
    status, log = second.start_fails()
    assert status == 1
    assert re.search(rf"in use by another imd \(pid {first.process.pid}\)", log), log
    assert first.state_path in log
    lines = fill(server, first, 10)
    expect(first.client(), lines)
    # Nor does it when the first one has been killed and started again; but when it has ended, it does.
    first.crash()
    first.start()
    assert second.start_fails()[0] == 1
    first.stop()
    second.start().connected()
    assert second.client().call("history", limit=10)["events"][0]["params"]["seq"] == 1


def test_a_clean_end_leaves_one_file(server, imd):
    """What can be copied away while imd does not run."""
    daemon = imd(server.url()).connected()
    fill(server, daemon, 10)
    daemon.stop()
    assert sorted(os.listdir(daemon.state_path)) == ["imd.db", "lock"]
    with open(database(daemon), "rb") as f:
        assert f.read(16) == b"SQLite format 3\0"


def test_made_by_a_newer_imd(server, imd):
    """It would not know what it does there: it does not start, and does not touch it."""
    daemon = imd(server.url()).connected()
    fill(server, daemon, 10)
    daemon.stop()
    with sqlite3.connect(database(daemon)) as newer:
        newer.execute("PRAGMA user_version=1000")
        newer.execute("DELETE FROM meta WHERE key = 'version'")
    newer.close()
    before = digest(database(daemon))
    status, log = daemon.start_fails()
    assert status == 1 and "newer" in log, log
    assert digest(database(daemon)) == before
    assert sorted(os.listdir(daemon.state_path)) == ["imd.db", "lock"]


# ---- Damage ----

def damage(path, at, count):
    """Random bytes there; those that were there are not among them."""
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(count)
        f.seek(at)
        f.write(bytes(b ^ 0xa5 for b in old))


def set_aside(daemon):
    found = glob.glob(database(daemon) + ".corrupt-*")
    return [path for path in found if not path.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize("where", ["header", "all but the header", "not a database", "cut off"])
def test_a_damaged_file_is_set_aside(server, imd, where):
    daemon = imd(server.url(), **QUIET).connected()
    lines = [line for _ in range(10) for line in fill(server, daemon, 200)]  # no flood: all in the database
    client = daemon.client()
    unreachable(server, daemon)
    queue(client, "gone")
    daemon.stop()
    path = database(daemon)
    size = os.path.getsize(path)
    assert size > 500_000
    if where == "header":
        damage(path, 0, 100)
    elif where == "all but the header":
        damage(path, 4096, size - 4096)
    elif where == "not a database":
        with open(path, "wb") as f:
            f.write(b"something else\n" * 1000)
    else:
        os.truncate(path, size // 2)
    broken = digest(path)
    server.do("start_listening")
    daemon.start().connected()
    aside = set_aside(daemon)
    assert len(aside) == 1 and digest(aside[0]) == broken
    assert re.fullmatch(r"imd\.db\.corrupt-[0-9]{8}T[0-9]{6}Z\S*", os.path.basename(aside[0]))
    assert os.path.basename(aside[0]) in daemon.log()
    client = daemon.client()
    seq = client.call("status")["seq"]
    assert seq >= 2000 and client.call("status")["storage"] == "ok"
    # It works, and the numbers go on above; what is lost is told to who asks for it.
    again = fill(server, daemon, 5)
    assert [range_of(x)[0] for x in again] == list(range(seq + 1, seq + 6))
    got = lines_until(subscribed(daemon, 0), seq + 5)
    assert_covered(got, 1, seq + 5)
    assert_same(got[-5:], again)
    for line in got[:-5]:
        assert b'"GAP"' in line or line in lines
    assert b'"reason":"corrupt"' in b"".join(got[:-5])
    queue(client, "m")
    drained(client)
    assert "m" in ids(server)
    # Once only.
    daemon.stop()
    daemon.start().connected()
    assert set_aside(daemon) == aside
    assert_same(lines_until(subscribed(daemon, seq), seq + 5), again)


def test_a_hole_in_the_history(server, imd):
    """Damage among the lines: whatever comes is what was, and the rest is told as a GAP; or all is set aside."""
    daemon = imd(server.url()).connected()
    lines = fill(server, daemon, 5000)
    daemon.stop()
    path = database(daemon)
    damage(path, os.path.getsize(path) // 2, 10_000)
    daemon.start().connected()
    client = daemon.client()
    got = lines_until(subscribed(daemon, 0), 5000)
    client.call("history", limit=10000)
    assert client.call("status")["storage"] == "ok"
    last = client.call("status")["seq"]
    if last > 5000 and range_of(got[-1])[1] == 5000:
        got += lines_until(subscribed(daemon, 5000), last)
    assert_covered(got, 1, last)
    gaps = [x for x in got if b'"GAP"' in x]
    assert gaps and set(got) - set(gaps) <= set(lines)
    assert all(b'"corrupt"' in x for x in gaps) or set_aside(daemon)
    live = subscribed(daemon)
    server.push_text("on")
    assert live.event("MESSAGE").params["seq"] == last + 1


def test_damaged_twice(server, imd):
    """The file that was set aside first is kept, even within the same second."""
    daemon = imd(server.url())
    for round in range(1, 4):
        daemon.stop()
        damage(database(daemon), 0, 100)
        daemon.start()
        assert len(set_aside(daemon)) == round


# ---- A disk that takes nothing ----

NEEDS_MOUNTS = "no private mount namespace to be had here"


def mounts_or_skip():
    status, _, error = run(["unshare", "--mount", "true"])
    if status != 0:
        pytest.skip(f"{NEEDS_MOUNTS}: {error.strip()}")


def mounting(daemon, script):
    """The daemon's state folder ("$0") is what the script mounts there; only the daemon sees it."""
    os.makedirs(daemon.state_path, exist_ok=True)
    daemon.launcher = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{script} && exec "$@"',
                       daemon.state_path]
    return daemon


def on_tmpfs(daemon, size, options=""):
    script = f'mount -t tmpfs -o size={size},mode=700 imd-test "$0"'
    return mounting(daemon, script + (f' && mount -o remount,{options} "$0"' if options else ""))


def remount(daemon, options):
    status, _, error = run(["nsenter", f"--mount=/proc/{daemon.process.pid}/ns/mnt", "mount", "-o",
                            f"remount,{options}", daemon.state_path])
    assert status == 0, error


def storage_is(word):
    return lambda status: status["storage"] == word


def queue_until_refused(client, text, most=20000):
    """(ids that were answered `queued`, in order; the id that was refused)."""
    taken = []
    for n in range(most):
        reply = client.reply(put(client, text, f"m{n}"))
        if "error" in reply:
            assert reply["error"]["code"] == -74 and reply["error"]["data"]["reason"] == "storage", reply
            return taken, f"m{n}"
        assert reply["result"] == {"messageId": f"m{n}", "state": "queued"}
        taken.append(f"m{n}")
    raise AssertionError("the disk takes everything")


def assert_goes_on(server, daemon, subscriber):
    """While the disk takes nothing: live events, direct sends, and no promise that cannot be kept."""
    client = daemon.client()
    # On a disk that is nearly full what imd tries may fit; what is refused tells that it is not well.
    assert client.refusal(put(client, "z" * 4000, "refused")).reason == "storage"
    status = client.call("status")
    assert status["storage"] == "failed" and status["storageDetail"] and status["state"] == "connected"
    for n in range(50):
        server.push_text(f"live {n}")
    lines = [e.raw for e in subscriber.messages(50)]
    first = range_of(lines[0])[0]
    assert [range_of(x)[0] for x in lines] == list(range(first, first + 50))
    server.mode(ack="echo")
    assert client.result(client.send("direct"))["code"] == 0
    server.mode(ack="swallow")
    for n in range(3):
        refused = client.refusal(put(client, "z" * 4000, f"refused{n}"))
        assert (refused.code, refused.reason) == (-74, "storage")
    assert refused.error["message"]
    late = daemon.client()
    assert late.subscribe()["status"]["storage"] == "failed"
    return lines


def assert_recovers(server, daemon, watcher, taken):
    """By itself; and every promise is kept."""
    client = daemon.client()
    client.wait_status(storage_is("ok"), "the disk works again")
    watcher.status(storage_is("ok"), "it is told")
    assert "storageDetail" not in client.call("status")
    queue(client, "afterwards")
    server.mode(ack="echo")
    server.do("drop")
    drained(client)
    sent = ids(server)
    assert not [x for x in sent if x.startswith("refused")]
    order = list(dict.fromkeys(x for x in sent if x in {*taken, "afterwards"}))
    assert order == [*taken, "afterwards"]
    assert {states(daemon)[x] for x in order} == {"acked"}


def endure(server, daemon, fail, mend, text="z" * 4000):
    """Whatever it is that fails."""
    watcher, subscriber = daemon.watcher(), daemon.subscriber("MESSAGE")
    server.mode(ack="swallow")
    queue(daemon.client(), "first")
    before = fill(server, daemon, 20)
    fail()
    taken, refused = queue_until_refused(daemon.client(), text)
    watcher.status(storage_is("failed"), "it is told")
    seen = [e.raw for e in subscriber.messages(20)]
    assert_same(seen, before)
    seen += assert_goes_on(server, daemon, subscriber)
    mend()
    assert_recovers(server, daemon, watcher, ["first", *taken])
    assert refused not in ids(server)
    # What came meanwhile was kept in memory, and is in the history as it was told.
    number = seen[0]
    low = range_of(number)[0] - 1
    subscriber = subscribed(daemon, low, ["MESSAGE"])
    assert_same([e.raw for e in subscriber.messages(len(seen))], seen)
    history = [e["params"].get("seq") for e in daemon.client().call("history", after=low, limit=10000)["events"]]
    assert history == list(range(low + 1, low + 1 + len(history)))
    assert re.search(r"(?i)full|I/O|read.?only|disk", daemon.log())


def test_disk_full(server, imd_of):
    mounts_or_skip()
    daemon = on_tmpfs(imd_of(server.url(), AckTimeout="60min", **QUIET), "256k").start().connected()
    endure(server, daemon, lambda: None, lambda: remount(daemon, "size=64m"))


def test_disk_full_of_something_else(server, imd_of):
    """Space comes back because somebody else makes it; and goes again."""
    mounts_or_skip()
    daemon = on_tmpfs(imd_of(server.url(), AckTimeout="60min", **QUIET), "8m").start().connected()
    filler = f"/proc/{daemon.process.pid}/root{daemon.state_path}/filler"

    def fill_up():
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass

    watcher = daemon.watcher()
    client = daemon.client()
    server.mode(ack="swallow")
    kept = []
    for round in range(3):
        fill_up()
        number = 0
        while True:
            name = f"r{round}-{number}"
            number += 1
            reply = client.reply(put(client, "z" * 4000, name))
            if "error" in reply:
                break
            kept.append(name)
        assert reply["error"]["code"] == -74
        watcher.status(storage_is("failed"), "it is told")
        os.unlink(filler)
        client.wait_status(storage_is("ok"), "there is room again")
        watcher.status(storage_is("ok"), "it is told")
        queue(client, f"ok{round}")
        kept.append(f"ok{round}")
    server.mode(ack="echo")
    server.do("drop")
    drained(client)
    assert list(dict.fromkeys(ids(server))) == kept


@pytest.mark.parametrize("block", [1024, 4096])
def test_disk_full_and_killed(server, imd_of, block):
    """What was promised before is kept over that as well. This file system outlives the daemon."""
    mounts_or_skip()
    daemon = imd_of(server.url(), AckTimeout="60min", **QUIET)
    image = daemon.state_path + ".image"
    with open(image, "wb") as f:
        f.truncate(1 << 20)
    try:
        made = run(["mkfs.ext4", "-q", "-m0", "-b", str(block), image])
    except FileNotFoundError:
        pytest.skip("no mkfs.ext4")
    assert made[0] == 0, made[2]
    if run(["unshare", "--mount", "sh", "-c", f"mount -o loop {image} /mnt"])[0] != 0:
        pytest.skip("no loop devices to be had here")
    mounting(daemon, 'mount -o loop "$0.image" "$0"').start().connected()
    server.mode(ack="swallow")
    taken, _ = queue_until_refused(daemon.client(), "z" * 4000)
    assert taken
    daemon.crash()
    server.mode(ack="echo")
    server.received(clear=True)
    daemon.start().connected()
    drained(daemon.client())
    assert list(dict.fromkeys(ids(server))) == taken


FAILING_SYNC = r"""
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static int sync_or_fail(long number, int fd)
{
    if (access(getenv("SYNC_FAILS"), F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(number, fd);
}
int fsync(int fd) { return sync_or_fail(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_or_fail(SYS_fdatasync, fd); }
"""


@pytest.fixture
def failing_sync(folder):
    """The environment in which fsync fails while the file SYNC_FAILS is there."""
    if is_instrumented():
        pytest.skip("what is preloaded must come before a sanitizer's own")
    return {"LD_PRELOAD": preload(folder, "sync", FAILING_SYNC), "SYNC_FAILS": os.path.join(folder, "sync-fails")}


def test_failing_fsync(server, imd_of, failing_sync):
    daemon = imd_of(server.url(), env=failing_sync, AckTimeout="60min", **QUIET).start().connected()
    switch = failing_sync["SYNC_FAILS"]
    endure(server, daemon, lambda: open(switch, "w").close(), lambda: os.unlink(switch))


def test_what_was_refused_is_in_no_list(server, imd_of, failing_sync):
    """A commit that failed may be in the file all the same, and be found there when it is opened again."""
    daemon = imd_of(server.url(), env=failing_sync, AckTimeout="60min", **QUIET).start().connected()
    switch = failing_sync["SYNC_FAILS"]
    client = daemon.client()
    server.mode(ack="swallow")
    queue(client, "first")
    server.wait_frames(1)
    open(switch, "w").close()
    for n in range(3):
        assert client.refusal(put(client, "x", f"refused{n}")).code == -74
        assert list(states(daemon)) == ["first"]
    server.stays("frames", 1, 1.5)
    os.unlink(switch)
    client.wait_status(storage_is("ok"), "it works again")
    assert client.call("status")["queued"] == 1
    queue(client, "second", "refused1")  # as good as new
    server.wait_frames(3)
    assert ids(server) == ["first", "second", "refused1"]
    assert list(states(daemon)) == ["first", "second", "refused1"]


def test_it_is_not_well_before_it_is(server, imd_of, failing_sync):
    """That reading works, and that there is nothing to be written at the moment, says nothing."""
    daemon = imd_of(server.url(), env=failing_sync, **QUIET).start().connected()
    switch = failing_sync["SYNC_FAILS"]
    client, watcher = daemon.client(), daemon.watcher()
    open(switch, "w").close()
    assert client.refusal(put(client, "x")).code == -74
    watcher.status(storage_is("failed"), "it is told")
    end = time.monotonic() + 2.5 * SLOW  # it tries again each second
    while time.monotonic() < end:
        assert client.call("status")["storage"] == "failed"
        client.call("outbox"), client.call("history")
    watcher.nothing()
    os.unlink(switch)
    watcher.status(storage_is("ok"), "it works again")


def test_failing_fsync_and_killed(server, imd_of, failing_sync):
    """What was promised before it failed is kept; no number is given twice."""
    daemon = imd_of(server.url(), env=failing_sync, AckTimeout="60min", **QUIET).start().connected()
    switch = failing_sync["SYNC_FAILS"]
    server.mode(ack="swallow")
    client = daemon.client()
    queue(client, "a", "b")
    lines = fill(server, daemon, 20)
    first = range_of(lines[0])[0]
    open(switch, "w").close()
    assert client.refusal(put(client, "x", "refused")).code == -74
    subscriber = daemon.subscriber("MESSAGE")
    server.do("push_many", count=20)
    seen = [e.params["seq"] for e in subscriber.messages(20)]
    daemon.crash()
    os.unlink(switch)
    server.mode(ack="echo")
    daemon.start().connected()
    drained(daemon.client())
    assert {"a", "b"} <= set(ids(server))
    seq = daemon.client().call("status")["seq"]
    assert seq > seen[-1]
    got = lines_until(subscribed(daemon, 0), seq)
    assert_covered(got, 1, seq)
    assert_same([x for x in got if first <= range_of(x)[0] < first + 20], lines)


def test_read_only_from_the_start(server, imd_of):
    """It runs without its disk, and takes it into use when it can."""
    mounts_or_skip()
    daemon = on_tmpfs(imd_of(server.url(), AckTimeout="60min", **QUIET), "64m", "ro")
    daemon.start().connected()
    watcher, subscriber = daemon.watcher(), daemon.subscriber("MESSAGE")
    start = daemon.client().call("status")["seq"]
    assert start > 1_600_000_000_000
    seen = assert_goes_on(server, daemon, subscriber)
    remount(daemon, "rw")
    assert_recovers(server, daemon, watcher, [])
    got = lines_until(subscribed(daemon, start, ["MESSAGE"]), range_of(seen[-1])[1])
    assert_same(got, seen)
    lost = lines_until(subscribed(daemon, 0), range_of(seen[-1])[1])
    assert_covered(lost, 1, range_of(seen[-1])[1])


def test_read_only_with_what_is_there_already(server, imd_of):
    """What it cannot open it does not touch; once it can, it goes on with all that was there."""
    mounts_or_skip()
    daemon = imd_of(server.url(), AckTimeout="60min", **QUIET).start().connected()
    lines = fill(server, daemon, 100)
    client = daemon.client()
    unreachable(server, daemon)
    queue(client, "old")
    daemon.stop()
    server.do("start_listening")
    mounting(daemon, 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"').start().connected()
    client = daemon.client()
    start = client.call("status")["seq"]
    assert start > 100 and client.call("status")["storage"] == "failed"
    server.push_text("live")
    client.wait_status(lambda s: s["seq"] == start + 1, "it has a number far above")
    assert client.refusal(put(client, "x")).code == -74
    remount(daemon, "bind,rw")
    client.wait_status(storage_is("ok"), "it can be written")
    drained(client)
    assert "old" in ids(server)
    last = client.call("status")["seq"]
    got = lines_until(subscribed(daemon, 0), last)
    assert_covered(got, 1, last)
    assert_same(got[:100], lines)
    assert [x for x in got if b'"content":{"message":"live"}' in x]
    daemon.stop()
    daemon.launcher = []
    daemon.start().connected()
    assert_same(lines_until(subscribed(daemon, 0), last), got)


def test_the_folder_cannot_be_made(server, imd_of):
    """A file is in its place, until somebody takes it away."""
    daemon = imd_of(server.url(), **QUIET)
    with open(daemon.state_path, "w") as f:
        f.write("in the way")
    daemon.start().connected()
    client, watcher = daemon.client(), daemon.watcher()
    assert client.call("status")["storage"] == "failed"
    assert client.refusal(put(client, "x")).code == -74
    os.unlink(daemon.state_path)
    watcher.status(storage_is("ok"), "it is told")
    queue(client, "m")
    drained(client)
    assert entries(daemon)[0]["state"] == "acked"


def test_history_and_acks_are_refused_without_a_disk(server, imd_of):
    mounts_or_skip()
    daemon = on_tmpfs(imd_of(server.url(), **QUIET), "64m", "ro")
    daemon.start().connected()
    client, live = daemon.client(), daemon.subscriber("MESSAGE")
    server.push_text("x")
    live.event("MESSAGE")
    for method, params in (("history", {}), ("outbox", {}), ("outbox.cancel", {"messageId": "m"}),
                           ("subscribe", {"consumer": "c"})):
        refused = client.refused(method, params)
        assert (refused.code, refused.reason) == (-74, "storage"), (method, refused.error)
    # The connection is no consumer then, and can become one later.
    assert client.refused("ack", seq=0).reason == "conflict"
    remount(daemon, "rw")
    client.wait_status(storage_is("ok"), "it can be written")
    client.call("subscribe", events=["MESSAGE"], consumer="c")
    server.push_text("y")
    assert client.call("ack", seq=client.event("MESSAGE").params["seq"]) == {}


def test_more_than_memory_keeps_while_the_disk_fails(server, imd_of):
    """The oldest are given up, and that is told."""
    mounts_or_skip()
    daemon = on_tmpfs(imd_of(server.url(), **QUIET), "64m", "ro")
    daemon.start().connected()
    client, live = daemon.client(), daemon.subscriber("MESSAGE")
    first = client.call("status")["seq"] + 1
    for _ in range(30):
        server.do("push_many", count=1000, size=1000)
        live.messages(1000)
    remount(daemon, "rw")
    client.wait_status(storage_is("ok"), "it can be written")
    last = client.call("status")["seq"]
    assert last == first + 29999
    got = lines_until(subscribed(daemon, first - 1), last)
    assert_covered(got, first, last)
    assert b'"reason":"storage"' in got[0]
    assert b'"GAP"' not in b"".join(got[1:]) and len(got) > 1000
    stats = client.call("stats")
    assert stats["notStored"] == range_of(got[0])[1] - first + 1
