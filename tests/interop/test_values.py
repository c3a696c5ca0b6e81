"""Every value that has a counterpart: what JavaScript gets from JSON, and JSON from JavaScript."""

import base64
import json
import struct

import pytest

from javascript import seen

TEXTS = [
    "", "中文,標點。", "😀", "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇨🇳", "עברית \u202eعربى\u202c", "a\u2028b\u2029c", "\ufeffBOM",
    "é e\u0301", "\uffff", "\U0010ffff", "\"\\/\b\f\n\r\t", "\u0000\u0001\u001f\u007f", "𝒳" * 60, "ß" * 16,
    "x" * 31, "x" * 32, "x" * 255, "x" * 256, "界" * 21846, "x" * 65536,
]
FLOATS = [
    0.1, -0.0, 0.0, 1.0, -1.5, 1e300, 1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 1e21,
    123456.789, 1 / 3, 9007199254740993.0, 1e15, 1e16, -1e-7,
]
SMALL = [
    0, 1, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32 - 1,
    -1, -32, -33, -128, -129, -32768, -32769, -2**31,
]
LARGE = [2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -2**31 - 1, -2**53 - 1, -2**63]
NESTED = {
    "空": {}, "empty": [], "null": None, "yes": True, "no": False,
    "list": [1, -1, 0.5, "二", None, [], {}, [[[[{"a": [{}]}]]]], {"b": {"c": {"d": [True]}}}],
    "many": {f"key{i}": i for i in range(70)}, "long": list(range(300)), "": "empty key", "ключ\n\"": 1,
    "bin": {"$bin": "AAEC/w=="}, "bins": [{"$bin": ""}, {"$bin": "/+8="}],
    "ext": {"$ext": {"type": 5, "data": "AQID"}}, "date": {"$ext": {"type": -1, "data": "XgvhAA=="}},
    "nearly": [{"$bin": "AA==", "x": 1}, {"$date": "2020"}, {"a": 1.0, "b": 1}],
}
UP = [*TEXTS, *FLOATS, *SMALL, *LARGE, NESTED, None, True, False, [], {}, {"$bin": "AP+7" * 20_000}]


def send(client, value):
    result = client.call("send", message={"content": {"message": value}})
    return result["data"]["content"]["message"]


@pytest.mark.parametrize("bigint", [False, True], ids=["numbers", "useBigInt64"])
def test_up(server, bridge, bigint):
    """Compared with types, the order of keys and the sign of zero."""
    server.do("mode", codec={"useBigInt64": bigint})
    client = bridge.client()
    for value in UP:
        send(client, value)
        [got] = server.messages()
        assert repr(got["content"]["message"]) == repr(seen(value, bigint))


def test_up_and_back_is_the_same(server, bridge):
    """Also what went through encode() once more; with bigint, 64 bits are not rounded on the way."""
    server.do("mode", codec={"useBigInt64": True})
    client = bridge.client()
    for value in [*TEXTS, *SMALL, *LARGE, None, True, False, [], {}, {"$bin": "AAEC/w=="}]:
        assert repr(send(client, value)) == repr(value)
    assert send(client, NESTED) == {**NESTED, "date": "2020-01-01T00:00:00Z"}


def test_floats_come_back(server, bridge):
    """encode() writes a whole number as an integer, -0.0 too, up to 2^53, and everything else as float64."""
    client = bridge.client()
    for value in FLOATS:
        counts = value.is_integer() and abs(value) < 2**53
        assert repr(send(client, value)) == repr(int(value) if counts else value)


def test_what_a_server_without_bigint_rounds_is_told_as_it_came(server, bridge):
    """Its numbers are doubles: the ack shows what the server has, not what was sent."""
    client = bridge.client()
    assert repr(send(client, 2**64 - 1)) == repr(float(2**64))
    assert repr(send(client, 2**53 - 1)) == repr(2**53 - 1)


