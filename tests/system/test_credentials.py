"""A token given as a credential: imd has it, and nobody else, in no place."""

import os
import signal

import pytest

from machine import unit
from patience import until

TOKEN = "tok-3f1c9a77-secret"
HEADER = f"Authorization: Bearer {TOKEN}"


def give(machine, name, text):
    os.makedirs(machine.path("/etc/credstore"), mode=0o700, exist_ok=True)
    machine.write(f"/etc/credstore/imd.{name}", text, mode=0o600)


@pytest.fixture
def account(machine):
    """Connected with the token."""
    give(machine, "work.token", HEADER + "\n")
    machine.account("work", HeaderFile="credential:token")
    machine.wait_state("work", "connected").close()
    return machine


def test_the_server_gets_it(account):
    assert TOKEN in str(account.server.headers())


def test_only_imd_can_read_it(account):
    path = f"/run/credentials/{unit('work')}/token"
    account.add_user("ann", "imd")
    assert account.run_as("imd", "cat", path)[:2] == (0, HEADER + "\n")
    for user in ("ann", "games"):
        status, out, error = account.run_as(user, "cat", path)
        assert status != 0 and TOKEN not in out and "Permission denied" in error


def test_the_account_next_to_it_does_not_get_it(account):
    account.account("home")
    account.wait_state("home", "connected").close()
    assert not os.listdir(account.path(f"/run/credentials/{unit('home')}"))


def test_it_is_not_in_the_process_nor_in_the_journal(account):
    """Also when the link is lost and made anew, and when the server says no."""
    account.client("work").call("reconnect")
    account.server.wait("accepted", min=2)
    account.wait_state("work", "connected")
    account.server.do("upgrade", answer="401")
    account.client("work").call("reconnect")
    account.wait_journal(unit("work"), "401")
    pid = account.main_pid(unit("work"))
    for name in ("cmdline", "environ"):
        with open(f"/proc/{pid}/{name}", "rb") as f:
            content = f.read()
        assert content and TOKEN.encode() not in content
    assert "account work: serving" in account.journal(unit("work"))
    assert TOKEN not in account.run("journalctl", "--no-pager", "--all", "--output=export")
    assert TOKEN not in account.systemctl("show", unit("work"))


def cores(machine):
    top = machine.path("/var/lib/imd/work")
    return [os.path.join(top, name) for name in os.listdir(top) if name.startswith("core")]


def abort(machine):
    pid = machine.main_pid(unit("work"))
    os.kill(pid, signal.SIGABRT)
    until(lambda: machine.main_pid(unit("work")) not in (0, pid), "imd is there again")


def test_there_is_no_core_to_find_it_in(account):
    with open("/proc/sys/kernel/core_pattern") as f:
        if f.read().strip() != "core":
            pytest.skip("cores do not go where the process is: kernel.core_pattern")
    # Where it could write one.
    account.drop_in(unit("work"), "[Service]\nWorkingDirectory=/var/lib/imd/work\n")
    account.systemctl("restart", unit("work"))
    account.wait_state("work", "connected").close()
    abort(account)
    assert not cores(account)


def test_without_credentials_imd_says_so(machine):
    machine.configure("work", HeaderFile="credential:token")
    status, _, _ = machine.attempt("systemctl", "start", unit("work"))
    assert status != 0
    # systemd makes the folder all the same, so it is the file that is missed.
    assert "HeaderFile: /run/credentials/imd@work.service/token cannot be read" in machine.journal(unit("work"))
    assert machine.show(unit("work"), "ExecMainStatus") == "78"
    assert machine.attempt("imd", "--account", "work", "--check-config")[0] == 0


def test_one_that_is_given_by_the_administrator_comes_before_the_stores(machine):
    give(machine, "work.token", "Authorization: Bearer of-the-store\n")
    machine.write("/etc/imd/work.token", HEADER + "\n", mode=0o600)
    machine.configure("work", HeaderFile="credential:token")
    machine.drop_in(unit("work"), "[Service]\nLoadCredential=token:/etc/imd/work.token\n")
    machine.systemctl("start", unit("work"))
    machine.wait_state("work", "connected")
    assert TOKEN in str(machine.server.headers())
