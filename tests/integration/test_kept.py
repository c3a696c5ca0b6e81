"""Connections outlive the process: whoever is connected goes on reading, however imd ends."""

import fcntl
import os
import random
import signal
import socket
import struct
import termios

import pytest

from client import Client
from keeper import Behind, Keeper, Steps
from patience import until
from threads import RECVMMSG, SENDMMSG
from throng import Asker, Traffic, judge, listeners_of, push_the_last, serve
from vitals import measures_memory

HOWS = [signal.SIGTERM, signal.SIGKILL]


@pytest.fixture
def managed(folder, imd_of, server):
    """managed(Key=value, …): a manager that has started imd, which is connected."""
    made = []

    def make(keeps=True, room=None, **keys):
        manager = Keeper(folder, imd_of(server.url(), **keys), keeps, room)
        made.append(manager)
        manager.start()
        wait_connected(manager)
        return manager

    yield make
    for manager in made:
        manager.daemon.stop()
        manager.stop()


def wait_connected(manager):
    client = manager.client()
    client.wait_status(lambda s: s["state"] == "connected", "connected")
    client.close()


def wait_seq(manager, seq):
    client = manager.client()
    client.wait_status(lambda s: s["seq"] >= seq, f"event {seq} is there")
    client.close()


def seqs(events):
    return [e.params["seq"] for e in events]


@pytest.mark.parametrize("how", HOWS)
def test_a_subscriber_goes_on(managed, server, how):
    manager = managed()
    client = manager.client()
    client.subscribe("MESSAGE")
    manager.wait_kept(1)
    server.push_text("one")
    first = client.event("MESSAGE")
    manager.restart(how)
    wait_connected(manager)
    server.push_text("two")
    second = client.event("MESSAGE")
    assert second.params["seq"] == first.params["seq"] + 1
    assert client.call("hello")
    client.close()
    manager.wait_kept(0)


def test_killed_when_the_kernel_has_taken_an_event(managed, server):
    """How much of it only the kernel knows then."""
    manager = managed()
    client = manager.client()
    client.call("subscribe", {"events": ["MESSAGE"]})
    manager.wait_kept(1)
    for length in (10, 3_000_000):  # all of it, and a part
        manager.restart(Behind(SENDMMSG, lambda: server.push_text("x" * length)))
        wait_connected(manager)
        event = client.event("MESSAGE")
        assert len(event.params["data"]["content"]["message"]) == length
        client.nothing()


def test_killed_when_the_kernel_has_taken_a_reply(managed):
    manager = managed()
    client = manager.client()
    client.call("hello")
    manager.wait_kept(1)
    manager.restart(Behind(SENDMMSG, lambda: client.write(Client.request_line(77, "hello"))))
    assert client.result(77)
    client.nothing()


def test_killed_when_the_kernel_has_given_a_request(managed, server):
    """It is neither forgotten nor done twice."""
    manager = managed()
    client = manager.client()
    client.call("hello")
    manager.wait_kept(1)
    request = Client.request_line(77, "send", {"message": {"content": {"message": "x"}}, "queue": True})
    manager.restart(Behind(RECVMMSG, lambda: client.write(request + request[:30])))
    client.write(request[30:])
    assert client.result(77)["state"] == "queued"
    assert client.result(77)["state"] == "queued"
    client.nothing()
    server.wait_frames(2)
    assert len(server.messages()) == 2


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("history", ["yes", "no"])
def test_a_slow_reader_goes_on_in_the_middle_of_a_line(managed, server, how, history):
    """Lines of every length, of which its socket holds a part only."""
    manager = managed(History=history)
    client = manager.client()
    client.subscribe("MESSAGE")
    lengths = [10, 300_000, 20, 5_000_000, 30]
    for length in lengths:
        server.push_text("x" * length)
    wait_seq(manager, len(lengths))
    manager.restart(how)
    events = client.messages(len(lengths))
    assert [len(e.params["data"]["content"]["message"]) for e in events] == lengths
    assert seqs(events) == list(range(events[0].params["seq"], events[0].params["seq"] + len(lengths)))


