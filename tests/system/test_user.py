"""A user's own imd, under the user's own systemd."""

import json
import os

import pytest

import probe
from daemon import config_text
from machine import unit
from patience import until


def systemctl(machine, *words):
    return machine.run_in_session("ann", "systemctl", "--user", *words)


def show(machine, prop):
    return systemctl(machine, "show", "--property", prop, "--value", unit("work")).strip()


@pytest.fixture
def session(machine):
    """Ann has a login, an account and a listening socket."""
    machine.add_user("ann")
    machine.write("/home/ann/.config/imd/work.conf", config_text(machine.server.url(), {}), owner="ann")
    machine.run("chown", "--recursive", "ann:", "/home/ann")
    machine.start_user_manager("ann")
    systemctl(machine, "start", "imd@work.socket")
    return machine


def status(machine, *words):
    return machine.run_in_session("ann", "imctl", "-a", "work", "status", "--wait", "connected:10", *words)


def test_the_first_client_starts_the_daemon(session):
    assert show(session, "ActiveState") == "inactive"
    assert "connected" in status(session)
    assert show(session, "ActiveState") == "active"
    assert session.run("stat", "--format=%U", f"/proc/{show(session, 'MainPID')}").strip() == "ann"


def test_nobody_else_can_connect(session):
    """The folder of the login keeps others out, and so would the socket's folder, and so would the socket."""
    folder = f"{session.runtime['ann']}/imd"
    assert session.run("stat", "--format=%a", folder, f"{folder}/work.sock").split() == ["700", "600"]
    session.add_user("eve", "imd")
    code, _, error = session.run_as("eve", "imctl", "-s", f"{folder}/work.sock", "status")
    assert code == 69 and "permission denied" in error


def test_reload_and_restart(session):
    status(session)
    pid = show(session, "MainPID")
    systemctl(session, "reload", unit("work"))
    session.wait_journal("manager-ann.service", "reloaded; changed: nothing")
    assert show(session, "MainPID") == pid
    os.kill(session.host_pid(pid), 9)
    until(lambda: show(session, "MainPID") not in ("0", pid), "imd is there again")
    assert "connected" in status(session)


def test_history_is_in_the_users_state_folder(session):
    status(session)
    assert os.listdir(session.path("/home/ann/.local/state/imd/work"))


def test_what_the_unit_forbids(session):
    session.copy(probe.__file__, "/opt/probe.py")
    session.write(f"/home/ann/.config/systemd/user/{unit('work')}.d/test.conf",
                  "[Service]\nType=oneshot\nRestart=no\nExecStart=\nStandardOutput=truncate:/home/ann/probed\n"
                  "ExecStart=/usr/bin/python3 /opt/probe.py\n")
    systemctl(session, "daemon-reload")
    systemctl(session, "start", unit("work"))
    told = json.loads(session.read("/home/ann/probed"))
    expected = {"ptrace": "EPERM", "chown": "EPERM", "setuid bit": "EPERM", "nice": "EPERM", "personality": "EPERM",
                "memory that is code": "EPERM", "packet socket": "EAFNOSUPPORT", "core": "EFBIG", "inet socket": "ok",
                "unix socket": "ok", "netlink socket": "ok"}
    assert {what: told[what] for what in expected} == expected
