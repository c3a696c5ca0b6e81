"""imctl listen --save-files: files that messages bring, whatever they are called and whoever claims them."""

import filecmp
import hashlib
import json
import os

import pytest

from imctl import CONSUMER, Imctl, imctl, last_seq, not_acked, pushed
from patience import PATIENCE, until
from vitals import is_instrumented, peak_rss

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3


def push_file(server, data, name="a.png", kind="ImgMsg"):
    content = {"message": data} if name is None else {"message": data, "name": name}
    server.push({"code": 0, "data": {"messageType": kind, "from": "ann", "to": "me", "conversationType": 1,
                                     "content": content}})


@pytest.fixture
def directory(folder):
    path = os.path.join(folder, "files")
    os.mkdir(path)
    return path


def content_of(path):
    with open(path, "rb") as f:
        return f.read()


def test_files_are_saved(server, bridge, listen, directory):
    files = [os.urandom(size) for size in (0, 1, 2, 3, 776, 65536)]
    one = listen("--save-files", directory, "-n", str(len(files)), "--format", "%p")
    for data in files:
        push_file(server, data)
    assert one.wait() == 0 and one.stderr() == ""
    first = last_seq(bridge) - len(files) + 1
    assert one.lines() == [f"{directory}/{first + n}-a.png" for n in range(len(files))]
    assert [content_of(path) for path in one.lines()] == files
    assert sorted(os.listdir(directory)) == sorted(os.path.basename(path) for path in one.lines())


def test_a_file_that_imd_has_written_is_saved(server, bridge, listen, directory):
    data = os.urandom(3 << 20)
    client = bridge.subscriber("MESSAGE")
    one = listen("--save-files", directory, "-n", "2", "--consumer", "me", "--format", "%p")
    for _ in range(2):
        push_file(server, data, "a.bin")
    held = [event.params["data"]["content"]["message"]["$file"] for event in client.messages(2)]
    assert one.wait() == 0 and one.stderr() == ""
    assert len(set(held)) == 1 and len(set(one.lines())) == 2
    assert [content_of(path) for path in [held[0], *one.lines()]] == [data] * 3
    assert sorted(f"{directory}/{name}" for name in os.listdir(directory)) == sorted(one.lines())


def test_a_large_file_from_account_to_account(server, imd, listen, folder, directory):
    path = os.path.join(folder, "big.bin")
    with open(path, "wb") as f:
        f.write(os.urandom(1 << 20) * 60)
    alice, bob = (imd(server.url(), UserId=name).connected() for name in ("alice", "bob"))
    one = listen("--save-files", directory, "--type", "file", "-e", "MESSAGE", "--format", "%f %p", daemon=bob)
    status, _, error = imctl(alice, "send", "-t", "bob", "-c", "private", "--file", path, seconds=PATIENCE)
    assert (status, error) == (0, "")
    sender, saved = one.wait_lines(1)[0].split()
    assert sender == "alice" and filecmp.cmp(path, saved, shallow=False)
    if not is_instrumented():
        assert peak_rss(one.pid) < 10 << 20
        assert max(peak_rss(daemon.process.pid) for daemon in (alice, bob)) < 180 << 20


def test_the_line_stays_as_it_came(server, bridge, listen, directory):
    client = bridge.subscriber("MESSAGE")
    one = listen("--save-files", directory, "-n", "2", "-e", "MESSAGE")
    push_file(server, PNG)
    server.push_text("no file")
    lines = [event.raw.decode().rstrip("\n") for event in client.messages(2)]
    assert one.wait() == 0
    seq = json.loads(lines[0])["params"]["seq"]
    assert one.lines() == lines and one.stderr() == f"imctl: saved {directory}/{seq}-a.png\n"


def test_a_command_is_told_of_the_file(server, bridge, listen, directory):
    one = listen("--save-files", directory, "-n", "2", "--exec", "echo $IM_TYPE $IM_FILE")
    push_file(server, PNG)
    server.push_text("hi")
    assert one.wait() == 0
    assert one.lines() == [f"image {directory}/{last_seq(bridge) - 1}-a.png", "text"]


NAMES = [
    ("../../etc/passwd", "passwd"), ("/etc/passwd", "passwd"), ("C:\\Users\\x.doc", "x.doc"), ("..", "file"),
    ("", "file"), (None, "file"), ("a/", "file"), (".profile", "profile"), ("...x", "x"),
    ("a\nb\x1b\x7f\u0085c", "a_b____c"), ("\u00e4" * 200 + ".pdf", "\u00e4" * 62 + ".pdf"),
    ("x\u00e4" * 100 + ".pdf", "x\u00e4" * 41 + ".pdf"), ("-rf", "-rf"), ("a b", "a b"), (5, "file"),
]


def test_names_that_were_not_meant_well(server, bridge, listen, directory):
    one = listen("--save-files", directory, "-n", str(len(NAMES)), "--format", "%s")
    for given, _ in NAMES:
        push_file(server, PNG, given)
    assert one.wait() == 0
    names = {int(name.split("-", 1)[0]): name.split("-", 1)[1] for name in os.listdir(directory)}
    assert [names[int(seq)] for seq in one.lines()] == [name for _, name in NAMES]


