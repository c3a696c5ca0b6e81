"""What the server sends on its own: pushes, notices, and frames that nobody should send."""

import pytest

import msgpack


# Row: push
def test_push(server, bridge):
    subscriber = bridge.subscriber()
    data = {"messageType": "ImgMsg", "from": "ann", "to": "me", "conversationType": 1, "content": {"message": "url"}}
    server.push({"code": 0, "data": data, "errMsg": "success!"})
    params = subscriber.event("MESSAGE").params
    assert list(params) == ["seq", "time", "code", "data", "errMsg"]
    assert params["data"] == data and params["code"] == 0 and params["errMsg"] == "success!"
    assert params["time"] > 1_600_000_000_000


def test_event_bytes(server, bridge):
    """The envelope's members stay in their order; seq grows by one."""
    subscriber = bridge.subscriber()
    seq = subscriber.call("status")["seq"]
    server.push({"errMsg": "e", "extra": None, "data": {"b": 1, "a": "ä\n"}, "code": 0})
    server.push({"code": 5, "data": {}})
    first, second = subscriber.messages(2)
    assert first.raw == (b'{"jsonrpc":"2.0","method":"MESSAGE","params":{"seq":%d,"time":%d,'
                         b'"errMsg":"e","extra":null,"data":{"b":1,"a":"\xc3\xa4\\n"},"code":0}}\n'
                         % (seq + 1, first.params["time"]))
    assert second.raw == (b'{"jsonrpc":"2.0","method":"MESSAGE","params":{"seq":%d,"time":%d,"code":5,"data":{}}}\n'
                          % (seq + 2, second.params["time"]))


# Row: notice
def test_notice_without_data(server, bridge):
    subscriber = bridge.subscriber()
    server.push({"errMsg": "close", "code": 4})
    params = subscriber.event("MESSAGE").params
    assert (params["code"], params["errMsg"]) == (4, "close") and "data" not in params


def test_notice_when_somebody_leaves(server, imd):
    one, two = imd(server.url()).connected(), imd(server.url()).connected()
    subscriber = one.subscriber()
    two.client().call("disconnect")
    assert subscriber.event("MESSAGE").params["errMsg"] == "close"


@pytest.mark.parametrize("value, text", [
    ([1, 2, 3], "[1,2,3]"), ("text", '"text"'), (None, "null"), (7, "7"), ({"a": 1}, '{"a":1}'), ({}, "{}")])
def test_a_value_that_is_no_envelope(server, bridge, value, text):
    subscriber = bridge.subscriber()
    server.push(value)
    assert subscriber.event("MESSAGE").raw.endswith(b',"data":' + text.encode() + b"}}\n")


def test_an_envelope_with_our_own_keys_does_not_shadow_them(server, bridge):
    subscriber = bridge.subscriber()
    seq = subscriber.call("status")["seq"]
    server.push({"code": 0, "seq": 99, "data": {"x": 1}})
    params = subscriber.event("MESSAGE").params
    assert params["seq"] == seq + 1
    assert params["data"] == {"code": 0, "seq": 99, "data": {"x": 1}}


BROKEN = {
    "empty": "", "never used byte": "c1", "truncated map": "82a4636f6465", "truncated string": "d9ff61",
    "array of 134 million": "dd08000000", "map of 4 billion": "dfffffffff", "string of 4 GB": "dbffffffff",
    "bin of 4 GB": "c6ffffffff00", "bytes left over": "8000", "100 arrays deep": "91" * 100 + "c0",
    "a million arrays deep": "91" * 100_000 + "c0"}


# Row: broken frame
@pytest.mark.parametrize("frame", BROKEN.values(), ids=BROKEN)
def test_broken_frame_is_counted_and_survived(server, bridge, frame):
    subscriber = bridge.subscriber("MESSAGE", "STATUS")
    before = subscriber.call("stats")["badFrames"]
    server.do("push", hex=frame)
    server.push_text("still here")
    assert subscriber.event().params["data"]["content"]["message"] == "still here"
    stats = subscriber.call("stats")
    assert stats["badFrames"] == before + 1 and stats["reconnects"] == 0
    assert server.stats()["accepted"] == 1


def test_many_broken_frames_do_not_flood_the_log(server, bridge):
    subscriber = bridge.subscriber()
    server.do("push", hex="c1", count=2000)
    server.push_text("still here")
    subscriber.event("MESSAGE")
    assert subscriber.call("stats")["badFrames"] == 2000
    assert bridge.log().count("\n") < 60


# Row: text frame
def test_text_frame_is_counted_and_dropped(server, bridge):
    subscriber = bridge.subscriber("MESSAGE", "STATUS")
    server.push(b'{"code":0,"data":{"messageType":"TxtMsg"}}', opcode="text")
    server.push(msgpack.packb({"code": 0}), opcode="text", fragments=2)
    server.push_text("still here")
    assert subscriber.event().params["data"]["content"]["message"] == "still here"
    assert subscriber.call("stats")["textFrames"] == 2
    assert server.stats()["accepted"] == 1


def test_a_broken_websocket_frame_is_a_loss_like_any_other(server, bridge):
    watcher = bridge.watcher()
    server.do("raw", hex="ff" * 32)
    assert watcher.status("waiting", "the loss is told")["reason"] in ("protocol", "closed")
    watcher.status("connected", "it comes back")


def test_fragments_with_pauses(server, bridge):
    subscriber = bridge.subscriber()
    frame = msgpack.packb({"code": 0, "data": {"content": {"message": "in pieces"}}})
    server.push(frame, fragments=[1, 0, 5, 0], fragmentPauseMs=20)
    assert subscriber.event("MESSAGE").params["data"]["content"]["message"] == "in pieces"