# A JavaScript expression -> JSON text that subscribers read
DOWN = [
    ("null", "null"), ("undefined", "null"), ("true", "true"), ("false", "false"), ("[]", "[]"), ("{}", "{}"),
    ("[undefined, null, , 1]", "[null,null,null,1]"), ("{b: 1, a: {c: [{}]}}", '{"b":1,"a":{"c":[{}]}}'),
    ("{2: 'two', 1: 'one', k: 0}", '{"1":"one","2":"two","k":0}'),
    ("0", "0"), ("-1", "-1"), ("4294967295", "4294967295"), ("4294967296", "4294967296"),
    ("-2147483649", "-2147483649"), ("1681900543414", "1681900543414"),
    ("Number.MAX_SAFE_INTEGER", "9007199254740991"), ("Number.MIN_SAFE_INTEGER", "-9007199254740991"),
    ("0.1", "0.1"), ("0.5", "0.5"), ("-0.1", "-0.1"), ("1/3", "0.3333333333333333"),
    ("Number.MIN_VALUE", "5e-324"), ("NaN", "null"), ("Infinity", "null"), ("-Infinity", "null"),
    ("'中文'", '"中文"'), ("'👩‍👩‍👧‍👦'", '"👩‍👩‍👧‍👦"'), (r"'\u{1f600}'", '"😀"'), (r"'\u05d0\u202e'", '"א\u202e"'),
    (r"'a\u2028b'", '"a\u2028b"'), (r"'\0\n\"'", r'"\u0000\n\""'), ("{'中': '文'}", '{"中":"文"}'),
    ("new Uint8Array([0, 1, 2, 255])", '{"$bin":"AAEC/w=="}'), ("new Uint8Array(0)", '{"$bin":""}'),
    ("Buffer.from('hi')", '{"$bin":"aGk="}'), ("new Uint16Array([1, 2])", '{"$bin":"AQACAA=="}'),
    ("new ExtData(5, new Uint8Array([1]))", '{"$ext":{"type":5,"data":"AQ=="}}'),
    ("new ExtData(-100, new Uint8Array([1, 2, 3]))", '{"$ext":{"type":-100,"data":"AQID"}}'),
    ("[new Uint8Array([1]), {at: new Date(0)}]", '[{"$bin":"AQ=="},{"at":"1970-01-01T00:00:00Z"}]'),
]
# The same with useBigInt64: integers beyond 32 bits that are no bigint become floats there
DOWN_BIGINT = [
    ("18446744073709551615n", "18446744073709551615"), ("9223372036854775808n", "9223372036854775808"),
    ("9223372036854775807n", "9223372036854775807"), ("-9223372036854775808n", "-9223372036854775808"),
    ("9007199254740993n", "9007199254740993"), ("0n", "0"), ("-1n", "-1"), ("1n", "1"), ("1", "1"),
]
# By what @msgpack/msgpack makes of them: timestamp 32, 64 and 96
DATES = [
    ("0", "d6ff", "1970-01-01T00:00:00Z"), ("1681900543000", "d6ff", "2023-04-19T10:35:43Z"),
    ("Date.UTC(2024, 1, 29, 23, 59, 59)", "d6ff", "2024-02-29T23:59:59Z"),
    ("(2**32 - 1) * 1000", "d6ff", "2106-02-07T06:28:15Z"),
    ("2**32 * 1000", "d7ff", "2106-02-07T06:28:16Z"),
    ("1681900543414", "d7ff", "2023-04-19T10:35:43.414Z"),
    ("1681900543400", "d7ff", "2023-04-19T10:35:43.4Z"),
    ("1", "d7ff", "1970-01-01T00:00:00.001Z"),
    ("2**32 * 1000 - 1", "d7ff", "2106-02-07T06:28:15.999Z"),
    ("2**34 * 1000 - 1", "d7ff", "2514-05-30T01:53:03.999Z"),
    ("2**34 * 1000", "c70cff", "2514-05-30T01:53:04Z"),
    ("-1", "c70cff", "1969-12-31T23:59:59.999Z"), ("-1000", "c70cff", "1969-12-31T23:59:59Z"),
    ("-1500", "c70cff", "1969-12-31T23:59:58.5Z"),
    ("Date.UTC(1900, 1, 28)", "c70cff", "1900-02-28T00:00:00Z"),
    ("-62135596800000", "c70cff", "0001-01-01T00:00:00Z"),
    ("Date.UTC(9999, 11, 31, 23, 59, 59, 999)", "c70cff", "9999-12-31T23:59:59.999Z"),
]
PREFIX = "82a4636f646500a46461746181a176"


