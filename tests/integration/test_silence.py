"""A server that accepts TCP and then says nothing: the try ends by itself, and nothing else is held up by it."""

import signal

from patience import PATIENCE

GIVEN_UP = 10 + PATIENCE  # a handshake has 10 s


# Row: silent TCP that never answers the upgrade
def test_silent_upgrade(server, imd):
    server.do("upgrade", answer="silent")
    daemon = imd(server.url())
    server.wait("held", min=1)
    client = daemon.client()
    client.subscribe("STATUS")
    assert client.call("status")["state"] == "connecting"
    assert client.refused("send", message={"content": {"message": "x"}}).reason == "not_connected"
    lost = client.status("waiting", "the try is given up", GIVEN_UP)
    assert lost["reason"] == "timeout"
    assert client.call("status")["lastError"]["reason"] == "timeout"
    server.wait("tcp", min=2)
    # In the middle of the next silent try: a new one on request, which succeeds.
    server.do("upgrade", answer="ok")
    client.call("reconnect")
    daemon.connected()


def test_disconnect_during_the_silence(server, imd):
    server.do("upgrade", answer="silent")
    daemon = imd(server.url())
    server.wait("held", min=1)
    client = daemon.client()
    assert client.call("disconnect") == {"state": "disconnected"}
    server.wait("held", max=0)
    server.do("upgrade", answer="ok")
    client.call("connect")
    daemon.connected()


def test_sigterm_during_the_silence(server, imd):
    server.do("upgrade", answer="silent")
    daemon = imd(server.url())
    server.wait("held", min=1)
    daemon.process.signal(signal.SIGTERM)
    assert daemon.process.wait() == 0


def test_silent_tls(im_server, imd, certs):
    server = im_server(tls=certs.good())
    server.do("upgrade", answer="silent")
    daemon = imd(server.url(host="localhost"), CaFile=certs.ca())
    server.wait("held", min=1)
    client = daemon.client()
    client.subscribe("STATUS")
    assert client.status("waiting", "the try is given up", GIVEN_UP)["reason"] == "timeout"
    server.do("upgrade", answer="ok")
    client.call("reconnect")
    daemon.connected()
