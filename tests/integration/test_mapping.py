"""MessagePack <-> JSON through the whole daemon, byte for byte."""

import json

import msgpack
import pytest

# What the server writes (hex of one value) -> JSON text that subscribers read
DOWN = [
    ("c0", "null"), ("c2", "false"), ("c3", "true"), ("00", "0"), ("7f", "127"), ("ff", "-1"), ("e0", "-32"),
    ("cc80", "128"), ("cd8000", "32768"), ("ce80000000", "2147483648"),
    ("cfffffffffffffffff", "18446744073709551615"),
    ("cf8000000000000000", "9223372036854775808"), ("d38000000000000000", "-9223372036854775808"), ("d080", "-128"),
    ("d18000", "-32768"), ("d280000000", "-2147483648"), ("d30020000000000001", "9007199254740993"),
    ("cb3ff0000000000000", "1.0"), ("cb3fb999999999999a", "0.1"), ("cbc000000000000000", "-2.0"),
    ("cb8000000000000000", "-0.0"), ("cb7fefffffffffffff", "1.7976931348623157e308|1.7976931348623157e+308"),
    ("cb0000000000000001", "5e-324"), ("ca3dcccccd", "0.10000000149011612"), ("ca3f800000", "1.0"),
    ("cb7ff8000000000000", "null"), ("cb7ff0000000000000", "null"), ("ca7f800000", "null"),
    ("a0", '""'), ("a6e4b8ade69687", '"中文"'), ("a4f09f9880", '"😀"'), ("a3226108", '"\\"a\\b"'),
    ("a100", '"\\u0000"'),
    ("a2fffe", '"\ufffd\ufffd"'), ("d90161", '"a"'), ("90", "[]"), ("93010203", "[1,2,3]"), ("80", "{}"),
    ("8101a178", '{"1":"x"}'), ("81c0c3", '{"null":true}'), ("82a16101a16102", '{"a":1,"a":2}'),
    ("c403010203", '{"$bin":"AQID"}'), ("c400", '{"$bin":""}'),
    ("d40501", '{"$ext":{"type":5,"data":"AQ=="}}'), ("c7030b010203", '{"$ext":{"type":11,"data":"AQID"}}'),
    ("d6ff00000000", '"1970-01-01T00:00:00Z"'), ("d6ff5e0be100", '"2020-01-01T00:00:00Z"'),
    ("d7ff000000045e0be100", '"2020-01-01T00:00:00.000000001Z"'),
    ("d7ff773594005e0be100", '"2020-01-01T00:00:00.5Z"'),
    ("c70cff00000000ffffffffffffffff", '"1969-12-31T23:59:59Z"'),
]

# JSON text that a program sends -> hex of the value that the server gets
UP = [
    ("null", "c0"), ("true", "c3"), ("0", "00"), ("127", "7f"), ("128", "cc80"), ("65535", "cdffff"),
    ("65536", "ce00010000"),
    ("4294967296", "cf0000000100000000"), ("18446744073709551615", "cfffffffffffffffff"), ("-1", "ff"),
    ("-32", "e0"),
    ("-33", "d0df"), ("-129", "d1ff7f"), ("-9223372036854775808", "d38000000000000000"),
    ("9007199254740993", "cf0020000000000001"), ("1.0", "cb3ff0000000000000"), ("1e2", "cb4059000000000000"),
    ("0.1", "cb3fb999999999999a"), ("-0.0", "cb8000000000000000"), ("5e-324", "cb0000000000000001"),
    ('"中文"', "a6e4b8ade69687"), ('"\\u4e2d"', "a3e4b8ad"), ('"😀"', "a4f09f9880"), ('"\\ud83d\\ude00"', "a4f09f9880"),
    ('"a\\u0000b\\n"', "a46100620a"), ("[]", "90"), ("[1,[2]]", "92019102"), ("{}", "80"),
    ('{"b":1,"a":{"c":null}}', "82a16201a16181a163c0"), ('{"$bin":"AQID"}', "c403010203"), ('{"$bin":""}', "c400"),
    ('{"$ext":{"type":5,"data":"AQ=="}}', "d40501"), ('{"$ext":{"type":-1,"data":"XgvhAA=="}}', "d6ff5e0be100"),
    ('{"$bin":"AQID","x":1}', "82a42462696ea441514944a17801"),
]