@pytest.mark.parametrize("how", HOWS)
def test_a_consumer_stays_what_it_is(managed, server, how):
    manager = managed()
    client = manager.client()
    client.call("subscribe", {"events": ["MESSAGE"], "consumer": "deploy", "filter": {"from": ["ann"]}})
    server.push_text("one")
    server.push_text("not for it", **{"from": "bob"})
    first = client.event("MESSAGE")
    manager.restart(how)
    wait_connected(manager)
    other = manager.client()
    assert other.refused("subscribe", {"consumer": "deploy"}).reason == "conflict"
    client.call("ack", {"seq": first.params["seq"]})
    server.push_text("not for it either", **{"from": "bob"})
    server.push_text("two")
    assert client.event("MESSAGE").params["data"]["content"]["message"] == "two"
    client.close()
    until(lambda: other.call("stats")["subscribers"] == 0, "it has gone")
    again = other.call("subscribe", {"consumer": "deploy"})
    assert again["seq"] == first.params["seq"]


@pytest.mark.parametrize("how", HOWS)
def test_an_unfinished_line_is_finished_later(managed, how):
    manager = managed()
    client = manager.client()
    client.call("hello")
    line = Client.request_line(77, "status", None)
    client.write(line[:20])
    manager.wait_kept(1)
    wait_read(client)
    manager.restart(how)
    client.write(line[20:])
    assert client.result(77)["state"]


def unread(sock):
    """What was written to it and not read at the other end."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0]


def wait_read(client):
    until(lambda: unread(client.sock) == 0, "imd has read what the client wrote")


@pytest.mark.parametrize("how", HOWS)
def test_who_waits_for_the_server_is_told_unknown(managed, server, how):
    manager = managed(AckTimeout="300ms" if how == signal.SIGTERM else "1h")
    server.mode(ack="swallow")
    client = manager.client()
    numbers = [client.send(f"{n}", messageId=f"id-{n}") for n in range(3)]
    server.wait_frames(3)
    manager.wait_kept(1)
    manager.restart(how)
    for n, number in enumerate(numbers):
        error = client.refusal(number)
        assert error.reason == "unknown" and error.data["messageId"] == f"id-{n}"
    wait_connected(manager)
    server.mode(ack="echo")
    assert client.result(client.send("again"))["code"] == 0


def test_what_was_asked_meanwhile_is_done_by_the_next(managed, server):
    """Also for who has not waited for it."""
    manager = managed()
    stays, goes = manager.client(), manager.client()
    manager.wait_kept(2)
    manager.end(signal.SIGKILL)
    number = stays.request("hello")
    goes.notify("send", {"message": {"messageId": "left", "content": {"message": "left"}}, "queue": True})
    goes.close()
    manager.start()
    assert stays.result(number)
    server.wait_frames(1)
    assert server.messages()[0]["messageId"] == "left"
    manager.wait_kept(1)


@pytest.mark.parametrize("how", HOWS)
def test_descriptors_of_a_request_that_was_not_begun_are_missed(managed, server, how, folder):
    """Files that were passed are gone with the process; the request is not done without them."""
    manager = managed(AckTimeout="1h")
    client = manager.client()
    path = os.path.join(folder, "file")
    with open(path, "wb") as f:
        f.write(b"bytes")
    with open(path, "rb") as f:
        line = Client.request_line(5, "send", {"message": {"content": {"message": {"$fd": 0}}}})
        client.write_with(line[:-1], [f.fileno()])
    manager.wait_kept(1)
    wait_read(client)
    manager.restart(how)
    wait_connected(manager)
    client.write(b"\n")
    error = client.refusal(5)
    assert error.reason == "busy" and error.data["limit"] == "file descriptors"


def test_a_smaller_ring_takes_over_what_it_can(managed, server):
    manager = managed(RingSize="1M")
    client = manager.client()
    client.subscribe("MESSAGE")
    for _ in range(30):
        server.push_text("x" * 30_000)
    wait_seq(manager, 30)
    manager.daemon.configure(server.url(), RingSize="64K")
    manager.restart(signal.SIGKILL)
    events = client.messages(30)
    assert seqs(events) == list(range(events[0].params["seq"], events[0].params["seq"] + 30))


def test_without_a_manager_that_keeps_a_restart_closes(managed, server):
    manager = managed(keeps=False)
    client = manager.client()
    client.subscribe("MESSAGE")
    manager.restart()
    client.wait_closed()
    assert manager.client().call("hello")


def left_behind(managed):
    """A manager of imd that was killed, a client of that one, and the memory that it left: its name and descriptor."""
    manager = managed()
    client = manager.client()
    client.call("hello")
    manager.wait_kept(1)
    manager.end(signal.SIGKILL)
    [memory] = [name for name in manager.names if name.startswith("imd-memory-")]
    return manager, client, memory, manager.kept[memory][0]


@pytest.mark.parametrize("content", [b"", b"imdarena" + b"\xff" * 5000, random.Random(1).randbytes(100_000)],
                         ids=["empty", "headed", "random"])
def test_memory_that_is_none_costs_connections_only(managed, content):
    manager, client, memory, fd = left_behind(managed)
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)
    manager.start()
    client.wait_closed()
    assert manager.client().call("hello")
    until(lambda: memory not in manager.names and manager.connections() == [], "they are not kept any longer")


def test_memory_that_ends_processes_is_given_up(managed):
    """What the memory holds may be what a process dies of: it is not tried for ever."""
    manager, client, _, fd = left_behind(managed)
    opened = 12  # where the arena's head counts this
    for tries in range(3):
        assert os.pread(fd, 4, opened) == tries.to_bytes(4, "little")
        os.pwrite(fd, (tries + 1).to_bytes(4, "little"), opened)
    manager.start()
    client.wait_closed()
    assert "connections are not taken over" in manager.daemon.log()


def test_a_full_manager_costs_those_who_came_last(managed, server):
    """Room for the memory comes first, at each restart."""
    manager = managed(room=8)
    clients = [manager.client() for _ in range(6)]
    for client in clients:
        client.call("subscribe", {"events": ["MESSAGE"]})
    manager.wait_kept(4)
    for _ in range(3):
        manager.restart()
        wait_connected(manager)
        server.push_text("x")
        assert len({client.event("MESSAGE").params["seq"] for client in clients[:4]}) == 1
    for client in clients[4:]:
        client.wait_closed()


def test_starts_that_fail_cost_nothing(managed, server, imd_of):
    """Somebody else has the state folder for a while."""
    manager = managed()
    client = manager.client()
    client.call("subscribe", {"events": ["MESSAGE"]})
    manager.wait_kept(1)
    manager.end(signal.SIGKILL)
    other = imd_of(server.url())
    other.state_path = manager.daemon.state_path
    other.start()
    for _ in range(4):
        assert "in use by another imd" in manager.start_fails()
    other.stop()
    manager.start()
    wait_connected(manager)
    server.push_text("x")
    assert client.event("MESSAGE")


def fill(manager):
    """Others talk to it too: there is no room in its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(manager.path)
        sock.send(b"STATUS=the last that is read")
        until(lambda: ["STATUS=the last that is read"] in manager.told, "it hears no more")
        with pytest.raises(BlockingIOError):
            while True:
                sock.send(b"STATUS=other")


