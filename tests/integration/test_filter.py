"""Filters: a list matches when the event has one of its values; all lists must match."""

import pytest

MESSAGES = [
    {"messageType": "TxtMsg", "conversationType": 0, "from": "ann", "to": "server"},
    {"messageType": "TextMsg", "conversationType": 1, "from": "ann", "to": "me"},
    {"messageType": "ImgMsg", "conversationType": 1, "from": "bob", "to": "me"},
    {"messageType": "FileMsg", "conversationType": 3, "from": "bob", "to": "group"},
    {"messageType": "SignalMsg", "conversationType": 0, "from": "server", "to": "me", "signalName": "typing"},
    {"messageType": "SignalMsg", "conversationType": 5, "from": "server", "to": "me", "signalName": "kick"},
    {"messageType": "MyMsg", "conversationType": 2, "from": "ü\"\\", "to": "me"},
    {"messageType": 5, "conversationType": "1", "from": None},
    {"nothing": True},
]

CASES = [
    ({}, range(9)),
    ({"messageType": ["TxtMsg"]}, None),
    ({"messageType": ["text"]}, [0, 1]),
    ({"messageType": ["image"]}, [2]),
    ({"messageType": ["ImgMsg"]}, [2]),
    ({"messageType": ["file"]}, [3]),
    ({"messageType": ["FileMsg"]}, [3]),
    ({"messageType": ["signal"]}, [4, 5]),
    ({"messageType": ["SignalMsg"]}, [4, 5]),
    ({"messageType": ["MyMsg"]}, [6]),
    ({"messageType": ["text", "file", "MyMsg"]}, [0, 1, 3, 6]),
    ({"messageType": ["Text"]}, []),
    ({"conversationType": [0]}, [0, 4]),
    ({"conversationType": [1, 5]}, [1, 2, 5]),
    ({"from": ["ann"]}, [0, 1]),
    ({"from": ["ann", "bob"]}, [0, 1, 2, 3]),
    ({"from": ["an"]}, []),
    ({"from": ["ü\"\\"]}, [6]),
    ({"to": ["me"]}, [1, 2, 4, 5, 6]),
    ({"signalName": ["typing"]}, [4]),
    ({"signalName": ["typing", "kick"]}, [4, 5]),
    ({"messageType": ["text"], "to": ["me"]}, [1]),
    ({"from": ["bob"], "conversationType": [1], "messageType": ["image", "file"], "to": ["me"]}, [2]),
    ({"from": ["bob"], "signalName": ["typing"]}, []),
]


def test_filters(server, bridge):
    """One subscriber a case; a marker that each filter lets through shows that all is there."""
    everything = bridge.subscriber("MESSAGE")
    subscribers = [bridge.subscriber("MESSAGE", **filters) for filters, _ in CASES]
    for number, message in enumerate(MESSAGES):
        server.push({"code": 0, "data": {**message, "n": number}})
    assert len(everything.messages(len(MESSAGES))) == len(MESSAGES)
    for subscriber, (filters, expected) in zip(subscribers, CASES):
        subscriber.barrier()
        got = [event.params["data"]["n"] for event in subscriber.events_waiting]
        if expected is None:  # the wire name of text: the alias may count or not
            assert 0 in got and set(got) <= {0, 1}
        else:
            assert got == list(expected), filters


def test_conversation_types_of_the_protocol(server, bridge):
    subscribers = [bridge.subscriber("MESSAGE", conversationType=[number]) for number in range(6)]
    for number in range(6):
        server.push_text("x", conversationType=number)
    for number, subscriber in enumerate(subscribers):
        assert subscriber.event("MESSAGE").params["data"]["conversationType"] == number
        subscriber.nothing()


def test_status_passes_every_filter(bridge):
    subscriber = bridge.subscriber("MESSAGE", "STATUS", **{"from": ["nobody"]})
    bridge.client().call("disconnect")
    assert subscriber.event("STATUS").params["state"] == "disconnected"


def test_filter_on_sent(server, bridge):
    subscriber = bridge.subscriber("SENT", to=["b"])
    client = bridge.client()
    for to in ("a", "b", "c"):
        client.call("send", message={"conversationType": 1, "to": to, "content": {"message": to}})
    assert subscriber.event("SENT").params["data"]["to"] == "b"
    subscriber.nothing()


@pytest.mark.parametrize("count", [1000])
def test_a_filter_that_takes_every_tenth(server, bridge, count):
    subscriber, everything = bridge.subscriber("MESSAGE", **{"from": ["ann"]}), bridge.subscriber("MESSAGE")
    for n in range(count):
        server.push_text(n, **{"from": "ann" if n % 10 == 0 else "bob"})
    everything.messages(count)
    subscriber.barrier()
    assert [e.params["data"]["content"]["message"] for e in subscriber.events_waiting] == list(range(0, count, 10))
    assert subscriber.call("stats")["gaps"] == 0