REFUSED = ["18446744073709551616", "-9223372036854775809", "1e400", '{"$file":"/etc/passwd"}', '{"$bin":5}',
           '{"$fd":0}',
           '{"$ext":{"type":200,"data":""}}', "[" * 70 + "]" * 70]



def test_down(server, bridge):
    subscriber = bridge.subscriber()
    prefix = bytes.fromhex("82a4636f646500a46461746181a176")
    for value, texts in DOWN:
        server.push(prefix + bytes.fromhex(value))
        raw = subscriber.event("MESSAGE").raw
        expected = [b',"code":0,"data":{"v":' + text.encode("utf-8", "surrogatepass") + b"}}}\n"
                    for text in texts.split("|")]
        assert any(raw.endswith(e) for e in expected), f"{value}: {raw}, not {expected}"


def test_up(server, bridge):
    client = bridge.client()
    for number, (text, value) in enumerate(UP):
        client.write(b'{"jsonrpc":"2.0","id":1,"method":"send","params":{"message":{"messageId":"%d","sentTime":1,'
                     b'"from":"f","content":{"message":' % number + text.encode() + b"}}}}\n")
        reply = client.reply(1)
        assert "result" in reply, f"{text}: {reply}"
        frame = server.received(clear=True)[0]
        assert bytes.fromhex("a76d657373616765" + value) in frame, f"{text}: {frame.hex()}"


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_refused(server, bridge, text):
    client = bridge.client()
    client.write(b'{"jsonrpc":"2.0","id":1,"method":"send","params":{"message":{"content":{"message":' +
                 text.encode() + b"}}}}\n")
    raw = client.line()
    assert b'"error"' in raw and json.loads(raw)["error"]["code"] in (-32602, -32700), raw
    client.barrier()
    assert server.received() == []


ROUND = [0, -1, 2**63, 2**64 - 1, -2**63, 9007199254740993, 1.0, 0.1, -1.5e300, "中文 😀 \u0000 \u2028 \"\\", "", None,
         True, [], {}, [[[]]], {"a": {"b": [None, {"c": 1.25}]}}, {"": ""}, "x" * 70_000, list(range(1000))]


def test_round_trip(server, bridge):
    """JSON -> MessagePack -> the server's echo -> JSON, ack and event alike."""
    subscriber = bridge.subscriber("SENT")
    client = bridge.client()
    for value in ROUND:
        result = client.call("send", message={"content": {"message": value}})
        back = result["data"]["content"]["message"]
        assert back == value and type(back) is type(value)
        assert subscriber.event("SENT").params["data"]["content"]["message"] == value
    frames = [m["content"]["message"] for m in server.messages()]
    assert frames == ROUND


def nested(levels, value=None):
    for _ in range(levels):
        value = [value]
    return value


def test_depth_64_passes_and_65_is_refused_both_ways(server, bridge):
    client, subscriber = bridge.client(), bridge.subscriber()
    # The message's map is level 1, content 2: 62 arrays fit into it.
    assert client.call("send", message={"content": {"message": nested(62)}})["code"] == 0
    assert client.refused("send", message={"content": {"message": nested(63)}}).code in (-32602, -32700)
    # data's map is level 1, content's 2.
    server.push(msgpack.packb({"code": 0, "data": {"content": {"message": nested(62)}}}))
    assert subscriber.event("MESSAGE").params["data"]["content"]["message"] == nested(62)
    before = client.call("stats")["badFrames"]
    server.push(msgpack.packb({"code": 0, "data": {"content": {"message": nested(63)}}}))
    client.wait_stats(lambda s: s["badFrames"] == before + 1, "the deeper one is counted")
    subscriber.nothing()


def test_escapes_in_the_fields_that_imd_looks_at(server, imd):
    daemon = imd(server.url(), UserId='me "quoted" ü').connected()
    client = daemon.client()
    result = client.call("send", message={"messageId": 'a"\\\u0001ü', "content": {"message": 1}})
    assert result["data"]["messageId"] == 'a"\\\u0001ü'
    assert server.messages()[0]["from"] == 'me "quoted" ü'
