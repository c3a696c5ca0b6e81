"""A send and its one end: acked, rejected or unknown."""

import json
import re

import msgpack
import pytest

UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


def waiting_sends(daemon):
    return daemon.client().call("status")["pending"]


# Row: ack
def test_ack_is_the_servers_envelope_whole(server, bridge):
    client = bridge.client()
    result = client.result(client.send("hello"))
    assert list(result) == ["code", "data", "errMsg"]
    assert result["code"] == 0 and result["errMsg"] == "success!"
    data = result["data"]
    assert data["content"] == {"message": "hello"}
    assert data["messageDirection"] == 2 and "messageUId" in data and "time" in data
    sent = server.messages()[0]
    assert sent["messageId"] == data["messageId"]
    stats = client.call("stats")
    assert (stats["acks"], stats["rejections"], stats["unknowns"]) == (1, 0, 0)
    assert waiting_sends(bridge) == 0


def test_reply_bytes(bridge):
    client = bridge.client()
    client.write(b'{"jsonrpc":"2.0","id":"a\\u00e4","method":"send","params":{"message":'
                 b'{"messageId":"m1","from":"f","sentTime":5,"content":{"message":"x"}}}}\n')
    line = client.line()
    assert re.fullmatch(
        rb'\{"jsonrpc":"2\.0","id":"a\\u00e4","result":\{"code":0,"data":\{"messageId":"m1","from":"f",'
        rb'"sentTime":5,"content":\{"message":"x"\},"messageType":"TxtMsg","conversationType":0,"to":"server",'
        rb'"messageDirection":2,'
        rb'"messageUId":"[^"]+","time":[0-9]+\},"errMsg":"success!"\}\}\n', line), line


def test_defaults(server, bridge):
    client = bridge.client()
    client.result(client.send("hello"))
    sent = server.messages()[0]
    assert UUID.match(sent.pop("messageId"))
    assert sent.pop("sentTime") > 1_600_000_000_000
    assert sent == {"content": {"message": "hello"}, "messageType": "TxtMsg", "conversationType": 0, "from": "me",
                    "to": "server", "messageDirection": 1}


def test_what_the_caller_gave_passes_untouched(server, bridge):
    message = {"messageType": "MyMsg", "messageId": "my-own", "conversationType": 3, "from": "other", "to": "group-1",
               "sentTime": 7, "extra": [1, {"a": None}], "content": {"message": {"any": "value"}, "more": True}}
    result = bridge.client().call("send", message=message)
    assert server.messages()[0] == {**message, "messageDirection": 1}
    assert result["data"]["messageId"] == "my-own"


@pytest.mark.parametrize("conversation", range(6))
def test_conversation_types(server, bridge, conversation):
    client = bridge.client()
    if conversation:
        refused = client.refused("send", message={"conversationType": conversation, "content": {"message": "x"}})
        assert refused.reason == "invalid_params" and "to" in refused.error["message"]
    client.call("send", message={"conversationType": conversation, "to": "you", "content": {"message": "x"}})
    assert server.messages()[0]["conversationType"] == conversation


def test_signal(server, bridge):
    client = bridge.client()
    client.call("send", message={"messageType": "SignalMsg", "signalName": "typing"})
    assert server.messages()[0]["signalName"] == "typing"
    refused = client.refused("send", message={"messageType": "SignalMsg"})
    assert refused.reason == "invalid_params" and "signalName" in refused.error["message"]


@pytest.mark.parametrize("message", [
    {"messageType": 5}, {"messageType": ""}, {"messageId": ""}, {"messageId": "x" * 129}, {"messageId": 1},
    {"conversationType": 6}, {"conversationType": -1}, {"conversationType": "0"}, {"from": 1}, {"to": []},
    {"sentTime": "now"}, {"content": "text"}, {"content": {"message": {"$file": "/etc/passwd"}}},
    {"content": {"message": {"$bin": "no base64!"}}}])
def test_wrong_message(server, bridge, message):
    assert bridge.client().refused("send", message=message).code == -32602
    assert server.stats()["frames"] == server.stats()["pings"]


def test_message_is_required(bridge):
    client = bridge.client()
    assert client.refused("send").code == -32602
    assert client.refused("send", message="text").code == -32602
    assert client.refused("send", message={"content": {"message": 1}}, timeoutMs="1").code == -32602


