"""wss: certificates and names are checked, always, and what is wrong is told in words."""

import signal

import pytest


def start(im_server, imd, certs, leaf, host="localhost", listen="127.0.0.1", **keys):
    server = im_server(tls=leaf, listen=listen)
    return server, imd(server.url(host=host), **{"CaFile": certs.ca(), **keys})


def fails(server, daemon, *words):
    """It is refused again and again, with reason `tls`, and the server never saw a request."""
    status = daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 3, "three attempts")
    assert status["lastError"]["reason"] == "tls"
    detail = status["lastError"]["detail"].lower()
    assert any(word in detail for word in words), detail
    assert server.stats()["upgrades"] == 0
    assert status["state"] != "connected"


def test_good_certificate(im_server, imd, certs):
    server, daemon = start(im_server, imd, certs, certs.good())
    daemon.connected()
    client = daemon.client()
    client.result(client.send("over TLS"))
    assert server.messages()[0]["content"]["message"] == "over TLS"
    # A large one, both ways.
    subscriber = daemon.subscriber()
    server.do("push_big", size=3 << 20, fragments=5)
    assert len(subscriber.event("MESSAGE").params["data"]["content"]["message"]) == 3 << 20
    text = "y" * 900_000
    client.result(client.send(text))
    assert server.messages(type="TxtMsg")[1]["content"]["message"] == text


# Row: TLS with wrong name
def test_wrong_name(im_server, imd, certs):
    fails(*start(im_server, imd, certs, certs.wrong_name()), "name", "host")


# Row: unknown CA
def test_unknown_ca(im_server, imd, certs):
    fails(*start(im_server, imd, certs, certs.unknown_ca()), "issuer", "self-signed", "unable to", "unknown")


def test_unknown_ca_without_a_configured_one(im_server, imd, certs):
    fails(*start(im_server, imd, certs, certs.good(), CaFile=None), "issuer", "self-signed", "unable to")


# Row: expired certificate
def test_expired(im_server, imd, certs):
    fails(*start(im_server, imd, certs, certs.expired()), "expired")


# Row: IPv6 literal
@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_ipv6_literal(im_server, imd, certs, tls):
    server = im_server(listen="::1", tls=certs.addresses() if tls else None)
    daemon = imd(server.url(), CaFile=certs.ca())
    assert f"[::1]:{server.port}" in server.url()
    daemon.connected()
    assert server.headers()["host"] == f"[::1]:{server.port}"


def test_ipv6_literal_that_the_certificate_does_not_name(im_server, imd, certs):
    fails(*start(im_server, imd, certs, certs.good(), host=None, listen="::1"), "name", "host", "address", "ip")


def test_ipv4_literal(im_server, imd, certs):
    _, daemon = start(im_server, imd, certs, certs.addresses(), host=None)
    daemon.connected()


def test_ipv4_literal_that_the_certificate_does_not_name(im_server, imd, certs):
    fails(*start(im_server, imd, certs, certs.good(), host=None), "name", "host", "address", "ip")


def test_certificate_of_an_address_is_none_for_a_name(im_server, imd, certs):
    fails(*start(im_server, imd, certs, certs.addresses()), "name", "host")


def test_it_recovers_when_the_certificate_is_renewed(im_server, imd, certs):
    server, daemon = start(im_server, imd, certs, certs.expired())
    daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 2, "two attempts")
    server.stop()
    server.tls = certs.good()
    server.start()
    daemon.connected()


def test_client_certificate(im_server, imd, certs):
    cert, key = certs.client()
    server = im_server(tls=certs.good(), client_ca=certs.ca())
    url = server.url(host="localhost")
    imd(url, CaFile=certs.ca(), CertFile=cert, KeyFile=key).connected()


def test_client_certificate_missing(im_server, imd, certs):
    server = im_server(tls=certs.good(), client_ca=certs.ca())
    daemon = imd(server.url(host="localhost"), CaFile=certs.ca())
    daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 2, "two attempts")
    assert server.stats()["accepted"] == 0


def test_from_ws_to_wss_by_reload(im_server, imd, certs):
    plain, secure = im_server(), im_server(tls=certs.good())
    daemon = imd(plain.url(), CaFile=certs.ca()).connected()
    for server, url in ((secure, secure.url(host="localhost")), (plain, plain.url())) * 2:
        accepted = server.stats()["accepted"]
        daemon.configure(url, CaFile=certs.ca())
        daemon.process.signal(signal.SIGHUP)
        client = daemon.client()
        server.wait("accepted", min=accepted + 1)
        client.wait_status(lambda s: s["url"] == url and s["state"] == "connected", "to the other one")
        client.result(client.send("over this one"))
        assert server.messages(type="TxtMsg")


def test_plain_server_behind_wss(server, imd, certs):
    daemon = imd(server.url().replace("ws:", "wss:"), CaFile=certs.ca())
    status = daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 2, "two attempts")
    assert status["lastError"]["reason"] in ("tls", "closed", "protocol")
