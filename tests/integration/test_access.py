"""Who may do what, by user and group; and what one user's programs may take from those of others."""

import os
import re
import time

import pytest

from client import Client, Closed
from patience import until
from person import Person, open_to_all, others_or_skip
from process import Process, preload, run
from test_kept import HOWS, managed, wait_connected
from test_signals import reload
from test_watchdog import manager_of
from threads import stopped, thread_named
from vitals import is_instrumented

ROOT = Person(0)
READER = Person(1)            # `daemon` in Debian's /etc/passwd
WRITER = Person(1002, groups=[1002, 4])  # 4: `adm`
OPERATOR = Person(1003, gid=100)         # 100: `users`
STRANGER = Person(1004)
LISTS = {"Receive": "daemon", "Send": ["@adm", "1005"], "Control": "@users"}

# What a method needs.
NEEDS = {"hello": None, "status": None, "stats": None,
         "subscribe": "Receive", "unsubscribe": "Receive", "ack": "Receive", "history": "Receive",
         "send": "Send", "outbox": "Send", "outbox.cancel": "Send",
         "connect": "Control", "disconnect": "Control", "reconnect": "Control"}


@pytest.fixture
def others():
    others_or_skip()


@pytest.fixture
def shared(others, server, imd):
    """shared(Key=value, …) is a connected daemon whose socket anybody may open."""
    return lambda **keys: open_to_all(imd(server.url(), **keys)).connected()


def denial(right):
    return {"code": -77, "message": f"not allowed for this user: not in {right} of imd.conf",
            "data": {"reason": "denied"}}


def is_denied(client, method, **params):
    """Whether it is, in the very words; other errors are not looked at."""
    reply = client.reply(client.request(method, params or None))
    if reply.get("error", {}).get("code") != -77:
        return False
    assert reply["error"] == denial(NEEDS[method])
    return True


def rights(client):
    """All methods are tried; what they have in common must agree."""
    seen = {}
    for method, right in NEEDS.items():
        seen.setdefault(right, set()).add(not is_denied(client, method))
    assert seen.pop(None) == {True}
    assert all(len(one) == 1 for one in seen.values()), seen
    return {right for right, one in seen.items() if True in one}


def sends(client, text="x"):
    return client.result(client.send(text))


# Rights

@pytest.mark.parametrize("who, expected", [
    (ROOT, {"Receive", "Send", "Control"}),
    (READER, {"Receive"}),
    (WRITER, {"Send"}),
    (OPERATOR, {"Control"}),
    (STRANGER, set()),
    (Person(1005), {"Send"}),
    (Person(1006, gid=4), {"Send"}),
    (Person(1006, gid=4, groups=[100]), {"Send", "Control"}),
    (Person(1, gid=4, groups=[100]), {"Receive", "Send", "Control"}),
    (Person(4, gid=1), set()),
    (Person(1006, groups=range(2000, 2200)), set()),
    (Person(1006, groups=[*range(2000, 2200), 4]), {"Send"}),
    (Person(1006, groups=[*range(2000, 2063), 4]), {"Send"}),
    (Person(1006, groups=[*range(2000, 2064), 4]), {"Send"}),
], ids=["root", "user", "group", "main group", "nobody", "number", "main group 2", "two groups", "all three",
        "uid is no gid", "200 groups", "201 groups", "64 groups", "65 groups"])
def test_rights(shared, who, expected):
    assert rights(who.client(shared(**LISTS))) == expected


def test_default(shared):
    daemon = shared()
    assert rights(STRANGER.client(daemon)) == {"Receive", "Send"}
    assert rights(ROOT.client(daemon)) == {"Receive", "Send", "Control"}


def test_the_user_that_imd_runs_as(others, server, imd_of, folder):
    nobody = Person(65534)
    os.chown(folder, nobody.uid, nobody.gid)
    daemon = imd_of(server.url(), launcher=nobody.argv(), Receive="root", Send="root", Control="root")
    if run(daemon.argv()[:-6] + ["--version"])[0] != 0:
        pytest.skip("others may not run imd from this build folder")
    open_to_all(daemon.start()).connected()
    assert rights(nobody.client(daemon)) == {"Receive", "Send", "Control"}
    assert rights(STRANGER.client(daemon)) == set()


def test_who_may_not_receive_gets_nothing(shared, server):
    daemon = shared(**LISTS)
    reader, writer = READER.client(daemon), WRITER.client(daemon)
    reader.subscribe()
    assert writer.refused("subscribe").error == denial("Receive")
    server.push_text("for readers")
    assert reader.event("MESSAGE").params["data"]["content"]["message"] == "for readers"
    writer.nothing()
    sends(writer)
    writer.nothing()


