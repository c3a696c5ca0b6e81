"""Completions: each shell loads what was made for it, and offers what the tables of imctl say."""

import os
import re
import socket

import pytest

from process import build_dir, run
from shells import Bash, Fish, Zsh

STATES = ["connected", "connecting", "disconnected", "waiting"]
CONVERSATIONS = ["chatroom", "discussion", "group", "private", "server", "system"]


@pytest.fixture(params=[Bash, Zsh, Fish], ids=["bash", "zsh", "fish"])
def shell(request, folder):
    one = request.param(folder)
    yield one
    one.stop()


@pytest.fixture
def bare(shell):
    """The words that are offered, sorted, without what a shell appends to them."""
    return lambda line: sorted({word.rstrip("=") for word in shell.offered(line)})


def help_of(*words):
    status, out, _ = run([os.path.join(build_dir(), "cli/imctl"), *words, "--help"])
    assert status == 0
    return out


def commands():
    return re.findall(r"^  ([a-z]+) ", help_of().split("Options of every")[0], re.M)


def test_commands(bare):
    assert bare("imctl ") == sorted(commands())
    assert bare("imctl se") == ["send"]
    assert bare("imctl --json -a bob his") == ["history"]
    assert bare("imctl send ") == []


def test_every_option_of_the_help(bare):
    for command in commands():
        told = set(re.findall(r"^ +(?:-., )?(--[a-z-]+)", help_of(command), re.M))
        assert set(bare(f"imctl {command} --")) - {"--"} == told, command
    assert "--lines" not in bare("imctl --")


def test_the_words_of_imctl(bare):
    assert bare("imctl status --wait ") == STATES
    assert bare("imctl send -c ") == CONVERSATIONS
    assert bare("imctl send --conversation gr") == ["group"]
    assert bare("imctl listen -n 3 --event ") == ["MESSAGE", "OUTBOX", "SENT", "STATUS"]
    assert {"text", "image", "file", "signal"} <= set(bare("imctl history --type "))
    assert bare("imctl --json outbox ") == ["cancel", "list", "show"]
    assert bare("imctl send --id ") == []


def test_a_value_behind_an_equals_sign(bare):
    assert [word.split("=")[-1] for word in bare("imctl send --conversation=pri")] == ["private"]


def test_no_options_behind_two_dashes(bare):
    assert bare("imctl send -- --li") == []


def test_files_and_folders(bare, folder):
    os.mkdir(os.path.join(folder, "photos"))
    for name in ("phone.txt", "other"):
        with open(os.path.join(folder, name), "w", encoding="utf-8"):
            pass
    assert [word.rstrip("/") for word in bare("imctl send --file pho")] == ["phone.txt", "photos"]
    assert [word.rstrip("/") for word in bare("imctl listen --save-files pho")] == ["photos"]


def test_programs(bare):
    assert "sort" in bare("imctl listen --exec sor")


def test_accounts_are_sockets_that_are_there(bare, folder):
    os.mkdir(os.path.join(folder, "imd"))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.join(folder, "imd/zz-bob@work.sock"))
        with open(os.path.join(folder, "imd/zz-file.sock"), "w", encoding="utf-8"):
            pass
        assert bare("imctl -a zz-") == ["zz-bob@work"]
        assert bare("imctl send --account zz-") == ["zz-bob@work"]
