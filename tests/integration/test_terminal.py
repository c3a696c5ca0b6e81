"""What people see on a terminal: chat, listen, status, and the progress bar of send --lines."""

import json
import os
import re

import pytest

from patience import until
from process import build_dir, run

IMCTL = os.path.join(build_dir(), "cli/imctl")
CLOCK = r"\d\d:\d\d:\d\d"


@pytest.fixture
def chat(terminal):
    """chat(daemon, option…): its terminal, when the prompt is there."""

    def start(daemon, *options, prompt=r"server> ?", **more):
        one = terminal(IMCTL, "chat", "-s", daemon.socket_path, *options, **more)
        one.wait_last(prompt)
        return one

    return start


@pytest.fixture
def pair(server, imd):
    """Two accounts on one server."""
    return [imd(server.url(), UserId=name).connected() for name in ("ann", "bob")]


def test_two_people_talk(pair, chat):
    ann, bob = pair
    anns, bobs = chat(ann, "-t", "bob", prompt="bob> ?"), chat(bob, "-t", "ann", prompt="ann> ?")
    anns.enter("hello bob")
    bobs.wait(rf"^{CLOCK} ann -> bob: hello bob$")
    bobs.enter("hello ann")
    anns.wait(rf"^{CLOCK} bob -> ann: hello ann$")
    assert re.fullmatch(rf"bob> hello bob\n{CLOCK} bob -> ann: hello ann\nbob>", anns.screen())
    assert re.fullmatch(rf"{CLOCK} ann -> bob: hello bob\nann> hello ann\nann>", bobs.screen())


def test_what_is_half_typed_stays(server, bridge, chat):
    screen = chat(bridge)
    screen.type("half a line")
    screen.key("C-a", "C-f", "C-f")
    screen.wait_last("server> half a line")
    until(lambda: screen.cursor() == (len("server> ha"), 0), "the cursor moves")
    server.push_text("one")
    server.push_text("two")
    screen.wait(r"two\nserver> half a line")
    assert re.fullmatch(rf"{CLOCK} ann -> server: one\n{CLOCK} ann -> server: two\nserver> half a line", screen.screen())
    until(lambda: screen.cursor() == (len("server> ha"), 2), "the cursor is where it was")
    screen.enter("r")
    server.wait_frames(1)
    assert server.messages()[0]["content"] == {"message": "harlf a line"}


def test_a_long_line_stays(server, bridge, chat):
    """Longer than the terminal is wide, with wide characters at the edge and the cursor in the middle."""
    screen = chat(bridge, columns=40, rows=12)
    text = "abc世界" * 18
    screen.type(text)
    screen.key(*["Left"] * 50)
    column, row = 25, 1
    until(lambda: len(screen.lines()) == 4 and screen.cursor() == (column, row), "the cursor is where it goes")
    before = screen.lines()
    server.push_text("one")
    until(lambda: screen.lines()[1:] == before and screen.cursor() == (column, row + 1), "all is as it was")
    server.push_text("two")
    until(lambda: screen.lines()[2:] == before and screen.cursor() == (column, row + 2), "all is as it was")
    screen.key("C-e", "Enter")
    server.wait_frames(1)
    assert server.messages()[0]["content"] == {"message": text}


@pytest.mark.parametrize("left, cursor", [(12, (4, 3)), (13, (2, 3)), (14, (0, 3)), (34, (0, 2))])
def test_wide_characters_that_do_not_fit(server, bridge, chat, left, cursor):
    """Each row has room for a half of one more; the cursor stands before and behind where they begin."""
    screen = chat(bridge, columns=41, rows=12)
    screen.type("世" * 70)
    screen.key(*["Left"] * left)
    until(lambda: screen.cursor() == cursor, "the cursor is where it goes")
    before = screen.lines()
    server.push_text("one")
    until(lambda: screen.lines()[1:] == before, "the line is there again, and only once")
    until(lambda: screen.cursor() == (cursor[0], cursor[1] + 1), "the cursor is where it was")


@pytest.mark.parametrize("length", [32, 31, 72, 71])
def test_a_line_that_ends_at_the_edge_stays(server, bridge, chat, length):
    screen = chat(bridge, columns=40, rows=12)
    screen.type("x" * length)
    until(lambda: screen.screen().count("x") == length, "it is typed")
    before = screen.lines()
    server.push_text("one")
    until(lambda: screen.lines()[1:] == before, "the line is there again, and only once")
    screen.key("BSpace")
    until(lambda: screen.screen().count("x") == length - 1, "the line is edited")
    assert len(screen.lines()) <= len(before) + 1
    screen.key("Enter")
    server.wait_frames(1)
    assert server.messages()[0]["content"] == {"message": "x" * (length - 1)}