def test_a_denied_notification_is_not_done(shared, server):
    client = STRANGER.client(shared(Control="root", Send="root"))
    client.notify("disconnect")
    client.notify("send", {"message": {"content": {"message": "x"}}})
    client.nothing()
    assert client.call("status")["state"] == "connected"
    assert server.messages() == []


# Reload

def reloaded(daemon, server, **keys):
    """The lines that come behind a reload that changes these."""
    before = len(daemon.log())
    reload(daemon, server.url(), **keys)
    until(lambda: "reloaded; changed" in daemon.log()[before:], "it is reloaded")
    return daemon.log()[before:]


def test_a_reload_gives_and_takes(shared, server):
    """Those who are connected need not connect anew; a subscriber that may not receive any more is sent away."""
    daemon = shared(Receive="1", Send="1 1002")
    leaver, stayer = READER.client(daemon), Person(1).client(daemon)
    consumer, newcomer = READER.client(daemon), WRITER.client(daemon)
    leaver.subscribe()
    consumer.call("subscribe", consumer="c")
    assert rights(newcomer) == {"Send"}
    server.mode(ack="swallow")
    waiting = stayer.request("send", message={"messageId": "m", "content": {"message": "x"}})
    server.wait_frames(1)
    log = reloaded(daemon, server, Receive="1002", Send="root", Control="@adm")
    assert "changed: Receive, Send, Control" in log
    assert re.search(r"client of uid 1 disconnected: it is not in Receive of imd.conf any more", daemon.log())
    for gone in (leaver, consumer):
        gone.wait_closed()
    assert rights(newcomer) == {"Receive", "Control"}
    newcomer.call("connect")
    newcomer.wait_status(lambda s: s["state"] == "connected", "the link is there again")
    assert stayer.refusal(waiting).reason == "unknown"  # its link was ended by the operator; not lost by the reload
    assert rights(stayer) == set()


def test_a_send_under_way_is_answered_behind_a_reload(shared, server):
    daemon = shared()
    server.mode(ack="swallow")
    client = WRITER.client(daemon)
    number = client.request("send", message={"messageId": "m", "content": {"message": "x"}})
    server.wait_frames(1)
    reloaded(daemon, server, Send="root")
    assert is_denied(client, "send")
    server.push({"code": 0, "data": {"messageId": "m"}})
    assert client.result(number)["data"]["messageId"] == "m"


def test_a_reload_with_an_unknown_name_changes_nothing(shared, server):
    daemon = shared(Send="1002")
    reload(daemon, server.url(), Send="root @no-such-group")
    daemon.wait_log(rf"not reloaded: {daemon.config_path}:\d+: Send: there is no group no-such-group")
    assert rights(WRITER.client(daemon)) == {"Receive", "Send"}


@pytest.mark.parametrize("how", HOWS)
def test_what_counts_behind_a_restart(others, managed, server, how):
    """Connections that are taken over are still those of the same user; the lists are those of now."""
    manager = managed(**LISTS)
    os.chmod(manager.daemon.folder, 0o755)
    os.chmod(manager.socket_path, 0o666)
    reader, writer, other = [who.connect(manager.socket_path) for who in (READER, WRITER, Person(1, gid=4))]
    for client in (reader, other):
        client.subscribe("MESSAGE")
    writer.barrier()
    manager.wait_kept(3)
    manager.end(how)
    manager.daemon.configure(server.url(), Receive="@adm", Send="1")
    manager.start()
    wait_connected(manager)
    assert reader.wait_closed() == []
    assert rights(writer) == {"Receive"}
    server.push_text("x")
    other.event("MESSAGE")
    assert rights(other) == {"Receive", "Send"}
    for client in (writer, other):
        client.close()


SLOW_NAMES = """
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int getpwnam_r(const char *name, struct passwd *entry, char *room, size_t size, struct passwd **result)
{
    *result = NULL;
    if (strcmp(name, "slow") == 0) {
        while (access(getenv("STUCK"), F_OK) == 0)
            usleep(1000);
        entry->pw_uid = 1002;
        *result = entry;
    }
    return 0;
}
"""


@pytest.fixture
def stuck(folder, server, imd_of, manager_of):
    """A daemon in a reload, whose name service does not answer while the file is there; and its service manager."""
    if is_instrumented():
        pytest.skip("what is preloaded must come before a sanitizer's own")
    file, manager = os.path.join(folder, "stuck"), manager_of()
    preloaded = {"LD_PRELOAD": preload(folder, "slow", SLOW_NAMES), "STUCK": file}
    daemon = imd_of(server.url(), env={**manager.env(), **preloaded})
    daemon.start().connected()
    manager.wait_news("READY=1")
    open(file, "w").close()
    reload(daemon, server.url(), Control="slow", PingGap="7s")
    manager.wait_news("RELOADING=1")
    return daemon, file, manager


