"""What the unit forbids is forbidden; TLS, name lookup, history and attachments work with it."""

import hashlib
import json
import os

import pytest

import probe
from machine import unit
from nameserver import NameServer

NAME = "im.example.test"
ALLOWED = {"write own state", "write /tmp", "unix socket", "inet socket", "netlink socket", "unicast"}
# The user imd could do these without the unit, or would be told something else.
FORBIDDEN = {
    "write another account's state": "EROFS", "write /etc": "EROFS", "write /etc/imd": "EROFS", "write /usr": "EROFS",
    "write /run/imd": "EACCES", "see a user's home": "EACCES", "see process 1": "ENOENT", "see /proc/sys": "ENOENT",
    "mount": "EPERM", "ptrace": "EPERM", "nice": "EPERM", "chown": "EPERM", "setuid bit": "EPERM",
    "personality": "EPERM", "memory that is code": "EPERM", "namespace": "EPERM", "core": "EFBIG", "packet socket": "EAFNOSUPPORT",
    "vsock socket": "EAFNOSUPPORT", "multicast": "EPERM",
}
FREE = {"see a user's home", "see process 1", "see /proc/sys", "ptrace", "nice", "chown", "setuid bit", "personality",
        "memory that is code", "core", "write another account's state"}


@pytest.fixture
def probed(machine):
    """Two accounts have run; then the probe runs as the user imd, by itself and in the unit: what each was told."""
    machine.add_user("ann")
    for name in ("work", "home"):
        machine.configure(name)
        machine.systemctl("start", unit(name))
    machine.systemctl("stop", unit("work"))
    machine.copy(probe.__file__, "/opt/probe.py")
    free = machine.run(*machine.as_user("imd", "/usr/bin/python3", "/opt/probe.py"))
    machine.drop_in(unit("work"), "[Service]\nType=oneshot\nRestart=no\nExecStart=\n"
                                  "ExecStart=/usr/bin/python3 /opt/probe.py\n")
    machine.systemctl("start", unit("work"))
    boxed = [line for line in machine.journal(unit("work")).splitlines() if line.startswith("{")]
    assert len(boxed) == 1
    return machine, json.loads(free), json.loads(boxed[0])


def filters_packets(machine):
    with open(f"{machine.name}/console.log", errors="replace") as f:
        return "does not support BPF/cgroup firewalling" not in f.read() + machine.journal()


def test_what_is_forbidden_fails_and_what_is_needed_works(probed):
    machine, free, boxed = probed
    assert set(probe.ATTEMPTS) == ALLOWED | set(FORBIDDEN)
    assert {what: "ok" for what in ALLOWED} == {what: boxed[what] for what in ALLOWED}
    expected = dict(FORBIDDEN)
    if not filters_packets(machine):
        del expected["multicast"]
    assert expected == {what: boxed[what] for what in expected}
    # It is the unit that forbids: without it the same user may.
    assert {what: "ok" for what in FREE} == {what: free[what] for what in FREE}


@pytest.fixture
def names(machine):
    """A name server in the machine, the only one that programs there ask."""
    server = machine.inside_network(lambda: NameServer(machine.folder))
    server.silent, server.addresses = False, ["127.0.0.1"]
    for path in server.files:
        with open(path) as f:
            machine.write(f"/etc/{os.path.basename(path)}", f.read())
    yield server
    server.stop()


@pytest.fixture
def sandboxed(machine, names, certs):
    """An account whose server is known by name, speaks TLS, and asks for a certificate; the keys are credentials."""
    ca, (cert, key) = certs.ca(), certs.client()
    server = machine.im_server(tls=certs.leaf("im", f"DNS:{NAME}"), client_ca=ca)
    for name, path in (("ca", ca), ("cert", cert), ("key", key)):
        with open(path) as f:
            machine.write(f"/etc/credstore/imd.work.{name}", f.read(), mode=0o600)
    machine.add_user("ann", "imd")
    machine.account("work", server.url(host=NAME), CaFile="credential:ca", CertFile="credential:cert",
                    KeyFile="credential:key")
    return machine


def test_tls_and_name_lookup(sandboxed, names):
    client = sandboxed.wait_state("work", "connected")
    assert names.queries > 0
    client.result(client.send("over TLS"))
    assert sandboxed.server.messages(type="TxtMsg")[0]["content"]["message"] == "over TLS"


def test_the_history_is_kept_over_a_restart(sandboxed):
    client = sandboxed.wait_state("work", "connected")
    client.subscribe("MESSAGE")
    sandboxed.server.push_text("keep me")
    client.event("MESSAGE")
    sandboxed.systemctl("restart", unit("work"))
    status, out, error = sandboxed.imctl("ann", "work", "history", "-n", "1")
    assert status == 0 and "keep me" in out, out + error


def test_attachments_are_the_groups_and_nobody_elses(sandboxed):
    client = sandboxed.wait_state("work", "connected")
    client.subscribe("MESSAGE")
    data = os.urandom(200_000)
    sandboxed.server.push({"code": 0, "data": {"messageType": "FileMsg", "content": {"message": [data]}}})
    told = client.event("MESSAGE").params["data"]["content"]["message"][0]
    path = f"/var/lib/imd/work/attachments/{hashlib.sha256(data).hexdigest()}"
    assert told["$file"] == path
    assert sandboxed.run_as("ann", "cmp", path, sandboxed_copy(sandboxed, data))[0] == 0
    sandboxed.add_user("eve")
    assert sandboxed.run_as("eve", "cat", path)[0] != 0


def sandboxed_copy(machine, data):
    with open(machine.path("/tmp/expected"), "wb") as f:
        f.write(data)
    return "/tmp/expected"


def test_a_file_is_sent_that_imd_itself_could_not_open(sandboxed):
    """ProtectHome= keeps imd out; the program passes it open."""
    sandboxed.write("/home/ann/note.txt", "from home", mode=0o600, owner="ann")
    sandboxed.wait_state("work", "connected")
    status, out, error = sandboxed.imctl("ann", "work", "send", "-t", "bob", "-c", "private", "--file",
                                         "/home/ann/note.txt")
    assert status == 0, out + error
    assert b"from home" in b"".join(sandboxed.server.received(type="FileMsg"))


def test_queued_messages_are_sent_after_a_restart(sandboxed):
    sandboxed.server.stop()
    client = sandboxed.client("work")
    client.call("send", message={"content": {"message": "queued"}}, queue=True)
    sandboxed.systemctl("restart", unit("work"))
    sandboxed.server.start()
    sandboxed.client("work").call("reconnect")
    sandboxed.server.wait_frames(1)
    assert sandboxed.server.messages(type="TxtMsg")[0]["content"]["message"] == "queued"
