"""imctl status, stats, connect, disconnect and reconnect on a running daemon."""

import json
import os
import re

from imctl import Imctl, imctl


def test_status_tells_by_its_exit(server, imd):
    daemon = imd(server.url()).connected()
    status, lines, error = imctl(daemon, "status")
    assert (status, error) == (0, "") and lines[0].startswith("       Link: connected since ")
    assert json.loads(imctl(daemon, "status", "--json")[1][0])["state"] == "connected"
    assert imctl(daemon, "status", "-q") == (0, [], "")
    assert imctl(daemon, "status", "--quiet", "--json") == (0, [], "")
    assert imctl(daemon, "disconnect") == (0, ["disconnected"], "")
    assert imctl(daemon, "status")[0] == 69
    assert imctl(daemon, "status", "-q") == (69, [], "")


def test_quiet_says_nothing_of_a_missing_daemon_either(folder):
    path = os.path.join(folder, "none.sock")
    assert imctl(path, "status", "-q") == (69, [], "")
    status, lines, error = imctl(path, "status")
    assert (status, lines) == (69, [])
    assert error == f"imctl: cannot reach imd at {path}: no such file; is imd@default.socket running?\n"


def test_quiet_waits_too(server, imd):
    daemon = imd(server.url()).connected()
    assert imctl(daemon, "status", "-q", "--wait", "connected") == (0, [], "")
    assert imctl(daemon, "status", "-q", "--wait", "waiting:0.05") == (124, [], "")
    status, lines, error = imctl(daemon, "status", "--wait", "waiting:0.05")
    assert (status, lines, error) == (124, [], "imctl: the link is not waiting yet\n")


def test_wait_sees_the_change(server, imd, folder):
    daemon = imd(server.url()).connected()
    imctl(daemon, "disconnect")
    waiting = Imctl(daemon, folder, "status", "-q", "--wait", "connected:10")
    try:
        assert imctl(daemon, "connect")[0] == 0
        assert waiting.wait() == 0 and waiting.lines() == [] and waiting.stderr() == ""
    finally:
        waiting.stop()


def test_the_link_is_controlled(server, imd):
    daemon = imd(server.url()).connected()
    assert imctl(daemon, "disconnect") == (0, ["disconnected"], "")
    assert imctl(daemon, "send", "hi")[0] == 69
    assert json.loads(imctl(daemon, "connect", "--json")[1][0])["state"] in ("connecting", "connected")
    daemon.connected()
    assert imctl(daemon, "reconnect")[0] == 0
    daemon.connected()


# ---- Prometheus ----

# The text format of Prometheus, as far as one sample a metric goes; nothing else may stand there.
METRIC = re.compile(r'# HELP (?P<name>[a-z][a-z0-9_]*) (?P<help>[A-Z][^\n\\]*\.)\n'
                    r'# TYPE (?P=name) (?P<type>counter|gauge)\n'
                    r'(?P=name)\{account="(?P<account>[^"\\\n]*)"\} (?P<value>[0-9]+(\.[0-9]+)?)\n')


def metrics(text):
    """{name: (type, account, value)}; every byte of the text must belong to a metric."""
    found, at = {}, 0
    while at < len(text):
        match = METRIC.match(text, at)
        assert match, f"no metric: {text[at:at + 200]!r}"
        assert match["name"] not in found
        found[match["name"]] = match["type"], match["account"], float(match["value"])
        at = match.end()
    return found


def exposition(daemon):
    status, lines, error = imctl(daemon, "stats", "--prometheus")
    assert (status, error) == (0, "")
    return metrics("".join(line + "\n" for line in lines))


def test_every_counter_has_its_metric(server, imd):
    daemon = imd(server.url(), account="ops").connected()
    assert imctl(daemon, "send", "hi")[0] == 0
    found = exposition(daemon)
    stats = json.loads(imctl(daemon, "stats", "--json")[1][0])
    with open(os.path.join(os.path.dirname(__file__), "../../cli/metrics.c"), encoding="utf-8") as f:
        rows = re.findall(r'^    {"(\w+)", "imd_', f.read(), re.M)
    assert sorted(rows) == sorted(stats), "each counter of the daemon has its row in cli/metrics.c"
    assert len(found) == len(stats)
    for name, (kind, account, _) in found.items():
        assert name.startswith("imd_") and account == "ops"
        assert name.endswith("_total") == (kind == "counter"), name
    assert found["imd_acks_total"] == ("counter", "ops", 1)
    assert found["imd_clients"][2] == 1
    assert found["imd_sent_bytes_total"][2] > 100


def test_times_are_in_seconds(server, imd):
    daemon = imd(server.url()).connected()
    server.mode(ack="delay", delayMs=50)
    assert imctl(daemon, "send", "hi")[0] == 0
    micro = json.loads(imctl(daemon, "stats", "--json")[1][0])["ackMaxUs"]
    longest = exposition(daemon)["imd_ack_max_seconds"]
    assert longest[0] == "gauge" and micro >= 50000
    assert longest[2] == micro / 1e6


def test_stats_refuse_what_does_not_go_together(bridge):
    status, lines, error = imctl(bridge, "stats", "--prometheus", "--json")
    assert (status, lines) == (64, []) and "--prometheus" in error
    assert imctl(bridge, "stats", "more")[0] == 64