def test_a_name_service_that_does_not_answer(stuck, server):
    """It holds nobody up; and what is asked for meanwhile is done behind it."""
    daemon, file, manager = stuck
    client = daemon.subscriber("MESSAGE")
    for text in ("one", "two"):
        sends(client, text)
        server.push_text(text)
        client.event("MESSAGE")
    assert client.call("status")["pingGapMs"] == 6000
    reload(daemon, server.url(), PingGap="8s")
    client.barrier()
    assert ["READY=1"] not in manager.news()
    os.unlink(file)
    manager.wait_news("READY=1")
    assert client.call("status")["pingGapMs"] == 8000, "both reloads are done"
    assert ["READY=1"] not in manager.news()


def test_the_end_does_not_wait_for_names(stuck):
    daemon = stuck[0]
    daemon.client().barrier()
    daemon.stop()


# Limits of a user

def burst(count, first=0, **params):
    """Requests that one read brings, so that no time passes between them."""
    return b"".join(
        b'{"jsonrpc":"2.0","id":%d,"method":"send","params":{"message":{"content":{"message":"x"}}%s}}\n'
        % (first + n, b"".join(b',"%s":%s' % (k.encode(), v) for k, v in params.items())) for n in range(count))


def taken(client, count, first=0):
    """How many of these were; the others were refused, as they must be."""
    replies = [client.reply(first + n) for n in range(count)]
    for reply in replies:
        if "error" in reply:
            assert reply["error"] == {"code": -75, "message": "this user has sent SendRate messages within a second",
                                      "data": {"reason": "busy", "limit": "SendRate"}}
    flags = ["result" in reply for reply in replies]
    assert flags == sorted(flags, reverse=True), "first come, first served"
    return sum(flags)


@pytest.mark.parametrize("params", [{}, {"queue": b"true"}], ids=["at once", "queued"])
def test_send_rate(shared, server, params):
    """A second's worth at once, whoever of the user's programs it is; others are served."""
    daemon = shared(SendRate="5")
    limits = daemon.client().call("hello")["limits"]
    assert (limits["sendRate"], limits["maxPendingPerUser"]) == (5, 1024)
    for who in (STRANGER, WRITER, ROOT):
        client = who.client(daemon)
        client.write(burst(12, **params))
        assert taken(client, 12) == 5
    server.wait_frames(15)


def test_a_refused_send_does_not_count_against_the_rate(shared, server):
    """Nor is it put off: what is wrong with it is told at once."""
    client = STRANGER.client(shared(SendRate="2"))
    bad = b'{"jsonrpc":"2.0","id":"bad","method":"send","params":{"message":{"conversationType":1}}}\n'
    client.write(bad * 5 + burst(3))
    for _ in range(5):
        assert client.refusal("bad").reason == "invalid_params"
    assert taken(client, 3) == 2


def test_new_connections_are_no_way_round_the_rate(shared, server):
    daemon = shared(SendRate="1")
    begin = time.monotonic()
    for _ in range(20):
        client = STRANGER.client(daemon)
        client.write(burst(1))
        taken(client, 1)
        client.close()
    assert len(server.messages()) <= 1 + (time.monotonic() - begin)


def test_the_rate_is_there_again(shared):
    client = STRANGER.client(shared(SendRate="2"))
    client.write(burst(2))
    assert taken(client, 2) == 2
    first = iter(range(2, 1000000))

    def again():
        number = next(first)
        client.write(burst(1, number))
        return taken(client, 1, number)

    until(again, "one more is taken")


def test_send_rate_by_reload(shared, server):
    daemon = shared()
    client = STRANGER.client(daemon)
    client.write(burst(50))
    assert taken(client, 50) == 50
    reloaded(daemon, server, SendRate="3")
    client.write(burst(10, 100))
    assert taken(client, 10, 100) == 3
    reloaded(daemon, server)
    client.write(burst(50, 200))
    assert taken(client, 50, 200) == 50


def waits(client, name):
    return client.request("send", message={"messageId": name, "content": {"message": "x"}})