def test_nothing_is_overwritten(server, bridge, directory, folder):
    pushed(server, bridge, "a")
    push_file(server, PNG)
    seq = until(lambda: last_seq(bridge) > 1 and last_seq(bridge), "the file has come")
    words = [*CONSUMER, "-n", "2", "--save-files", directory, "--format", "%p"]
    path = f"{directory}/{seq}-a.png"
    for n, make in enumerate([lambda: open(path, "wb").close(), lambda: os.symlink("/dev/null", path), lambda: os.mkdir(path)]):
        make()
        status, lines, error = imctl(bridge, *words)
        assert (status, len(lines)) == (74, 1 if n == 0 else 0)
        assert error == f"imctl: cannot save {path}: another file has this name; use another directory\n"
        os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        assert os.listdir(directory) == []
    assert not_acked(bridge) == [seq]
    assert imctl(bridge, *words[:-2], "--format", "%p", "-W", "5", "-n", "1") == (0, [path], "")
    assert not_acked(bridge) == []


def test_what_was_saved_before_is_fine(server, bridge, directory):
    push_file(server, PNG)
    until(lambda: last_seq(bridge), "the file has come")
    words = ["listen", "--since", "earliest", "-n", "1", "--save-files", directory, "--format", "%p"]
    first = imctl(bridge, *words)
    assert first[0] == 0 and imctl(bridge, *words) == first
    assert len(os.listdir(directory)) == 1


def test_a_directory_that_cannot_be_used(server, bridge, listen, folder, directory):
    missing = os.path.join(folder, "missing")
    assert imctl(bridge, "listen", "--save-files", missing) == (
        74, [], f"imctl: cannot save files in {missing}: No such file or directory\n")
    one = listen("--save-files", directory, "--consumer", "me")
    os.rmdir(directory)
    push_file(server, PNG)
    assert one.wait() == 74
    assert one.stderr() == f"imctl: cannot save {directory}/{last_seq(bridge)}-a.png: No such file or directory\n"


def file_event(seq, path, size, sha256, name="a.bin"):
    message = {"$file": path, "size": size, "sha256": sha256}
    return "MESSAGE", {"seq": seq, "time": 1, "code": 0, "data": {"messageType": "FileMsg", "from": "ann", "content": {
        "message": message, "name": name}}}


def attachment(folder, data):
    sha256 = hashlib.sha256(data).hexdigest()
    path = os.path.join(folder, sha256)
    with open(path, "wb") as f:
        f.write(data)
    return path, len(data), sha256


def test_a_large_file_is_copied_in_little_memory(fake, folder, directory):
    with open("/dev/urandom", "rb") as f:
        data = f.read(1 << 20) * 60
    daemon = fake(file_event(7, *attachment(folder, data)))
    one = Imctl(daemon, folder, "listen", "--save-files", directory, "--consumer", "me")
    try:
        until(lambda: daemon.acks == [7], "the file is saved")
        peak = peak_rss(one.pid)
    finally:
        one.stop()
    assert content_of(f"{directory}/7-a.bin") == data
    assert is_instrumented() or peak < 10 << 20


def saved(daemon, directory, *words):
    return imctl(daemon, "listen", "--save-files", directory, "--consumer", "me", "--format", "%s%p", *words)


def test_what_imd_has_no_longer_is_told_and_passed(fake, folder, directory):
    gone = attachment(folder, b"gone")
    os.unlink(gone[0])
    there = attachment(folder, b"there")
    daemon = fake(file_event(3, *gone), file_event(4, *there))
    assert saved(daemon, directory, "-n", "2") == (
        74, ["3", f"4{directory}/4-a.bin"], f"imctl: cannot save {directory}/3-a.bin: imd no longer has it\n")
    assert daemon.acks[-1] == 4 and os.listdir(directory) == ["4-a.bin"]


def test_a_file_of_another_size_is_not_saved(fake, folder, directory):
    path, size, sha256 = attachment(folder, b"0123456789")
    daemon = fake(file_event(3, path, size + 1, sha256), file_event(4, path, size - 1, sha256))
    status, _, error = saved(daemon, directory, "-n", "2")
    assert status == 74 and error.count("it is not what imd told") == 2
    assert os.listdir(directory) == []


def test_a_sender_cannot_name_a_file_of_ours(fake, folder, directory):
    secret = os.path.join(folder, "id_ed25519")
    with open(secret, "wb") as f:
        f.write(b"secret")
    sha256 = hashlib.sha256(b"secret").hexdigest()
    os.symlink(secret, os.path.join(folder, sha256))
    os.mkfifo(os.path.join(folder, "0" * 64))
    daemon = fake(file_event(1, secret, 6, sha256), file_event(2, os.path.join(folder, sha256), 6, sha256),
                  file_event(3, secret, 6, "id_ed25519"), file_event(4, os.path.join(folder, "0" * 64), 0, "0" * 64),
                  file_event(5, os.path.join(secret, sha256), 6, sha256),
                  file_event(6, "/" + "x/" * 3000 + sha256, 6, sha256))
    status, lines, error = saved(daemon, directory, "-n", "6")
    assert (status, lines) == (74, ["1", "2", "3", "4", "5", "6"])
    assert error.count("its path is none of imd's") == 6 and os.listdir(directory) == []


def test_bytes_that_are_no_base64(fake, directory):
    wrong = ["AQ=I", "A", "AQ==AQID", "A===", "AQI", "AQ I", "=AQI", "AQID\n"]
    daemon = fake(*(("MESSAGE", {"seq": n + 1, "time": 1, "code": 0, "data": {"content": {"message": {"$bin": text}}}})
                    for n, text in enumerate(wrong)))
    status, _, error = saved(daemon, directory, "-n", str(len(wrong)))
    assert status == 74 and error.count("it is not what imd told") == len(wrong) and os.listdir(directory) == []