@pytest.mark.parametrize("history", ["yes", "no"])
def test_memory_that_is_out_of_date_is_not_used(managed, server, history):
    """The manager did not take what the second process wanted kept: whoever it told something is not told anything else."""
    manager = managed(History=history)
    client = manager.client()
    client.call("subscribe", {"events": ["MESSAGE"]})
    manager.wait_kept(1)
    server.push_text("a")
    assert client.event("MESSAGE")
    manager.end(signal.SIGKILL)
    manager.deaf()
    fill(manager)
    manager.start()
    wait_connected(manager)
    server.push_text("b" * 600_000)
    wait_seq(manager, 2)
    manager.end(signal.SIGKILL)
    manager.hear()
    until(lambda: len(manager.names) == 2, "it has heard all")
    manager.start()
    wait_connected(manager)
    server.push_text("c")
    assert not [line for line in client.wait_closed() if b'"c"' in line]
    last = manager.client()
    last.wait_status(lambda s: s["seq"] > 2, "numbers are not given twice")


@pytest.mark.parametrize("restarted", [False, True])
def test_the_line_that_it_is_in_the_middle_of_is_due_again(managed, server, restarted):
    """It subscribes anew, from before that line."""
    manager = managed()
    client = manager.client()
    client.call("subscribe", {"events": ["MESSAGE"]})
    server.push_text("first")
    first = client.event("MESSAGE").params["seq"]
    server.push_text("x" * 1_000_000)
    wait_seq(manager, first + 1)
    manager.wait_kept(1)
    number = client.request("subscribe", {"events": ["MESSAGE"], "since": first})
    wait_read(client)
    manager.client().call("hello")  # and has done it
    if restarted:
        manager.restart(signal.SIGKILL)
        wait_connected(manager)
    server.push_text("after")
    assert seqs(client.messages(3)) == [first + 1, first + 1, first + 2]
    assert client.result(number)


