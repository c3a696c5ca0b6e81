"""Large messages and messages in fragments, with a ping between any two of them."""

import pytest

MIB = 1 << 20


def test_5_mb_both_ways(server, imd):
    """Up, and down again as the ack; down to another account as a MESSAGE."""
    sender, other = [imd(server.url(), UserId=user, MaxLine="16M").connected() for user in ("ann", "bob")]
    subscriber = other.subscriber()
    text = "大消息😀" * (5 * MIB // 13)
    client = sender.client()
    back = client.result(client.send(text))["data"]
    assert back["content"]["message"] == text
    [got] = server.messages()
    assert got["content"]["message"] == text
    data = subscriber.event("MESSAGE").params["data"]
    assert data["messageId"] == back["messageId"] and data["content"]["message"] == text
    assert [link["code"] for link in server.stats()["links"]] == [None, None]


@pytest.mark.parametrize("fragments", [2, 7, 50])
def test_fragments_with_pings_between(server, bridge, fragments):
    """The server goes on only when a ping's pong is there, thus it must come in the middle of the message."""
    subscriber = bridge.subscriber()
    server.push("{code: 0, data: {v: '片段😀'.repeat(500)}}", fragments=fragments)
    server.push_value("'next'")
    first, second = subscriber.messages(2)
    assert first.params["data"]["v"] == "片段😀" * 500
    assert second.params["data"]["v"] == "next"


def test_5_mb_in_fragments_with_pings_between(server, bridge):
    subscriber = bridge.subscriber()
    server.push(f"{{code: 0, data: {{v: 'x'.repeat({5 * MIB})}}}}", fragments=7)
    assert subscriber.event("MESSAGE").params["data"]["v"] == "x" * (5 * MIB)


def test_a_fragment_for_each_byte(server, bridge):
    subscriber = bridge.subscriber()
    size = server.push_value("'中'")["size"]
    server.push_value("'中'")
    server.push("{code: 0, data: {v: '中'}}", fragments=size)
    lines = [event.raw.split(b'"code"')[1] for event in subscriber.messages(3)]
    assert lines[0] == lines[1] == lines[2]
