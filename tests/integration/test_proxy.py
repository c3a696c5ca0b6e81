"""An HTTP proxy: from the configuration only, never from the environment."""

BLACK_HOLE = "http://127.0.0.1:9/"
ENVIRONMENT = {name: BLACK_HOLE for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy")}


def test_the_environment_is_not_asked(server, imd):
    imd(server.url(), env=ENVIRONMENT).connected()


def test_through_a_proxy(server, imd, proxy_of):
    proxy = proxy_of(server.port, connect=True)
    daemon = imd(server.url(), Proxy=f"127.0.0.1:{proxy.port}").connected()
    assert proxy.requests[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.")
    client = daemon.client()
    client.result(client.send("through"))
    watcher = daemon.watcher()
    proxy.cut()
    watcher.status("waiting", "the loss is told")
    watcher.status("connected", "it comes back")
    assert len(proxy.requests) >= 2


def test_tls_through_a_proxy(im_server, imd, proxy_of, certs):
    server = im_server(tls=certs.good())
    proxy = proxy_of(server.port, connect=True)
    imd(server.url(host="localhost"), CaFile=certs.ca(), Proxy=f"127.0.0.1:{proxy.port}").connected()
    assert "CONNECT" in proxy.requests[0]


def test_the_proxy_refuses(server, imd, proxy_of):
    proxy = proxy_of(server.port, connect=True, connect_answer="403 Forbidden")
    daemon = imd(server.url(), Proxy=f"127.0.0.1:{proxy.port}")
    status = daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 3, "three attempts")
    assert status["lastError"]["reason"] == "proxy"
    assert server.stats()["tcp"] == 0
    proxy.connect_answer = "200 OK"
    daemon.connected()


def test_nobody_is_the_proxy(server, imd, proxy_of):
    proxy = proxy_of(server.port, connect=True)
    proxy.stop()
    daemon = imd(server.url(), Proxy=f"127.0.0.1:{proxy.port}")
    status = daemon.client().wait_status(lambda s: s.get("attempt", 0) >= 2, "two attempts")
    assert status["lastError"]["reason"] in ("proxy", "refused")
    assert server.stats()["tcp"] == 0