def test_one_id_for_two_requests(managed, server):
    manager = managed(AckTimeout="1h")
    server.mode(ack="swallow")
    client = manager.client()
    client.call("subscribe", {"events": ["MESSAGE"]})
    server.push_text("x" * 1_000_000)  # its socket is full: replies wait
    manager.wait_kept(1)
    wait_seq(manager, 1)
    client.write(Client.request_line(1, "hello"))
    client.write(Client.request_line(1, "send", {"message": {"content": {"message": "a"}}}))
    server.wait_frames(1)
    manager.restart(signal.SIGKILL)
    assert client.reply(1)["result"]["daemon"] == "imd"
    assert client.reply(1)["error"]["data"]["reason"] == "unknown"


@pytest.mark.parametrize("how", HOWS)
def test_a_line_that_is_too_long_now(managed, server, how):
    manager = managed()
    client = manager.client()
    line = Client.request_line(1, "hello")[:-2] + b" " * 200_000 + b"}\n"
    client.write(line[:150_000])
    manager.wait_kept(1)
    wait_read(client)
    manager.daemon.configure(server.url(), MaxLine="64K")
    manager.restart(how)
    client.write(line[150_000:])
    assert client.reply(None)["error"]["data"]["reason"] == "too_large"
    assert client.call("hello")


def test_changes_of_queued_messages_that_nobody_told(managed, server):
    """They have no number, so they cannot be told later: that they may be missing is."""
    manager = managed()
    client = manager.client()
    client.call("subscribe", {"events": ["OUTBOX"]})
    manager.restart(signal.SIGTERM)
    client.nothing()
    manager.restart(signal.SIGKILL)
    assert client.event("GAP").params == {"from": 0, "to": 0, "reason": "outbox"}


@pytest.mark.parametrize("how", HOWS)
def test_a_link_that_is_not_wanted_is_not_made(managed, server, how):
    manager = managed()
    client = manager.client()
    client.call("disconnect")
    client.wait_status(lambda s: s["state"] == "disconnected", "disconnected")
    manager.wait_kept(1)
    for _ in range(2):
        manager.restart(how)
        status = client.call("status")
        assert (status["state"], status["reason"]) == ("disconnected", "requested")
    server.stays("accepted", 1)
    client.call("connect")
    wait_connected(manager)
    manager.restart(how)
    wait_connected(manager)


def test_a_link_that_the_server_has_ended(managed, server):
    """It stays so over a kill, which nobody has asked for; who restarts imd asks for a link."""
    manager = managed(NoReconnectCodes="4001")
    client = manager.client()
    client.call("hello")
    manager.wait_kept(1)
    server.do("close", code=4001)
    client.wait_status(lambda s: s["state"] == "disconnected", "disconnected")
    manager.restart(signal.SIGKILL)
    status = client.call("status")
    assert (status["state"], status["reason"]) == ("disconnected", "close_code")
    server.stays("accepted", 1)
    manager.restart(signal.SIGTERM)
    wait_connected(manager)


def test_descriptors_of_another_version_are_let_go(managed):
    manager = managed()
    manager.end()
    manager.kept["imd-other-1"] = [os.open("/dev/null", os.O_RDONLY)]
    manager.start()
    until(lambda: "imd-other-1" not in manager.names, "it is not kept any longer")


@measures_memory
def test_without_room_for_memory_it_serves(managed, server):
    """What cannot be kept is no reason not to start."""
    manager = managed()
    manager.end()
    manager.limits = ["prlimit", "--as=8000000000", "--"]
    manager.start()
    wait_connected(manager)
    assert "will not outlive this process" in manager.daemon.log()


@pytest.mark.limit(120)
@pytest.mark.parametrize("seed", [int(seed) for seed in os.environ.get("IMD_TEST_SEEDS", "1 2").split()])
def test_under_load(managed, server, seed):
    """Kills and restarts at any moment: each listener has each event once, each request has one answer."""
    chance = random.Random(seed)
    manager = managed(RingSize="64K", AckTimeout="2s")
    listeners = listeners_of(manager.client, chance, 50)
    askers = [Asker(manager.client(), seed + n) for n in range(5)]
    manager.wait_kept(55)
    traffic = Traffic(server)
    try:
        for _ in range(6):
            serve(listeners, askers, chance.uniform(0.05, 0.5))
            manager.restart(chance.choice([Steps(chance.randrange(20_000)), Steps(chance.randrange(2000)), signal.SIGKILL,
                                           signal.SIGTERM]))
    finally:
        traffic.stop()
    wait_connected(manager)
    push_the_last(server)
    judge(manager.client(), listeners, askers)