def test_max_pending_per_user(shared, server):
    daemon = shared(MaxPendingPerUser="3", MaxPending="5")
    server.mode(ack="swallow")
    first, second, other = STRANGER.client(daemon), STRANGER.client(daemon), WRITER.client(daemon)
    numbers = [waits(first, "a0"), waits(second, "a1"), waits(first, "a2")]
    server.wait_frames(3)
    for client in (first, second):
        assert client.refusal(client.send("x")).error == {
            "code": -75, "message": "too many messages of this user wait for the server's answer",
            "data": {"reason": "busy", "limit": "MaxPendingPerUser"}}
    waits(other, "b0")
    number = waits(other, "b1")
    server.wait_frames(5)
    assert other.refusal(other.send("x")).data == {"reason": "busy", "limit": "MaxPending"}
    # An answer makes room; that who asked has gone does not.
    second.close()
    daemon.client().wait_stats(lambda s: s["clients"] <= 3, "it has left")
    server.push({"code": 0, "data": {"messageId": "b1"}})
    other.result(number)
    assert first.refusal(first.send("x")).data["limit"] == "MaxPendingPerUser"
    server.push({"code": 0, "data": {"messageId": "a1"}})
    first.wait_status(lambda s: s["pending"] == 3, "the answer has come")
    waits(first, "a3")
    server.wait_frames(6)
    server.push({"code": 0, "data": {"messageId": "a0"}})
    first.result(numbers[0])
    server.do("drop")


def test_one_user_does_not_take_the_store(shared):
    """While the disk does not answer, one waits for as many requests as may be; another asks, and is not refused."""
    daemon = shared(Send="*")
    greedy, modest = WRITER.client(daemon), OPERATOR.client(daemon)
    greedy.refused("outbox", messageId="none")
    with stopped(thread_named(daemon.process.pid, "imd-store")):
        greedy.write(b"".join(Client.request_line(n, "outbox", {"messageId": "none"}) for n in range(1000)))
        daemon.client().wait_stats(lambda s: s["requests"] > 256, "the greedy one was read")
        number = modest.request("outbox", {"messageId": "none"})
        modest.call("hello")
        assert not modest.replies_waiting
    assert modest.refusal(number).reason == "not_found"


def test_max_clients_per_user(shared):
    daemon = shared(MaxClientsPerUser="3")
    mine = [STRANGER.client(daemon) for _ in range(3)]
    for client in mine:
        client.barrier()
    extra = STRANGER.client(daemon)
    lines = extra.wait_closed()
    assert len(lines) == 1 and b'"limit":"MaxClientsPerUser"' in lines[0]
    WRITER.client(daemon).barrier()
    mine[0].close()

    def again():
        client = STRANGER.client(daemon)
        try:
            return client.call("hello")
        except (Closed, BrokenPipeError, ConnectionResetError):
            return False

    until(again, "there is room for one more")


# imctl

@pytest.mark.parametrize("who, right, words", [
    (WRITER, "Receive", ["listen", "-n", "1"]),
    (WRITER, "Receive", ["listen", "--reconnect"]),
    (WRITER, "Receive", ["listen", "--consumer", "c"]),
    (WRITER, "Receive", ["history"]),
    (READER, "Send", ["send", "x"]),
    (READER, "Send", ["send", "--queue", "x"]),
    (READER, "Send", ["outbox"]),
    (READER, "Control", ["connect"]),
    (READER, "Control", ["disconnect"]),
    (READER, "Control", ["reconnect"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_imctl_exits_with_77(shared, who, right, words):
    status, out, error = who.imctl(shared(**LISTS), *words)
    assert (status, out) == (77, "")
    assert error == f"imctl: not allowed for this user: not in {right} of imd.conf\n"


def test_a_listener_that_may_not_and_then_may_again(shared, server, folder):
    """With --reconnect it says what is wrong, and is there again when it may."""
    daemon = shared(**LISTS)
    listener = Process(READER.imctl_argv(daemon, "listen", "--reconnect"), folder, "listener")
    try:
        until(lambda: daemon.client().call("status")["subscribers"] == 1, "it is subscribed")
        reloaded(daemon, server, Receive="root")
        until(lambda: "or the user not in Receive?); waiting for it" in listener.stderr(), "it says so")
        reloaded(daemon, server, Receive="1")
        until(lambda: "imd is back" in listener.stderr(), "it may again")
    finally:
        listener.kill()


def test_imctl_of_those_who_may(shared):
    daemon = shared(**LISTS)
    assert WRITER.imctl(daemon, "send", "x")[0] == 0
    assert READER.imctl(daemon, "history")[0] == 0
    assert OPERATOR.imctl(daemon, "reconnect")[0] == 0
    assert STRANGER.imctl(daemon, "status")[0] == 0