# Row: rejection
def test_rejection(server, bridge):
    server.mode(ack="reject", code=9, errMsg="not today")
    client = bridge.client()
    refused = client.refused("send", message={"messageId": "r1", "content": {"message": "x"}})
    assert refused.code == -76
    assert refused.data == {"reason": "rejected", "messageId": "r1",
                            "envelope": {"code": 9, "errMsg": "not today", "data": {"messageId": "r1"}}}
    stats = client.call("stats")
    assert (stats["acks"], stats["rejections"]) == (0, 1)


# Row: timeout
def test_timeout_and_the_late_ack(server, bridge):
    server.mode(ack="swallow")
    client = bridge.client()
    subscriber = bridge.subscriber("SENT", "MESSAGE")
    refused = client.refused("send", message={"messageId": "t1", "content": {"message": "x"}}, timeoutMs=200)
    assert refused.code == -124
    assert refused.data == {"reason": "unknown", "messageId": "t1"}
    assert waiting_sends(bridge) == 0
    subscriber.nothing()
    # The late ack comes as SENT, and the caller is not answered twice.
    envelope = {"code": 0, "data": {"messageId": "t1", "content": {"message": "x"}}, "errMsg": "success!"}
    server.push(envelope)
    assert subscriber.event("SENT").params["data"]["messageId"] == "t1"
    client.nothing()
    assert client.call("stats")["unknowns"] == 1


def test_configured_timeout(server, imd):
    server.mode(ack="swallow")
    daemon = imd(server.url(), AckTimeout="200ms").connected()
    client = daemon.client()
    assert client.refusal(client.send("x")).reason == "unknown"


# Row: lost link
def test_lost_link_answers_all_waiting_sends_at_once(server, bridge):
    server.mode(ack="swallow")
    client, other = bridge.client(), bridge.client()
    numbers = [client.send(f"{i}") for i in range(5)]
    last = other.send("from another")
    server.wait_frames(6)
    server.do("drop")
    for number in numbers:
        refused = client.refusal(number)
        assert refused.code == -124 and refused.data["messageId"]
    assert other.refusal(last).reason == "unknown"
    assert client.call("stats")["unknowns"] == 6
    bridge.connected()
    # They are not sent again.
    server.mode(ack="echo")
    client.result(client.send("after"))
    assert [m["content"]["message"] for m in server.messages()][-1] == "after"
    assert server.stats()["frames"] - server.stats()["pings"] == 7


def test_not_connected_is_told_at_once(server, bridge):
    client = bridge.client()
    client.call("disconnect")
    refused = client.refused("send", message={"content": {"message": "x"}})
    assert refused.code == -69 and refused.data == {"reason": "not_connected"}
    client.call("connect")
    bridge.connected()
    client.result(client.send("y"))
    assert [m["content"]["message"] for m in server.messages()] == ["y"]


def test_not_connected_bytes(bridge):
    client = bridge.client()
    client.call("disconnect")
    client.write(b'{"jsonrpc":"2.0","id":7,"method":"send","params":{"message":{"content":{"message":"x"}}}}\n')
    assert client.line() == (b'{"jsonrpc":"2.0","id":7,"error":{"code":-69,"message":"not connected to the server; '
                             b'nothing was sent","data":{"reason":"not_connected"}}}\n')


# Row: duplicate ack
def test_duplicate_ack(server, bridge):
    server.mode(ack="duplicate")
    client = bridge.client()
    subscriber = bridge.subscriber("MESSAGE", "SENT")
    number = client.send("x")
    client.result(number)
    assert subscriber.event("SENT").params["data"]["content"]["message"] == "x"
    server.push_text("marker")
    assert subscriber.event().params["data"]["content"]["message"] == "marker"
    client.nothing()
    assert client.call("stats")["duplicateAcks"] == 1


# Row: foreign messageId
def test_foreign_message_id_is_a_message(server, bridge):
    client = bridge.client()
    server.mode(ack="swallow")
    number = client.send("mine")
    subscriber = bridge.subscriber()
    foreign = "00000000-1111-4222-8333-444444444444"
    server.push_text("theirs", messageId=foreign)
    assert subscriber.event("MESSAGE").params["data"]["messageId"] == foreign
    # It acked nothing.
    assert waiting_sends(bridge) == 1
    server.wait_frames(1)
    mine = server.messages()[0]["messageId"]
    server.push({"code": 0, "data": {"messageId": mine}})
    assert client.result(number) == {"code": 0, "data": {"messageId": mine}}
    subscriber.nothing()