def test_a_line_longer_than_the_screen(server, bridge, chat):
    screen = chat(bridge, columns=40, rows=8)
    text = "0123456789" * 60
    screen.type(text)
    until(lambda: len(screen.lines()) == 8, "the line fills the screen")
    server.push_text("one")
    until(lambda: "one" in screen.history(), "what comes is printed")
    screen.enter("end")
    server.wait_frames(1)
    assert server.messages()[0]["content"] == {"message": text + "end"}


def test_utf8(pair, chat):
    ann, bob = pair
    anns, bobs = chat(ann, "-t", "bob", prompt="bob> ?"), chat(bob)
    anns.type("你好X")
    anns.key("BSpace")
    anns.enter("，鲍勃 é")
    bobs.wait(rf"^{CLOCK} ann -> bob: 你好，鲍勃 é$")


def test_other_locales_are_utf8_too(server, bridge, chat):
    screen = chat(bridge, env={"LC_ALL": "C"})
    screen.enter("你好")
    server.wait_frames(1)
    assert server.messages()[0]["content"] == {"message": "你好"}


def test_control_characters_are_shown(server, bridge, chat):
    screen = chat(bridge)
    server.push_text("\x1b[2Jred\x07\nx\u009b", **{"from": "\x1b[31mann"})
    screen.wait(r"\\x1b\[31mann -> server: \\x1b\[2Jred\\x07\\x0ax\\x9b$")


def test_only_the_one_that_is_talked_to(server, bridge, chat):
    screen = chat(bridge, "-t", "ann", prompt="ann> ?")
    server.push_text("of carl", **{"from": "carl"})
    server.push_text("to ann", **{"from": "dora", "to": "ann"})
    server.push_text("of ann", **{"to": "me"})
    screen.wait("of ann$")
    assert re.fullmatch(rf"{CLOCK} dora -> ann: to ann\n{CLOCK} ann -> me: of ann\nann>", screen.screen())


def test_the_link_is_told(server, bridge, chat):
    screen = chat(bridge)
    screen.type("typing")
    server.stop()
    screen.wait_last(r"server \((waiting|connecting)\)> typing")
    log = bridge.process
    until(lambda: log.stderr().count("cannot connect") >= 4, "imd has tried more than once")
    server.start()
    screen.wait_last("server> typing")
    told = [line[len("00:00:00 "):] for line in screen.lines()[:-1]]
    assert len(told) <= 4 and told[-1] == "-- connected" and all(line.startswith("-- ") for line in told)
    screen.key("Enter")
    server.wait_frames(1)


def test_imd_comes_back(server, imd_of, chat):
    daemon = imd_of(server.url()).start().connected()
    screen = chat(daemon)
    daemon.crash()
    screen.wait_last(r"server \(no imd\)> ?")
    screen.enter("lost")
    screen.wait("^-- not sent: imd cannot be reached$")
    daemon.start().connected()
    screen.wait("^-- imd is back$")
    screen.wait_last("server> ?")
    server.push_text("again")
    screen.wait("again$")
    screen.enter("found")
    server.wait_frames(1)
    assert server.messages()[0]["content"] == {"message": "found"}


def test_what_failed_is_told(server, bridge, chat):
    screen = chat(bridge)
    server.mode(ack="reject", code=9, errMsg="not today")
    screen.enter("hello")
    screen.wait(r"^-- rejected: not today \(code 9\): hello$")
    bridge.client().call("disconnect")
    screen.wait_last(r"server \(\w+\)> ?")
    screen.enter("nobody")
    screen.wait("^-- not_connected: .*: nobody$")


