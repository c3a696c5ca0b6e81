"""One daemon and server.mjs: every kind of message up, its ack down, pushes, pings."""

import json
import os
import uuid

import pytest

from javascript import seen
from node_server import HERE

IMAGE = {"$bin": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB/w=="}
MESSAGES = {
    "text by default": {"content": {"message": "hello"}},
    "TxtMsg": {"messageType": "TxtMsg", "content": {"message": "你好,世界", "mentioned": ["ann"]}},
    "TextMsg": {"messageType": "TextMsg", "content": {"message": "as awesome-im's README writes it"}},
    "ImgMsg": {"messageType": "ImgMsg", "content": {"message": IMAGE, "width": 1, "height": 1}},
    "FileMsg": {"messageType": "FileMsg", "content": {"message": {"name": "报告.pdf", "size": 5000000000}}},
    "SignalMsg": {"messageType": "SignalMsg", "signalName": "start"},
    "SignalMsg with content": {"messageType": "SignalMsg", "signalName": "登录", "content": {"message": None}},
    "a type of our own": {"messageType": "app:Location", "content": {"message": {"lat": -33.8688}}},
    "further keys": {"content": {"message": 1, "x": {"y": [{}]}}, "extra": [1, [2, [3]]], "pushId": None},
}


def assert_ack(ack, sent):
    """The ack is what was sent, with the server's time."""
    assert list(ack) == ["code", "data"] and ack["code"] == 0
    data = dict(ack["data"])
    assert data.pop("time") > 1_600_000_000_000
    assert data == sent


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_every_message_type(server, bridge, message):
    client, subscriber = bridge.client(), bridge.subscriber("MESSAGE", "SENT")
    ack = client.call("send", message=message)
    [got] = server.messages()
    assert str(uuid.UUID(got["messageId"])) == got["messageId"]
    assert got["sentTime"] > 1_600_000_000_000
    sent = {"messageType": "TxtMsg", "conversationType": 0, "from": "me", "to": "server",
            "messageDirection": 1, "messageId": got["messageId"], "sentTime": int(got["sentTime"]), **message}
    assert sorted(map(repr, got.items())) == sorted(map(repr, seen(sent).items()))
    assert_ack(ack, sent)
    assert subscriber.event("SENT").params["data"] == ack["data"]
    subscriber.nothing()


@pytest.mark.parametrize("kind", range(6))
def test_every_conversation_type(server, bridge, kind):
    client = bridge.client()
    content = {"message": "发送一条会话消息"}
    ack = client.call("send", message={"conversationType": kind, "from": "a", "to": "b", "content": content})
    [got] = server.messages()
    assert repr((got["conversationType"], got["from"], got["to"])) == repr((float(kind), "a", "b"))
    assert ack["data"]["conversationType"] == kind
    if kind != 0:
        refusal = client.refused("send", message={"conversationType": kind, "content": content})
        assert refusal.reason == "invalid_params"


def test_an_id_of_the_callers_own(server, bridge):
    ack = bridge.client().call("send", message={"messageId": "order-7 №", "content": {"message": 1}})
    assert ack["data"]["messageId"] == server.messages()[0]["messageId"] == "order-7 №"


def test_pipelined_sends_arrive_in_order(server, bridge):
    client = bridge.client()
    numbers = [client.send(f"no. {i}") for i in range(200)]
    answers = [client.result(number)["data"]["content"]["message"] for number in numbers]
    assert answers == [f"no. {i}" for i in range(200)]
    assert [message["content"]["message"] for message in server.messages()] == answers


def test_rejection(server, bridge):
    server.do("mode", reject={"code": 21, "errMsg": "不允许"})
    client, subscriber = bridge.client(), bridge.subscriber("MESSAGE")
    refusal = client.refused("send", message={"messageId": "r1", "content": {"message": "no"}})
    assert (refusal.reason, refusal.code, refusal.data["messageId"]) == ("rejected", -76, "r1")
    envelope = refusal.data["envelope"]
    assert (envelope["code"], envelope["errMsg"]) == (21, "不允许")
    [got] = server.messages()
    assert seen(envelope["data"]) == {**got, "sentTime": float(got["sentTime"])}
    server.do("mode", reject=False)
    assert client.result(client.send("yes"))["code"] == 0
    subscriber.nothing()


PUSHES = {
    "the push of awesome-im's README": (
        """{code: 0, errMsg: "success!", data: {messageType: "SignalMsg", sentTime: 1681900543414,
            messageUId: "CBE5-1922-F8C9-730B", conversationType: 0, to: "allen", signalName: "login",
            from: "server", content: {message: "一条服务端发送的消息"}, messageDirection: 2}}""",
        '"code":0,"errMsg":"success!","data":{"messageType":"SignalMsg","sentTime":1681900543414,'
        '"messageUId":"CBE5-1922-F8C9-730B","conversationType":0,"to":"allen","signalName":"login",'
        '"from":"server","content":{"message":"一条服务端发送的消息"},"messageDirection":2}'),
    "notice": ('{errMsg: "close", code: 4}', '"errMsg":"close","code":4'),
    "no envelope": ("[1, new Date(0)]", '"data":[1,"1970-01-01T00:00:00Z"]'),
    "undefined data": ("{code: 0, data: undefined}", '"code":0,"data":null'),
}


@pytest.mark.parametrize("js, expected", PUSHES.values(), ids=PUSHES)
def test_push(server, bridge, js, expected):
    subscriber = bridge.subscriber()
    server.push(js)
    raw = subscriber.event("MESSAGE").raw.decode()
    assert raw.endswith("," + expected + "}}\n")


def test_filters_by_name(server, bridge):
    texts = bridge.subscriber(messageType=["text"])
    for kind in ("SignalMsg", "TxtMsg", "ImgMsg", "TextMsg"):
        server.push(f"{{code: 0, data: {{messageType: '{kind}'}}}}")
    assert [event.params["data"]["messageType"] for event in texts.messages(2)] == ["TxtMsg", "TextMsg"]
    texts.nothing()


def test_pings_are_echoed_and_nobodys_message(server, imd):
    daemon = imd(server.url(), PingGap="100ms").connected()
    subscriber = daemon.subscriber("MESSAGE", "SENT")
    server.wait("pings", min=3)
    server.wait("wsPings", min=3)
    daemon.client().wait_stats(lambda s: s["pongsReceived"] >= 3, "pongs come")
    assert daemon.client().wait_status(lambda s: "rttMs" in s, "a round trip is known")["rttMs"] >= 0
    subscriber.nothing()
    assert daemon.client().call("stats")["foreignPings"] == 0
    assert server.stats()["badFrames"] == 0


def test_compression_is_never_negotiated(server, bridge):
    """The server would agree to permessage-deflate if imd offered it."""
    [link] = server.stats()["links"]
    assert (link["offered"], link["agreed"]) == ("", "")
    assert bridge.client().call("send", message={"content": {"message": "a" * 100_000}})["code"] == 0


def test_sigterm_closes_with_1001(server, bridge):
    bridge.stop()
    server.wait_closed(1)
    assert server.stats()["links"][0]["code"] == 1001


def test_the_lockfile_names_no_host():
    with open(os.path.join(HERE, "package-lock.json")) as f:
        text = f.read()
    assert "://" not in text and "resolved" not in text
    assert all("integrity" in package for name, package in json.loads(text)["packages"].items() if name)
