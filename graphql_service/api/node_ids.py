"""Global Node ids: opaque texts made of a type, a data store and a key, so that no two objects share one."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from graphql_service.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class NodeId:
    """Which object a Node id names: its GraphQL type, its data store and its key in it (none for the data store)."""

    type: str
    datastore_id: str
    key: str = ""

    def encode(self) -> str:
        """The id as URL-safe text without padding."""
        return _encode(
            ":".join((self.type, self.datastore_id, self.key) if self.key else (self.type, self.datastore_id))
        )


def encode_keys(kind: str, datastore_id: str, keys: Sequence[str]) -> list[str]:
    """The ids of many objects of one type and data store."""
    begin = f"{kind}:{datastore_id}:"
    lengths = set(map(len, keys))
    if len(lengths) != 1 or not "".join(keys).isascii():
        return [_encode(begin + key) for key in keys]
    # Base64 makes four characters of three bytes: filled up to these, all are encoded at once, each by itself.
    size = len(begin) + lengths.pop()
    filling = "\0" * (-size % 3)
    encoded = _encode(begin + (filling + begin).join(keys) + filling)
    return [encoded[start : start + (4 * size + 2) // 3] for start in range(0, len(encoded), (size + 2) // 3 * 4)]


def _encode(named: str) -> str:
    return base64.urlsafe_b64encode(named.encode()).decode("ascii").rstrip("=")


def read_node_id(text: str) -> NodeId:
    """What an id that this service gave names. Raises InvalidArgument for every other text."""
    try:
        named = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise _malformed() from None
    kind, _, rest = named.partition(":")
    datastore_id, _, key = rest.partition(":")
    node_id = NodeId(kind, datastore_id, key)
    if not (kind and datastore_id) or node_id.encode() != text:
        raise _malformed()
    return node_id


def _malformed() -> InvalidArgument:
    return InvalidArgument("the Node id is malformed: use the 'id' of an object that this service has given")