def test_commands(server, bridge, chat, folder):
    screen = chat(bridge)
    path = os.path.join(folder, "a b.txt")
    with open(path, "w") as f:
        f.write("data")
    screen.enter("/to team group")
    screen.wait_last(r"team \[group\]> ?")
    screen.enter("/signal typing ")
    screen.enter(f"/file {path}")
    screen.enter(f"/image {path}")
    screen.enter("//not a command")
    server.wait_frames(4)
    signal, file, image, text = server.messages()
    assert signal["signalName"] == "typing" and signal["to"] == "team" and signal["conversationType"] == 3
    assert (file["messageType"], image["messageType"]) == ("FileMsg", "ImgMsg")
    assert file["content"] == {"message": b"data", "name": "a b.txt", "mime": "text/plain", "size": 4}
    assert text["content"] == {"message": "/not a command"}
    screen.enter("/to bob")
    screen.wait_last("bob> ?")
    screen.enter("hi")
    server.wait_frames(5)
    assert (server.messages()[4]["to"], server.messages()[4]["conversationType"]) == ("bob", 1)


@pytest.mark.parametrize("typed, told", [
    ("/x y", "-- no such command; see /help: x"), ("/signal", "-- /signal NAME"), ("/quit now", "-- /quit takes nothing"),
    ("/to a b", "imctl: 'b' is no conversation type; see 'imctl chat --help'"),
    ("/file /nowhere", "imctl: cannot read '/nowhere': No such file or directory")])
def test_wrong_commands(server, bridge, chat, typed, told):
    screen = chat(bridge)
    screen.enter(typed)
    screen.wait(f"^{re.escape(told)}$")
    screen.wait_last("server> ?")
    assert server.stats()["frames"] == server.stats()["pings"]


def test_help(bridge, chat):
    screen = chat(bridge)
    screen.enter("/help")
    screen.wait_last("server> ?")
    screen.wait(r"^//TEXT ")
    for name in "signal", "image", "file", "to", "help", "quit":
        assert re.search(rf"^/{name} .*\w$", screen.screen(), re.MULTILINE)


def test_history_and_ctrl_c(server, bridge, chat):
    screen = chat(bridge)
    screen.enter("first")
    screen.enter("second")
    screen.type("third")
    screen.wait_last("server> third")
    screen.key("C-c")
    screen.wait_last("server> ?")
    screen.key("Up", "Up")
    screen.wait_last("server> first")
    screen.key("Enter")
    server.wait_frames(3)
    assert [m["content"]["message"] for m in server.messages()] == ["first", "second", "first"]


ENDS = {"quit": lambda t: t.enter("/quit"), "ctrl_d": lambda t: t.key("C-d")}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_restores_the_terminal(server, bridge, terminal, end):
    script = ('before=$(stty -g); "$0" chat -s "$1"; echo "status $?"; [ "$before" = "$(stty -g)" ] && echo restored; '
              'read line')
    screen = terminal("sh", "-c", script, IMCTL, bridge.socket_path)
    screen.wait_last("server> ?")
    screen.enter("last words")
    ENDS[end](screen)
    screen.wait("^restored$")
    assert re.fullmatch("server> last words\nserver> (/quit|\\^D)\nstatus 0\nrestored", screen.screen())
    server.wait_frames(1)


def test_suspended_and_continued(server, bridge, terminal):
    screen = terminal("bash", "--norc", "-i", env={"PS1": "shell$ "})
    screen.wait_last(r"shell\$ ?")
    screen.enter(f"{IMCTL} chat -s {bridge.socket_path}")
    screen.wait_last("server> ?")
    screen.key("C-z")
    screen.wait_last(r"shell\$ ?")
    screen.enter("fg")
    screen.enter("hello")
    server.wait_frames(1)
    assert server.messages()[0]["content"] == {"message": "hello"}


def test_the_end_waits_for_the_last_ack(server, bridge, chat):
    screen = chat(bridge)
    server.mode(ack="reject", code=9, errMsg="not today")
    screen.type("last words\r/quit\r")
    assert screen.wait_end() == 0
    screen.wait(r"^-- rejected: not today \(code 9\): last words$")


@pytest.mark.parametrize("signal", ["TERM", "HUP"])
def test_a_signal_restores_the_terminal(bridge, terminal, signal):
    """The shell gives chat a process group, for libedit sends the signal on to all of it; it leaves the terminal alone."""
    script = ('set -m; before=$(stty -g); "$0" chat -s "$1"; echo "status $?"; '
              '[ "$before" = "$(stty -g)" ] && echo restored; read line')
    screen = terminal("bash", "-c", script, IMCTL, bridge.socket_path)
    screen.wait_last("server> ?")
    run(["pkill", f"-{signal}", "-t", screen.tty(), "-x", "imctl"])
    screen.wait("^status (143|129)$")
    screen.wait("^restored$")


