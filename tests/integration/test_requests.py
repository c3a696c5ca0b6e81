"""Request lines: what is no request, ids, unknown words, pipelining."""

import json
import socket

import pytest


def exchange(client, line):
    """The answer to one line, as an object; the connection must live on."""
    client.write(line)
    answer = json.loads(client.line())
    client.barrier()
    return answer


def error_of(answer, number=None):
    assert answer["jsonrpc"] == "2.0" and answer["id"] == number
    return answer["error"]


def test_hello(bridge):
    result = bridge.client().call("hello")
    assert result["daemon"] == "imd" and result["protocol"] == 1 and result["account"] == "test"
    assert result["version"] and result["limits"]


def test_no_greeting(bridge):
    client = bridge.client()
    client.nothing()


# Row: bad JSON
@pytest.mark.parametrize("line", [
    b"nonsense\n", b"{\n", b'{"jsonrpc":"2.0","id":1,"method":"hello"\n', b"\n", b" \n", b'{"id":01}\n',
    b"{'id':1}\n",
    b'{"jsonrpc":"2.0","id":1,"method":"hello"} x\n', b'{"jsonrpc":"2.0","id":1,"method":"hel\xfflo"}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"a\x01b"}\n', b'{"a":"\\ud800"}\n', b"\x00\n"], ids=range(12))
def test_bad_json(bridge, line):
    error = error_of(exchange(bridge.client(), line))
    assert error["code"] == -32700 and error["data"]["reason"] == "parse_error" and error["message"]


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_too_deep_a_line(bridge, opening):
    error = error_of(exchange(bridge.client(), opening * 5000 + b"\n"))
    assert error["code"] in (-32700, -32602)


