"""Three users of one account, with lists; and a user whose rights are taken by a reload."""

from machine import unit


def test_three_users(machine):
    machine.run("groupadd", "operators")
    machine.add_user("ann", "imd", "operators")  # may do everything
    machine.add_user("bob", "imd")               # may send and receive
    machine.add_user("cid", "imd")               # may receive
    machine.account("work", Send="bob @operators", Control="@operators")
    machine.wait_state("work", "connected").close()
    for user, may_send, may_control in [("ann", True, True), ("bob", True, False), ("cid", False, False), ("root", True, True)]:
        assert machine.imctl(user, "work", "status")[0] == 0
        assert machine.imctl(user, "work", "history")[0] == 0
        status, _, error = machine.imctl(user, "work", "send", f"from {user}")
        assert status == (0 if may_send else 77), error
        status, _, error = machine.imctl(user, "work", "reconnect")
        assert status == (0 if may_control else 77), error
        machine.wait_state("work", "connected").close()
    assert [m["content"]["message"] for m in machine.server.messages()] == ["from ann", "from bob", "from root"]


def test_a_reload_takes_a_right(machine):
    machine.add_user("bob", "imd")
    machine.account("work")
    machine.wait_state("work", "connected").close()
    assert machine.imctl("bob", "work", "send", "one")[0] == 0
    machine.configure("work", Send="root")
    machine.systemctl("reload", unit("work"))
    status, _, error = machine.imctl("bob", "work", "send", "two")
    assert status == 77 and "not in Send of imd.conf" in error


def test_a_denial_is_in_the_journal_with_the_user(machine):
    machine.add_user("cid", "imd")
    machine.account("work", Control="root")
    assert machine.imctl("cid", "work", "disconnect")[0] == 77
    uid = machine.run("id", "--user", "cid").strip()
    denials = [entry for entry in machine.journal_fields(unit("work")) if entry.get("IM_CLIENT_UID") == uid]
    assert [entry["MESSAGE"] for entry in denials] == [f"uid {uid} was denied what it asked: it is not in Control"], denials
    assert denials[0]["IM_REASON"] == "denied"
