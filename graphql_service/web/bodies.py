"""Request bodies: read as far as they may reach and no further, unpacked where they are gzip."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import Final

from graphql_service.errors import LimitExceeded

_GZIP: Final = 16 + zlib.MAX_WBITS


class UnreadableBody(Exception):
    """A body in an encoding that is not served, or that is not what its encoding says; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(chunks: AsyncIterator[bytes], encoding: str, maximum: int) -> bytes:
    """A body in this Content-Encoding, unpacked. Raises UnreadableBody, and LimitExceeded beyond the maximum.

    A small gzip may stand for a large text: no more of it is unpacked than the maximum and one byte.
    """
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise UnreadableBody(415, "a body may be sent as it is, or in the Content-Encoding gzip")
    body = bytearray()
    if encoding in ("", "identity"):
        async for chunk in chunks:
            body += chunk
            _check(len(body), maximum)
        return bytes(body)
    unpacker = zlib.decompressobj(_GZIP)
    try:
        async for chunk in chunks:
            if unpacker.eof and chunk:
                raise UnreadableBody(400, "the body goes on behind the end of its gzip")
            body += unpacker.decompress(chunk, maximum + 1 - len(body))
            _check(len(body), maximum)
    except zlib.error:
        raise UnreadableBody(400, "the body is not gzip, as its Content-Encoding says") from None
    if not unpacker.eof or unpacker.unused_data:
        raise UnreadableBody(400, "the body is not one whole gzip")
    return bytes(body)


def _check(size: int, maximum: int) -> None:
    if size > maximum:
        raise LimitExceeded("body_bytes", maximum, size, "bytes in the request's body")
