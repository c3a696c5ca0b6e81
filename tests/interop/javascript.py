"""JavaScript's values in Python: what the server decoded, and what it should have.

A JS number is a float here and a bigint an int, null is None, a Uint8Array bytes. Compare with repr(): that
tells 1 from 1.0, -0.0 from 0.0 and True from 1, and minds the order of keys.
"""

import base64
import collections

Date = collections.namedtuple("Date", "ms")
ExtData = collections.namedtuple("ExtData", "type data")

_PARSERS = {
    "null": lambda: None,
    "boolean": bool,
    "string": str,
    "number": float,
    "bigint": int,
    "Date": Date,
    "Uint8Array": bytes.fromhex,
    "ExtData": lambda type, data: ExtData(type, bytes.fromhex(data)),
    "Array": lambda items: [parse(item) for item in items],
    "object": lambda entries: {key: parse(value) for key, value in entries},
}


def parse(described):
    """From the server's [type, …]."""
    kind, *rest = described
    return _PARSERS[kind](*rest)


def _timestamp(data):
    """The 32-bit form is enough for what the tests send."""
    assert len(data) == 4
    return Date(int.from_bytes(data, "big") * 1000)


def _integer(value, bigint):
    """With useBigInt64 what takes 64 bits on the wire is a bigint, and nothing else is."""
    return value if bigint and not -2**31 <= value < 2**32 else float(value)


def seen(value, bigint=False):
    """What JS must have decoded when a program gave imd this JSON value."""
    if isinstance(value, list):
        return [seen(item, bigint) for item in value]
    if isinstance(value, dict):
        if list(value) == ["$bin"]:
            return base64.b64decode(value["$bin"])
        if list(value) == ["$ext"]:
            data = base64.b64decode(value["$ext"]["data"])
            return _timestamp(data) if value["$ext"]["type"] == -1 else ExtData(value["$ext"]["type"], data)
        return {key: seen(item, bigint) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(value, bigint)
    return value
