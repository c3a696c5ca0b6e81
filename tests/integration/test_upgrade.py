"""The upgrade request: what is sent in it, and answers other than 101."""

import os
import socket

import pytest


def attempts(daemon, count):
    return daemon.client().wait_status(lambda s: s.get("attempt", 0) >= count, f"{count} attempts")


@pytest.mark.parametrize("answer", ["401", "403"])
def test_unauthorized_is_retried_at_the_cap(server, imd, answer):
    server.do("upgrade", answer=answer)
    daemon = imd(server.url(), ReconnectMin="10ms", ReconnectMax="800ms")
    client = daemon.client()
    client.subscribe("STATUS")
    refused = client.status(lambda s: s["state"] == "waiting", "refused")
    assert refused["reason"] == "unauthorized"
    assert refused["nextRetryMs"] >= 300  # from half the cap to the cap, though it is the first failure
    status = client.call("status")
    assert status["lastError"]["reason"] == "unauthorized" and answer in status["lastError"]["detail"]
    again = client.status(lambda s: s["state"] == "waiting" and s["attempt"] > refused["attempt"], "refused again")
    assert again["reason"] == "unauthorized" and 300 <= again["nextRetryMs"] <= 800
    server.do("upgrade", answer="ok")
    daemon.connected()


@pytest.mark.parametrize("answer", ["302", "307"])
def test_redirects_are_not_followed(server, imd, answer):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        server.do("upgrade", answer=answer, location=f"ws://127.0.0.1:{trap.getsockname()[1]}/im")
        daemon = imd(server.url())
        status = attempts(daemon, 3)
        assert status["lastError"]["reason"] == "upgrade" and answer in status["lastError"]["detail"]
        trap.setblocking(False)
        with pytest.raises(BlockingIOError):
            trap.accept()
    server.do("upgrade", answer="ok")
    daemon.connected()


@pytest.mark.parametrize("answer", ["200", "400", "404", "429", "500", "503", "garbage", "badaccept"])
def test_any_other_answer_is_tried_again(server, imd, answer):
    server.do("upgrade", answer=answer)
    daemon = imd(server.url())
    status = attempts(daemon, 2)
    assert status["lastError"]["reason"] in (("protocol", "upgrade", "closed") if answer in ("garbage", "badaccept")
                                             else ("upgrade",))
    if answer.isdigit():
        assert answer in status["lastError"]["detail"]
    server.do("upgrade", answer="ok")
    daemon.connected()


def test_request(server, imd):
    daemon = imd(server.url("/im/v1?user=1&token=s3cret"), Header=["X-Token: abc", "X-Empty-Not: 1, 2"]).connected()
    seen = server.do("headers")
    assert seen["uri"] == "/im/v1?user=1&token=s3cret"
    headers = seen["headers"]
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["x-token"] == "abc" and headers["x-empty-not"] == "1, 2"
    assert "sec-websocket-extensions" not in headers
    # Credentials travel in queries: nobody is shown them.
    client = daemon.client()
    assert client.call("status")["url"] == server.url("/im/v1?user=***&token=***")
    assert "s3cret" not in daemon.log()


def test_header_file_is_read_anew_at_each_attempt(server, imd, folder):
    path = os.path.join(folder, "token")

    def token(text):
        with open(path, "w") as f:
            f.write(text)

    token("Authorization: Bearer one\nX-Second: 2\n")
    daemon = imd(server.url(), Header="X-First: 1", HeaderFile=path).connected()
    assert server.headers()["authorization"] == "Bearer one"
    assert server.headers()["x-second"] == "2" and server.headers()["x-first"] == "1"
    watcher = daemon.watcher()

    token("Authorization: Bearer two\n")
    server.do("drop")
    watcher.status("connected", "it comes back")
    assert server.headers()["authorization"] == "Bearer two"
    assert "x-second" not in server.headers()

    os.unlink(path)
    upgrades = server.stats()["upgrades"]
    server.do("drop")
    watcher.status(lambda s: s.get("reason") == "credentials", "the file is missed")
    attempts(daemon, 2)
    assert server.stats()["upgrades"] == upgrades, "it asked without the credentials"

    token("Authorization: Bearer three\n")
    watcher.status("connected", "it comes back")
    assert server.headers()["authorization"] == "Bearer three"
    assert "Bearer" not in daemon.log()


def test_header_file_with_a_forbidden_byte_is_not_sent(server, imd, folder):
    path = os.path.join(folder, "token")
    with open(path, "w") as f:
        f.write("Authorization: Bearer one\x01two\n")
    daemon = imd(server.url(), HeaderFile=path)
    assert attempts(daemon, 2)["lastError"]["reason"] == "credentials"
    assert server.stats()["upgrades"] == 0