def assert_down(server, subscriber, js, expected):
    pushed = server.push_value(js)
    raw = subscriber.event("MESSAGE").raw.decode()
    assert raw.endswith(f',"code":0,"data":{{"v":{expected}}}}}}}\n'), js
    return pushed["hex"].removeprefix(PREFIX)


def test_down(server, bridge):
    subscriber = bridge.subscriber()
    for js, expected in DOWN:
        assert_down(server, subscriber, js, expected)


def test_down_with_bigint(server, bridge):
    server.do("mode", codec={"useBigInt64": True})
    subscriber = bridge.subscriber()
    for js, expected in DOWN_BIGINT:
        assert_down(server, subscriber, js, expected)


def test_dates(server, bridge):
    subscriber = bridge.subscriber()
    for ms, form, expected in DATES:
        assert assert_down(server, subscriber, f"new Date({ms})", f'"{expected}"').startswith(form)


def test_a_date_that_rfc_3339_cannot_say_stays_an_ext(server, bridge):
    """The last one that JavaScript has, in the year 275760."""
    data = base64.b64encode(struct.pack(">Iq", 0, 8640000000000)).decode()
    assert_down(server, bridge.subscriber(), "new Date(8.64e15)", f'{{"$ext":{{"type":-1,"data":"{data}"}}}}')


def test_floats_down(server, bridge):
    """Whatever its spelling, it reads back as the same double and cannot be taken for an integer."""
    subscriber = bridge.subscriber()
    for value in [value for value in FLOATS if not value.is_integer() or abs(value) >= 2**53]:
        assert server.push_value(repr(value))["hex"] == PREFIX + "cb" + struct.pack(">d", value).hex()
        assert repr(subscriber.event("MESSAGE").params["data"]["v"]) == repr(value)
    server.do("mode", codec={"forceIntegerToFloat": True})
    server.push_value("[-0, 1, -7]")
    assert repr(subscriber.event("MESSAGE").params["data"]["v"]) == "[-0.0, 1.0, -7.0]"


def test_float32(server, bridge):
    server.do("mode", codec={"forceFloat32": True})
    assert_down(server, bridge.subscriber(), "0.1", "0.10000000149011612")


def test_a_lone_surrogate_becomes_replacement_characters(server, bridge):
    """encode() writes half of a pair as it stands, which is not UTF-8."""
    subscriber = bridge.subscriber()
    assert server.push_value(r"'a\ud83db'")["hex"] == PREFIX + "a561eda0bd62"
    text = subscriber.event("MESSAGE").params["data"]["v"]
    assert text[0] + text[-1] == "ab" and set(text[1:-1]) == {"\ufffd"}


def test_bin_sizes(server, bridge):
    subscriber = bridge.subscriber()
    for size in (255, 256, 65535, 65536):
        server.push_value(f"new Uint8Array({size}).fill(7)")
        assert seen(subscriber.event("MESSAGE").params["data"]["v"]) == b"\7" * size


def test_texts_down(server, bridge):
    subscriber = bridge.subscriber()
    for text in TEXTS:
        server.push_value(json.dumps(text))
        assert subscriber.event("MESSAGE").params["data"]["v"] == text
