"""Limits: who is over one is told which, and everything else goes on."""

import json
import os
import resource

import pytest

from client import Client


def turned_away(daemon, limit):
    """One client more: it may be told why, and the connection ends."""
    extra = Client(daemon.socket_path)
    try:
        try:
            extra.write(extra.request_line(1, "hello"))
        except (BrokenPipeError, ConnectionResetError):
            pass
        lines = extra.wait_closed()
    finally:
        extra.close()
    assert len(lines) == 1, lines
    error = json.loads(lines[0])["error"]
    assert error["code"] == -75 and error["data"] == {"reason": "busy", "limit": limit}


@pytest.mark.parametrize("limit", ["MaxClients", "MaxClientsPerUser"])
def test_max_clients(server, imd, limit):
    daemon = imd(server.url(), **{limit: "3"})
    watcher = daemon.client()
    watcher.wait_stats(lambda s: s["clients"] == 1, "the harness' own client is gone")
    clients = [watcher, daemon.client(), daemon.client()]
    for client in clients:
        client.barrier()
    turned_away(daemon, limit)
    for client in clients:
        client.barrier()
    clients.pop().close()
    watcher.wait_stats(lambda s: s["clients"] == 2, "the place is free")
    daemon.client().barrier()
    turned_away(daemon, limit)


def test_max_pending(server, imd):
    daemon = imd(server.url(), MaxPending="5").connected()
    server.mode(ack="swallow")
    client, other = daemon.client(), daemon.client()
    numbers = [client.request("send", message={"messageId": f"m{i}", "content": {"message": i}}) for i in range(5)]
    server.wait_frames(5)
    refused = other.refused("send", message={"content": {"message": "one too many"}})
    assert refused.code == -75 and refused.data == {"reason": "busy", "limit": "MaxPending"}
    # Nothing of it was sent, and an answer makes room.
    assert len(server.received()) == 5
    server.push({"code": 0, "data": {"messageId": "m2"}})
    client.result(numbers[2])
    number = other.send("now")
    server.wait_frames(6)
    server.do("drop")
    assert other.refusal(number).reason == "unknown"


def test_many_clients(server, bridge):
    clients = [bridge.subscriber("MESSAGE") for _ in range(300)]
    server.push_text("to all")
    raw = {client.event("MESSAGE").raw for client in clients}
    assert len(raw) == 1
    for client in clients:
        client.close()
    bridge.client().wait_stats(lambda s: s["clients"] == 1, "all have left")


@pytest.mark.skipif("IMD_WRAPPER" in os.environ, reason="a wrapper may have descriptors of its own")
def test_no_file_descriptors_left(server, imd):
    """Accept fails for a while; those who are there go on, and it recovers by itself."""
    daemon = imd(server.url()).connected()
    subscriber, pid = daemon.subscriber("MESSAGE"), daemon.process.pid
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    used = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 6, hard))
    waiting = [daemon.client() for _ in range(20)]
    numbers = [client.request("hello") for client in waiting]
    server.push_text("x")
    subscriber.event("MESSAGE")
    assert subscriber.call("stats")["clients"] <= 8
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    for client, number in zip(waiting, numbers):
        client.result(number)


@pytest.mark.skipif("IMD_WRAPPER" in os.environ, reason="a wrapper may have descriptors of its own")
def test_a_place_that_becomes_free_is_taken(server, imd):
    """No file descriptors left, then some clients leave: who waits comes in."""
    daemon = imd(server.url()).connected()
    pid = daemon.process.pid
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    used = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 4, hard))
    clients = [daemon.client() for _ in range(12)]
    numbers = [client.request("hello") for client in clients]
    for client, number in zip(clients, numbers):
        client.result(number)
        client.close()
