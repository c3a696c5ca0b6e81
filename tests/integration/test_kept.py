"""Connections outlive the process: whoever is connected goes on reading, however imd ends."""

import json
import os
import random
import select
import signal
import threading

import pytest

from client import Client, Closed
from manager import Manager
from patience import PATIENCE, SLOW, until

HOWS = [signal.SIGTERM, signal.SIGKILL]


@pytest.fixture
def managed(folder, imd_of, server):
    """managed(Key=value, …): a manager that has started imd, which is connected."""
    made = []

    def make(keeps=True, **keys):
        manager = Manager(folder, imd_of(server.url(), **keys), keeps)
        made.append(manager)
        manager.start()
        wait_connected(manager)
        return manager

    yield make
    for manager in made:
        manager.daemon.stop()
        manager.close()


def wait_connected(manager):
    client = manager.client()
    client.wait_status(lambda s: s["state"] == "connected", "connected")
    client.close()


def seqs(events):
    return [e.params["seq"] for e in events]


@pytest.mark.parametrize("how", HOWS)
def test_a_subscriber_goes_on(managed, server, how):
    manager = managed()
    client = manager.client()
    client.subscribe("MESSAGE")
    manager.wait_kept(1)
    server.push_text("one")
    first = client.event("MESSAGE")
    manager.restart(how)
    wait_connected(manager)
    server.push_text("two")
    second = client.event("MESSAGE")
    assert second.params["seq"] == first.params["seq"] + 1
    assert client.call("hello")
    client.close()
    manager.wait_kept(0)
