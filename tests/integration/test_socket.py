"""The local socket: its mode, who may take its place, and sockets handed over by a service manager."""

import os
import socket
import stat
import sys

import pytest

from client import Client
from patience import PATIENCE

# A service manager in a line: the socket becomes descriptor 3, and the process stays the same.
HAND_OVER = ("import os, sys; fd = int(sys.argv[1]); os.dup2(fd, 3); fd == 3 or os.close(fd); "
             "os.environ['LISTEN_PID'] = str(os.getpid()); os.execvp(sys.argv[2], sys.argv[2:])")


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o177])
def test_mode_is_0660_whatever_the_umask(server, imd, umask):
    daemon = imd(server.url(), umask=umask)
    assert mode(daemon.socket_path) == 0o660


def test_stale_socket_is_replaced(server, imd_of):
    daemon = imd_of(server.url()).start()
    daemon.crash()
    assert os.path.exists(daemon.socket_path)
    daemon.start().connected()


def test_socket_of_a_live_daemon_is_not_replaced(server, imd_of):
    first = imd_of(server.url()).start()
    inode = os.stat(first.socket_path).st_ino
    second = imd_of(server.url())
    second.socket_path = first.socket_path
    assert first.socket_path in second.start_fails()[1]
    assert os.stat(first.socket_path).st_ino == inode
    first.client().barrier()
    first.connected()
    assert server.stats()["accepted"] == 1


def test_a_file_that_is_no_socket_is_left_alone(server, imd_of):
    daemon = imd_of(server.url())
    with open(daemon.socket_path, "w") as f:
        f.write("precious")
    assert daemon.socket_path in daemon.start_fails()[1]
    with open(daemon.socket_path) as f:
        assert f.read() == "precious"


def test_socket_is_removed_at_the_end(server, imd_of):
    daemon = imd_of(server.url()).start()
    daemon.stop()
    assert not os.path.exists(daemon.socket_path)


def test_socket_in_an_impossible_place(server, imd_of):
    daemon = imd_of(server.url())
    daemon.socket_path = os.path.join(daemon.config_path, "imd.sock")
    assert daemon.socket_path in daemon.start_fails()[1]


def handed_over(imd_of, url, listener, **keys):
    fd = listener.fileno()
    launcher = [sys.executable, "-c", HAND_OVER, str(fd)]
    daemon = imd_of(url, launcher=launcher, pass_fds=(fd,), env={"LISTEN_FDS": "1"}, **keys)
    return daemon


def test_socket_activation(server, imd_of, folder):
    """The request that was written before the daemon began is answered; socket and mode stay as they were."""
    path = os.path.join(folder, "handed.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen()
        early = Client(path)
        number = early.request("hello")
        daemon = handed_over(imd_of, server.url(), listener)
        daemon.spawn()
        early.result(number)
        daemon.socket_path, own = path, daemon.socket_path
        daemon.connected()
        assert not os.path.exists(own)
        early.close()
        daemon.stop()
        assert mode(path) == 0o600, "what was handed over is not ours to remove or change"
        # The next one serves who connected meanwhile.
        between = Client(path)
        number = between.request("hello")
        daemon.socket_path = own
        daemon.spawn()
        between.result(number, PATIENCE)
        between.close()


def test_activation_for_another_process_is_not_ours(server, imd_of):
    daemon = imd_of(server.url(), env={"LISTEN_FDS": "1", "LISTEN_PID": "1"}).start()
    assert mode(daemon.socket_path) == 0o660


def test_client_that_connects_and_says_nothing(server, bridge):
    silent = [bridge.client() for _ in range(50)]
    subscriber = bridge.subscriber()
    server.push_text("x")
    subscriber.event("MESSAGE")
    for client in silent:
        client.close()
    bridge.client().wait_stats(lambda s: s["clients"] <= 2, "they are forgotten")


def test_clients_that_vanish(server, bridge):
    """Closed with answers on the way, with half a line written, with a reset."""
    server.mode(ack="delay", delayMs=50)
    for end in (b"", b'{"jsonrpc":"2.0","id":', b'{"jsonrpc":"2.0","id":9,"method":"hello"}\n' * 1000):
        client = bridge.subscriber()
        client.send("x")
        client.write(end)
        client.close()
    server.wait_frames(3)
    bridge.client().wait_stats(lambda s: s["clients"] == 1, "they are forgotten")
