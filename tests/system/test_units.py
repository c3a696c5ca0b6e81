"""What systemd sees of imd: when it is ready, that it reloads, and accounts that do not disturb each other."""

import os
import re

from machine import unit
from patience import until
from process import run

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOWHERE = "ws://127.0.0.1:9/"  # nobody listens there: the server is down


def test_it_is_ready_when_the_socket_is_served_whatever_the_server_does(machine):
    machine.configure("work", NOWHERE)
    machine.systemctl("start", unit("work"))
    assert machine.show(unit("work"), "ActiveState") == "active"
    client = machine.client("work")
    assert client.call("status")["state"] != "connected"


def test_it_is_not_ready_before_the_socket_is_served(machine):
    """The same unit without the daemon in it: it is never ready, so ready is what imd says."""
    machine.configure("work", NOWHERE)
    machine.drop_in(unit("work"), "[Service]\nExecStart=\nExecStart=/bin/sleep 100\nTimeoutStartSec=1\nRestart=no\n")
    assert machine.attempt("systemctl", "start", unit("work"))[0] != 0
    assert machine.show(unit("work"), "Result") == "timeout"


def test_a_reload_takes_the_new_configuration(machine):
    machine.account("work", UserId="allen")
    client = machine.wait_state("work", "connected")
    other = machine.im_server()
    pid = machine.main_pid(unit("work"))
    machine.configure("work", other.url(), UserId="allen")
    machine.systemctl("reload", unit("work"))
    other.wait("connections", min=1)
    client.call("hello")
    assert machine.main_pid(unit("work")) == pid
    until(lambda: machine.show(unit("work"), "ActiveState") == "active", "it is active again")
    machine.wait_journal(unit("work"), "reloaded; changed: Url")


def test_systemd_is_told_that_it_reloads_and_when_it_has(machine):
    machine.account("work")
    machine.wait_state("work", "connected")
    # The log of systemd itself: what came over the notification socket.
    machine.systemctl("log-target", "journal")
    machine.systemctl("log-level", "debug")
    machine.systemctl("reload", unit("work"))
    said = r"imd@work.service: Got notification message from PID \d+ \(RELOADING=1"
    until(lambda: re.search(said, machine.journal()), "RELOADING=1 has come")
    done = said + r".*\n(.*\n)*?.*Got notification message from PID \d+ \(READY=1\)"
    until(lambda: re.search(done, machine.journal()), "READY=1 has come after it")
    assert machine.show(unit("work"), "ActiveState") == "active"


def test_a_reload_of_a_bad_configuration_keeps_what_there_is(machine):
    machine.account("work")
    client = machine.wait_state("work", "connected")
    machine.write("/etc/imd/work.conf", "[Session]\nUrl = nonsense\n")
    machine.systemctl("reload", unit("work"))
    machine.wait_journal(unit("work"), r"not reloaded: /etc/imd/work.conf:2: Url")
    until(lambda: machine.show(unit("work"), "ActiveState") == "active", "it is active again")
    assert client.call("status")["state"] == "connected"


def test_a_bad_configuration_does_not_start_until_it_is_mended(machine):
    machine.configure("work", "nonsense")
    assert machine.attempt("systemctl", "start", unit("work"))[0] != 0
    assert machine.show(unit("work"), "ExecMainStatus") == "78"
    assert machine.show(unit("work"), "ActiveState") == "failed"  # and not waiting for its next try
    machine.wait_journal(unit("work"), r"/etc/imd/work.conf:2: Url")
    machine.configure("work")
    machine.systemctl("start", unit("work"))
    machine.wait_state("work", "connected")


def test_programs_do_not_wait_for_a_daemon_that_cannot_start(machine):
    """systemd tries some times for one that waits at the socket, then refuses it, until somebody has mended it."""
    machine.account("work", "nonsense")
    client = machine.client("work")
    assert client.wait_closed() == []
    until(lambda: machine.show("imd@work.socket", "ActiveState") == "failed", "the socket is given up")
    status, _, error = machine.imctl("root", "work", "status")
    assert status == 69 and "/run/imd/work.sock" in error
    machine.configure("work")
    machine.systemctl("start", unit("work"))
    machine.wait_state("work", "connected")


def test_it_is_started_again_however_often_it_fails(machine):
    machine.account("work")
    for _ in range(7):  # systemd's own limit is 5
        machine.wait_state("work", "connected").close()
        pid = machine.main_pid(unit("work"))
        os.kill(pid, 9)
        until(lambda: machine.main_pid(unit("work")) not in (0, pid), "imd is there again")
    assert machine.show("imd@work.socket", "ActiveState") == "active"


def test_two_accounts_side_by_side(machine):
    servers = [machine.im_server(), machine.im_server()]
    for name, server in zip(("work", "home"), servers):
        machine.account(name, server.url())
    clients = [machine.wait_state(name, "connected") for name in ("work", "home")]
    for client, server, text in zip(clients, servers, ("to work", "to home")):
        client.subscribe("MESSAGE")
        server.push_text(text)
        assert client.event("MESSAGE").params["data"]["content"]["message"] == text
    for name in ("work", "home"):
        assert os.listdir(machine.path(f"/var/lib/imd/{name}"))
    machine.systemctl("stop", unit("work"), "imd@work.socket")
    assert not os.path.exists(machine.path("/run/imd/work.sock"))
    assert clients[1].call("status")["state"] == "connected"
    servers[1].push_text("still")
    assert clients[1].event("MESSAGE").params["data"]["content"]["message"] == "still"


def test_enabled_units_come_with_the_machine(machine):
    """`enable` of the service takes the socket with it."""
    machine.configure("work")
    machine.systemctl("enable", "--now", unit("work"))
    machine.wait_state("work", "connected")
    assert machine.systemctl("is-enabled", unit("work"), "imd@work.socket").split() == ["enabled", "enabled"]


def test_exposure_of_the_installed_unit(installed):
    status, out, error = run(["systemd-analyze", "security", "--offline=yes", "--threshold=12", f"--root={installed}",
                              "--no-pager", unit("work")])
    assert status == 0, out + error
    assert "Overall exposure level" in out


def test_units_have_room_for_what_imd_keeps():
    """The number in the units and the one in the code are one."""
    with open(os.path.join(SOURCE, "daemon/hub/kept.h")) as f:
        kept = f.read()
    clients = int(re.search(r"#define KEPT_CLIENTS_MAX (\d+)u", kept).group(1))
    spare = int(re.search(r"#define KEPT_SPARE (\d+)", kept).group(1))
    for unit_file in ["systemd/imd@.service", "systemd/user/imd@.service"]:
        with open(os.path.join(SOURCE, unit_file)) as f:
            room = int(re.search(r"^FileDescriptorStoreMax=(\d+)$", f.read(), re.M).group(1))
        assert room >= clients + spare