def test_the_size_changes(server, bridge, chat):
    screen = chat(bridge)
    text = "0123456789" * 6
    screen.type(text)
    screen.wait_last(f"server> {text}")
    screen.resize(40, 24)
    screen.type("!")
    until(lambda: screen.lines()[-1].endswith("89!"), "the line is drawn again")
    server.push_text("one")
    screen.wait("one$")
    screen.enter("?")
    server.wait_frames(1)
    assert server.messages()[0]["content"] == {"message": text + "!?"}
    screen.wait_last("server> ?")


def test_chat_needs_a_terminal(bridge, terminal):
    status, out, error = run([IMCTL, "chat", "-s", bridge.socket_path])
    assert (status, out) == (64, "")
    assert error == "imctl: chat needs a terminal; a program uses 'imctl send' and 'imctl listen'\n"
    screen = terminal(IMCTL, "chat", "-s", bridge.socket_path, env={"TERM": "dumb"})
    assert screen.wait_end() == 64


def test_chat_without_imd(folder, terminal):
    screen = terminal(IMCTL, "chat", "-s", os.path.join(folder, "none"))
    assert screen.wait_end() == 69
    screen.wait("^imctl: cannot reach imd at .*")


def test_chat_of_no_conversation(bridge, terminal):
    assert terminal(IMCTL, "chat", "-s", bridge.socket_path, "-c", "club").wait_end() == 64


# listen and status

def test_listen_for_people(server, bridge, terminal):
    screen = terminal(IMCTL, "listen", "-s", bridge.socket_path, "-n", "2", "-e", "MESSAGE", "--since", "earliest")
    server.push_text("hello", conversationType=3, to="team")
    server.push({"code": 0, "data": {"messageType": "SignalMsg", "signalName": "typing", "from": "ann", "to": "me"}})
    assert screen.wait_end() == 0
    assert re.fullmatch(rf"{CLOCK} ann -> team \(group\): hello\n{CLOCK} ann -> me: \[signal typing\]",
                        screen.screen())
    assert "\x1b[1mann\x1b[0m -> team" in "\n".join(screen.lines(colours=True))


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_listen_without_colours(server, bridge, terminal, env):
    screen = terminal(IMCTL, "listen", "-s", bridge.socket_path, "-n", "1", "--since", "earliest", env=env)
    server.push_text("hello")
    assert screen.wait_end() == 0
    assert re.fullmatch(rf"{CLOCK} ann -> server: hello", screen.lines(colours=True)[0])


def test_listen_json_on_a_terminal(server, bridge, terminal):
    screen = terminal(IMCTL, "listen", "--json", "-s", bridge.socket_path, "-n", "1", "--since", "earliest", columns=500)
    server.push_text("hello")
    assert screen.wait_end() == 0
    assert json.loads(screen.lines()[0])["params"]["data"]["content"] == {"message": "hello"}


def test_status_on_a_terminal(bridge, terminal):
    screen = terminal(IMCTL, "status", "-s", bridge.socket_path)
    assert screen.wait_end() == 0
    assert re.search(r"^ +Link: connected since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; .* ago$", screen.screen(), re.MULTILINE)
    assert re.search(r"^ +Heartbeat: every .*$", screen.screen(), re.MULTILINE)


# The progress of send --lines

@pytest.fixture
def sending(server, bridge, terminal, folder):
    """sending(redirection): a terminal where a file of 20 lines is sent slowly."""

    def start(redirection):
        path = os.path.join(folder, "lines")
        with open(path, "w") as f:
            f.write("hello\n" * 20)
        server.mode(ack="delay", delayMs=150)
        script = f'echo begin; "$0" send --lines -j 4 -s "$1" <"$2" {redirection}; echo "status $?"; read line'
        return terminal("sh", "-c", script, IMCTL, bridge.socket_path, path)

    return start


def test_progress(sending):
    screen = sending(">/dev/null")
    screen.wait(r"\Abegin\nimctl: \d+ lines, \d+/s \[#+-+\] \d0 %, \d+ s left\Z")
    screen.wait("^status 0$")
    assert re.fullmatch(r"begin\nimctl: 20 sent, 20 acked in [0-9.]+ s\nstatus 0", screen.screen())


def test_progress_leaves_the_output_alone(sending):
    screen = sending("")
    screen.wait("^status 0$")
    ids = r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n){20}"
    assert re.fullmatch(rf"begin\n{ids}imctl: 20 sent, 20 acked in [0-9.]+ s\nstatus 0", screen.screen())
