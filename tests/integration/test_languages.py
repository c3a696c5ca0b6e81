"""The same program in four languages: each sends, waits for the ack, and prints what others say."""

import os
import pathlib
import re

import pytest

from patience import until
from process import Process, build_dir, run

EXAMPLES = pathlib.Path(__file__).parents[2] / "libimctl/examples"


@pytest.fixture(params=["sh", "py", "mjs", "c"])
def program(request):
    if request.param == "c":
        return os.path.join(build_dir(), "libimctl/examples/send_and_listen")
    return str(EXAMPLES / f"send_and_listen.{request.param}")


@pytest.fixture
def started(folder):
    """started(argv, socket) runs it: the process, and what it has written so far."""
    running = []

    def start(argv, socket_path):
        out = open(os.path.join(folder, "out"), "w+b")
        running.append(Process(argv, folder, "example", env={"IMCTL_SOCKET": socket_path}, stdout=out))

        def written():
            out.seek(0)
            return out.read().decode()

        return running[-1], written

    yield start
    for process in running:
        process.kill()


def test_sends_and_listens(server, bridge, started, program):
    process, written = started([program, "it's \"done\" 中", "2"], bridge.socket_path)
    match = until(lambda: re.fullmatch(r"sent as (\S+)\n", written()), "the ack is printed")
    [sent] = [m for m in server.messages() if m["messageType"] == "TxtMsg"]
    assert sent["content"] == {"message": "it's \"done\" 中"}
    assert sent["messageId"] == match.group(1)
    server.push_text("one\u2028line")
    server.push_text("two", **{"from": "bob"})
    assert process.wait() == 0, process.stderr()
    assert written().splitlines(keepends=False)[0] == f"sent as {sent['messageId']}"
    assert written().endswith("\nann: one\u2028line\nbob: two\n")
    assert process.stderr() == ""


def test_refused(server, bridge, program):
    server.mode(ack="reject", code=5, errMsg="no")
    status, out, error = run([program, "x", "1"], env={"IMCTL_SOCKET": bridge.socket_path})
    assert (status, out) == (76, "")
    assert "rejected" in error


def test_no_daemon(folder, program):
    status, out, error = run([program, "x", "1"], env={"IMCTL_SOCKET": os.path.join(folder, "none.sock")})
    assert (status, out) == (69, "")
    assert error


def test_the_daemon_ends(server, bridge, started, program):
    process, written = started([program, "x", "1"], bridge.socket_path)
    until(lambda: written().startswith("sent as "), "the ack is printed")
    bridge.stop()
    assert process.wait() == 69
    assert process.stderr()
