"""The socket unit alone: the first program that connects starts the daemon."""

from machine import unit


def test_the_first_client_starts_the_daemon(machine):
    machine.account("work")
    assert machine.show(unit("work"), "ActiveState") == "inactive"
    machine.add_user("ann", "imd")
    status, out, error = machine.imctl("ann", "work", "status", "--wait", "connected:10")
    assert status == 0, out + error
    assert machine.show(unit("work"), "ActiveState") == "active"
    assert machine.main_pid(unit("work"))
    assert machine.server.stats()["connections"] == 1


def test_the_socket_is_its_groups(machine):
    machine.account("work")
    machine.add_user("eve")
    status, _, error = machine.imctl("eve", "work", "status")
    assert status == 69 and "permission denied" in error
    assert machine.show(unit("work"), "ActiveState") == "inactive"


def test_a_stopped_daemon_comes_back_with_the_next_client(machine):
    machine.account("work")
    machine.client("work").call("hello")
    machine.systemctl("stop", unit("work"))
    assert not machine.main_pid(unit("work"))
    machine.client("work").call("hello")
    assert machine.main_pid(unit("work"))
