"""The command line and the configuration file."""

import os

import pytest

from daemon import imd_argv
from process import run

URL = "ws://127.0.0.1:9/"


def check(folder, text, *more):
    path = os.path.join(folder, "c.conf")
    with open(path, "w", encoding="latin-1") as f:
        f.write(text)
    status, out, error = run([*imd_argv(), "--config", path, "--check-config", *more])
    return status, out, error, path


def test_good(folder):
    status, _, error, _ = check(folder, f"""# a comment
[Session]
Url = {URL}
UserId = me
PingGap = 500ms
PingTimeout=1min
ReconnectMin = 1s
ReconnectMax = 5min
ReconnectStable = 10s
DisconnectSignals = kick logout
NoReconnectCodes = 4001 4002
Header = X-One: 1
Header = X-Two: 2
Proxy = 127.0.0.1:3128
; another

[Local]
RingSize = 64K
MaxLine = 1M
MaxMessage = 64M
InlineBinary = 64K
MaxClients = 10
MaxClientsPerUser = 5
MaxPending = 100
MaxPendingPerUser = 50
SendRate = 10
StallTimeout = 60s
AckTimeout = 30s

[Access]
Receive = *
Send = root @root 1000
Send = @1000
Control = root
""")
    assert status == 0, error


# (what, text, line)
BAD = [
    ("unknown key", f"[Session]\nUrl = {URL}\nPingGapp = 6s\n", 3),
    ("unknown section", f"[Session]\nUrl = {URL}\n[Nonsense]\nPingGap = 6s\n", 3),
    ("key of the other section", f"[Session]\nUrl = {URL}\nRingSize = 8M\n", 3),
    ("no section", f"Url = {URL}\n", 1),
    ("no value", f"[Session]\nUrl = {URL}\nPingGap\n", 3),
    ("bad span", f"[Session]\nUrl = {URL}\n\nPingGap = soon\n", 4),
    ("span without unit of its own", f"[Session]\nUrl = {URL}\nPingGap = 6x\n", 3),
    ("negative span", f"[Session]\nUrl = {URL}\nPingGap = -6s\n", 3),
    ("bad size", f"[Session]\nUrl = {URL}\n[Local]\nRingSize = 8Q\n", 4),
    ("size beyond all bounds", f"[Session]\nUrl = {URL}\n[Local]\nRingSize = 99999999999999999999G\n", 4),
    ("bad count", f"[Session]\nUrl = {URL}\n[Local]\nMaxClients = many\n", 4),
    ("count of zero", f"[Session]\nUrl = {URL}\n[Local]\nMaxClients = 0\n", 4),
    ("bad code", f"[Session]\nUrl = {URL}\nNoReconnectCodes = 4001 nonsense\n", 3),
    ("unknown user", f"[Session]\nUrl = {URL}\n[Access]\nSend = root no-such-user\n", 4),
    ("unknown group", f"[Session]\nUrl = {URL}\n[Access]\n\nControl = @no-such-group\n", 5),
    ("other scheme", "[Session]\nUrl = http://127.0.0.1/\n", 2),
    ("no host", "[Session]\nUrl = ws:///x\n", 2),
    ("bad port", "[Session]\nUrl = ws://127.0.0.1:99999/\n", 2),
    ("user in the URL", "[Session]\nUrl = ws://me:secret@127.0.0.1/\n", 2),
    ("control character in the URL", "[Session]\nUrl = ws://127.0.0.1/a\x01b\n", 2),
    ("space in the URL", "[Session]\nUrl = ws://127.0.0.1/a b\n", 2),
    ("missing CA file", f"[Session]\nUrl = {URL}\nCaFile = /nonexistent/ca.pem\n", 3),
    ("CA file that is a folder", f"[Session]\nUrl = {URL}\nCaFile = /tmp\n", 3),
    ("header without a colon", f"[Session]\nUrl = {URL}\nHeader = nonsense\n", 3),
    ("bad proxy", f"[Session]\nUrl = {URL}\nProxy = :::\n", 3),
]


@pytest.mark.parametrize("text, line", [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad(folder, text, line):
    status, _, error, path = check(folder, text)
    assert status == 78, error
    first = error.splitlines()[0]
    assert first.startswith(f"imd: {path}:{line}: "), error
    assert len(first) > len(f"imd: {path}:{line}: ") + 5
    assert "secret" not in error


def test_a_daemon_does_not_start_with_a_bad_file(folder):
    path = os.path.join(folder, "c.conf")
    with open(path, "w") as f:
        f.write(f"[Session]\nUrl = {URL}\nNonsense = 1\n")
    sock = os.path.join(folder, "s")
    status, _, error = run([*imd_argv(), "--config", path, "--socket", sock, "--state", folder])
    assert status == 78 and error.startswith(f"<3>{path}:3: ")
    assert not os.path.exists(sock)


def test_url_is_required(folder):
    status, _, error, path = check(folder, "[Session]\nUserId = me\n")
    assert status == 78 and path in error and "Url" in error


def test_missing_file(folder):
    status, _, error = run([*imd_argv(), "--config", os.path.join(folder, "none"), "--check-config"])
    assert status == 78 and os.path.join(folder, "none") in error


def test_ca_file_with_nonsense_in_it(imd_of, folder):
    """Seen when it is loaded, so at the start; who reads the message must learn which file it is."""
    ca = os.path.join(folder, "ca.pem")
    with open(ca, "w") as f:
        f.write("no certificate\n")
    assert ca in imd_of("wss://127.0.0.1:9/", CaFile=ca).start_fails()[1]


def test_version_and_help():
    status, out, _ = run([*imd_argv(), "--version"])
    assert status == 0 and out.startswith("imd ")
    status, out, _ = run([*imd_argv(), "--help"])
    assert status == 0
    for option in ("--account", "--config", "--socket", "--state", "--check-config", "--version", "--help"):
        assert option in out


@pytest.mark.parametrize("arguments", [["--nonsense"], ["extra"], ["--account"], ["--account", "../x"],
                                       ["--account", ""]])
def test_bad_command_line(arguments):
    status, _, error = run([*imd_argv(), *arguments])
    assert status == 64 and error.startswith("imd: ")


def test_default_places_of_a_user(server, imd_of, folder):
    """Only as somebody other than root can the user's own folders be seen; so as nobody, where that is possible."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    nobody, home = 65534, os.path.join(folder, "home")
    os.chmod(folder, 0o755)
    os.makedirs(os.path.join(home, ".config/imd"))
    os.makedirs(os.path.join(home, "run"))
    for place, _, _ in os.walk(home):
        os.chown(place, nobody, nobody)
    daemon = imd_of(server.url(), account="work", env={"HOME": home, "XDG_RUNTIME_DIR": os.path.join(home, "run"),
                                                       "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": ""})
    os.rename(daemon.config_path, os.path.join(home, ".config/imd/work.conf"))
    become = ["/usr/bin/setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    daemon.argv = lambda: [*become, *imd_argv(), "--account", "work"]
    daemon.socket_path = os.path.join(home, "run/imd/work.sock")
    if run([*become, *imd_argv(), "--version"])[0] != 0:
        pytest.skip("nobody may not run imd from this build folder")
    daemon.start().connected()
