"""Request bodies: read as far as they may reach and no further, unpacked where they are gzip."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import ClientDisconnect, Request

from graphql_service.errors import LimitExceeded

_GZIP: Final = 16 + zlib.MAX_WBITS


class UnreadableBody(Exception):
    """A body in an encoding that is not served, or that is not what its encoding says; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(request: Request, maximum: int) -> bytes:
    """A request's body, unpacked as its Content-Encoding says, of so many bytes at most.

    A small gzip may stand for a large text: no more of it is unpacked than the maximum and one byte. Raises
    UnreadableBody, LimitExceeded, and ClientDisconnect where it ends early.
    """
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit():
        _check(int(told[:18]), maximum)
    encodings = request.headers.getlist("content-encoding")
    if len(encodings) > 1:
        raise UnreadableBody(400, "the header content-encoding stands there more than once")
    encoding = encodings[0].strip().lower() if encodings else ""
    if encoding in ("gzip", "x-gzip"):
        return await _unpack(request.stream(), maximum)
    if encoding not in ("", "identity"):
        raise UnreadableBody(415, "a body may be sent as it is, or in the Content-Encoding gzip")
    return await _read(request, maximum)


async def _read(request: Request, maximum: int) -> bytes:
    """The body as it is; nearly always it is all there, and Starlette's stream costs more than decoding it."""
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        _check(len(body), maximum)
        if not message.get("more_body", False):
            return bytes(body)


async def _unpack(chunks: AsyncIterator[bytes], maximum: int) -> bytes:
    body = bytearray()
    unpacker = zlib.decompressobj(_GZIP)
    packed = 0
    try:
        async for chunk in chunks:
            packed += len(chunk)
            _check(packed, maximum)  # a gzip may go on for ever without anything in it
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