def test_bad_json_bytes(bridge):
    client = bridge.client()
    client.write(b"nonsense\n")
    line = client.line()
    assert line.startswith(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"')
    assert line.endswith(b'","data":{"reason":"parse_error"}}}\n')


# Row: too long a line
@pytest.mark.parametrize("filler", [b"x", b'{"a":'], ids=["garbage", "JSON"])
def test_too_long_a_line(server, imd, filler):
    daemon = imd(server.url(), MaxLine="64K")
    client = daemon.client()
    client.write(filler * (1_000_000 // len(filler)) + b"\n")
    error = error_of(json.loads(client.line()))
    assert error["code"] == -78 and error["data"]["reason"] == "too_large"
    client.nothing()


def test_line_of_exactly_the_limit(server, imd):
    daemon = imd(server.url(), MaxLine="64K")
    client = daemon.client()
    request = b'{"jsonrpc":"2.0","id":1,"method":"hello"}'
    client.write(request + b" " * (65536 - 1 - len(request)) + b"\n")
    assert "result" in json.loads(client.line())
    client.write(request + b" " * (65536 + 1 - len(request)) + b"\n")
    assert json.loads(client.line())["error"]["data"]["reason"] == "too_large"
    client.nothing()


def test_line_in_single_bytes(bridge):
    client = bridge.client()
    for byte in b'{"jsonrpc":"2.0","id":"slow","method":"hello"}\n':
        client.write(bytes([byte]))
    assert client.reply("slow")["result"]["daemon"] == "imd"


# Row: unknown method
@pytest.mark.parametrize("method", ["nonsense", "Hello", "hello ", "", "outbox.nonsense", "outbox."])
def test_unknown_method(bridge, method):
    client = bridge.client()
    refused = client.refused(method, {"seq": 1} if method == "ack" else None)
    assert refused.code == -32601 and refused.reason == "method_not_found"
    client.nothing()


# Row: unknown param
@pytest.mark.parametrize("method, params", [
    ("hello", {"typo": 1}), ("status", {"typo": 1}), ("stats", {"typo": None}), ("connect", {"typo": 1}),
    ("subscribe", {"typo": []}), ("subscribe", {"filter": {"typo": ["x"]}}), ("unsubscribe", {"typo": 1}),
    ("send", {"message": {"content": {"message": 1}}, "typo": 1})])
def test_unknown_param(server, bridge, method, params):
    client = bridge.client()
    refused = client.refused(method, params)
    assert refused.code == -32602 and refused.reason == "invalid_params"
    assert "typo" in refused.error["message"]
    assert server.stats()["frames"] == server.stats()["pings"]
    client.nothing()


@pytest.mark.parametrize("params", [
    {"since": 1 << 62}, {"since": "latest"}, {"consumer": ""}, {"events": "MESSAGE"}, {"events": ["NONSENSE"]}, {"events": [1]},
    {"filter": []}, {"filter": {"from": "ann"}}, {"filter": {"from": [1]}}, {"filter": {"conversationType": ["x"]}}])
def test_wrong_subscription(bridge, params):
    client = bridge.client()
    assert client.refused("subscribe", params).code == -32602
    client.nothing()


# Row: duplicate key
@pytest.mark.parametrize("line", [
    b'{"jsonrpc":"2.0","id":1,"id":2,"method":"hello"}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"hello","method":"stats"}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"send","params":{"message":{"content":{"message":1,"message":2}}}}\n',
    b'{"jsonrpc":"2.0","id":1,"method":"send","params":{"message":{"content":{"message":1},"\\u0063ontent":{}}}}\n'],
    ids=["id", "method", "nested", "escaped"])
def test_duplicate_key(server, bridge, line):
    client = bridge.client()
    client.write(line)
    error = json.loads(client.line())["error"]
    assert error["code"] in (-32700, -32600, -32602)
    assert "twice" in error["message"] or "duplicate" in error["message"].lower()
    client.nothing()
    assert server.stats()["frames"] == server.stats()["pings"]


@pytest.mark.parametrize("line", [
    b'[{"jsonrpc":"2.0","id":1,"method":"hello"}]\n', b"[]\n"], ids=["one", "empty"])
def test_batch_is_refused(bridge, line):
    error = error_of(exchange(bridge.client(), line))
    assert error["code"] == -32600 and error["data"]["reason"] == "invalid_request"


@pytest.mark.parametrize("line", [b"1\n", b'"hello"\n', b"null\n", b"{}\n",
                                  b'{"jsonrpc":"2.0","id":null,"method":"hello"}\n',
                                  b'{"jsonrpc":"2.0","id":1.5,"method":"hello"}\n',
                                  b'{"jsonrpc":"2.0","id":[1],"method":"hello"}\n',
                                  b'{"jsonrpc":"2.0","id":true,"method":"hello"}\n'])
def test_no_request(bridge, line):
    error = error_of(exchange(bridge.client(), line))
    assert error["code"] == -32600 and error["data"]["reason"] == "invalid_request"


@pytest.mark.parametrize("line", [b'{"jsonrpc":"2.0","id":7}\n', b'{"jsonrpc":"2.0","id":7,"method":5}\n'])
def test_no_request_but_with_an_id(bridge, line):
    assert error_of(exchange(bridge.client(), line), 7)["code"] == -32600


def test_params_must_be_an_object(bridge):
    error = error_of(exchange(bridge.client(), b'{"jsonrpc":"2.0","id":7,"method":"hello","params":[1]}\n'), 7)
    assert error["code"] in (-32600, -32602)


@pytest.mark.parametrize("number", [
    b"1", b"0", b"-5", b"9007199254740993", b"18446744073709551615", b'"text"', b'""', "\"中文 😀\"".encode(),
    b'"a\\"b\\\\c"', b'"' + b"x" * 200 + b'"'], ids=range(10))
def test_id_comes_back_as_it_was(bridge, number):
    client = bridge.client()
    client.write(b'{"id":' + number + b',"method":"connect","jsonrpc":"2.0"}\n')
    assert client.line() == b'{"jsonrpc":"2.0","id":' + number + b',"result":{"state":"connected"}}\n'
    client.write(b'{"id":' + number + b',"method":"no","jsonrpc":"2.0"}\n')
    assert client.line().startswith(b'{"jsonrpc":"2.0","id":' + number + b',"error":{"code":-32601,')


def test_too_long_an_id(bridge):
    client = bridge.client()
    client.write(b'{"jsonrpc":"2.0","id":"' + b"x" * 1000 + b'","method":"hello"}\n')
    assert json.loads(client.line())["error"]["code"] == -32600
    client.nothing()


def test_many_requests_in_one_write(bridge):
    client = bridge.client()
    client.write(b"".join(client.request_line(f"n{i}", ("hello", "status", "stats")[i % 3]) for i in range(3000)))
    for i in range(3000):
        assert "result" in client.reply(f"n{i}")


def test_half_closed_client_gets_its_answers(server, bridge):
    """printf … | nc -U -N: the writer is done, but reads on."""
    client = bridge.client()
    server.mode(ack="delay", delayMs=100)
    client.request("hello")
    client.send("x")
    client.sock.shutdown(socket.SHUT_WR)
    lines = client.wait_closed()
    assert len(lines) == 2 and all(b'"result"' in line for line in lines)