def test_two_accounts_see_each_others_messages(server, imd):
    one, two = imd(server.url(), UserId="one").connected(), imd(server.url(), UserId="two").connected()
    subscriber = two.subscriber()
    client = one.client()
    result = client.result(client.send("from one"))
    event = subscriber.event("MESSAGE")
    assert event.params["data"] == result["data"] and event.params["data"]["from"] == "one"
    own = one.subscriber()
    client.result(client.send("again"))
    own.nothing()


def test_sent_goes_only_to_those_who_asked(server, bridge):
    asked, usual = bridge.subscriber("SENT"), bridge.subscriber()
    before = bridge.client().call("status")["seq"]
    client = bridge.client()
    result = client.result(client.send("x"))
    sent = asked.event("SENT").params
    assert sent["data"] == result["data"] and sent["seq"] == before + 1
    server.mode(ack="reject", code=3)
    client.refusal(client.send("y"))
    assert asked.event("SENT").params["code"] == 3
    usual.nothing()
    # They took their seq all the same.
    server.push_text("z")
    assert usual.event("MESSAGE").params["seq"] == before + 3


def test_a_message_id_in_use_is_refused(server, bridge):
    server.mode(ack="swallow")
    client = bridge.client()
    message = {"messageId": "twice", "content": {"message": "x"}}
    first = client.request("send", message=message)
    assert client.refused("send", message=message).reason == "conflict"
    server.wait_frames(1)
    server.push({"code": 0, "data": {"messageId": "twice"}})
    assert client.result(first)["code"] == 0
    assert len(server.received()) == 1


# Row: pipelined sends arrive in order
def test_pipelined_sends_arrive_in_order(server, bridge):
    client = bridge.client()
    count = 1000
    lines = b"".join(client.request_line(f"id{i}", "send", {"message": {"content": {"message": i}}})
                     for i in range(count))
    client.write(lines)
    answers = [client.reply(f"id{i}") for i in range(count)]
    assert [a["result"]["data"]["content"]["message"] for a in answers] == list(range(count))
    assert [m["content"]["message"] for m in server.messages()] == list(range(count))


def test_sends_of_a_client_that_leaves_are_still_done(server, bridge):
    server.mode(ack="delay", delayMs=100)
    subscriber = bridge.subscriber("SENT")
    client = bridge.client()
    client.write(b"".join(client.request_line(i, "send", {"message": {"content": {"message": i}}})
                          for i in range(10)))
    client.close()
    assert [subscriber.event("SENT").params["data"]["content"]["message"] for i in range(10)] == list(range(10))
    assert waiting_sends(bridge) == 0


def test_notification_is_done_and_never_answered(server, bridge):
    client = bridge.client()
    subscriber = bridge.subscriber("SENT")
    client.notify("send", {"message": {"content": {"message": "quiet"}}})
    client.notify("no such method")
    client.notify("send", {"nonsense": 1})
    subscriber.event("SENT")
    server.mode(ack="reject")
    client.notify("send", {"message": {"content": {"message": "rejected"}}})
    subscriber.event("SENT")
    client.nothing()
    assert [m["content"]["message"] for m in server.messages()] == ["quiet", "rejected"]


def test_stats_have_the_promised_counters(server, bridge):
    client = bridge.client()
    client.result(client.send("x"))
    stats = client.call("stats")
    names = ("framesIn framesOut bytesIn bytesOut events deliveries acks rejections unknowns duplicateAcks "
             "foreignPings badFrames textFrames reconnects pingsSent pongsReceived drops gaps clients subscribers "
             "accepted requests").split()
    assert [name for name in names if not isinstance(stats.get(name), int)] == []
    assert stats["framesOut"] >= 1 and stats["framesIn"] >= 1 and stats["bytesOut"] > 0 and stats["bytesIn"] > 0
    assert stats["clients"] >= 1 and stats["accepted"] >= stats["clients"] and stats["requests"] >= 2


def test_frame_is_one_binary_message(server, bridge):
    client = bridge.client()
    client.call("send", message={"messageId": "m", "from": "f", "sentTime": 1, "content": {"message": "ä"}})
    frame = server.received()[0]
    assert frame == msgpack.packb({"messageId": "m", "from": "f", "sentTime": 1, "content": {"message": "ä"},
                                   "messageType": "TxtMsg", "conversationType": 0, "to": "server",
                                   "messageDirection": 1})
    assert server.stats()["text"] == 0
    assert json.dumps(client.call("status")["pending"]) == "0"
