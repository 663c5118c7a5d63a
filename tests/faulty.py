"""A proxy on this machine that does to single requests what networks and services do to them."""

import http.client
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

#: What becomes of a request. A number is the status of an error of that kind; "cut" ends the answer in its middle.
Fault: TypeAlias = Literal["none", "drop", "cut", "stall"] | int

_KINDS = {400: "ValidationException", 403: "AccessDeniedException", 404: "ResourceNotFoundException",
          409: "ConflictException", 429: "ThrottlingException", 500: "InternalServerException"}  # fmt: skip


@dataclass
class Faults:
    """Those of the next searches, in order, then none; and when every search came in (`time.monotonic`)."""

    target: str
    url: str = ""
    next: deque[Fault] = field(default_factory=deque)
    message: str = "no"
    stall: float = 30
    arrivals: list[float] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, path: str) -> Fault:
        if "/searchImageSets" not in path:
            return "none"
        with self.lock:
            self.arrivals.append(monotonic())
            return self.next.popleft() if self.next else "none"


@contextmanager
def faulty(target: str) -> Iterator[Faults]:
    """A proxy in front of the service at this address, on a free port."""
    faults = Faults(target)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"faults": faults}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    faults.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield faults
    finally:
        faults.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    faults: Faults
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        fault = self.faults.take(self.path)
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "stall":
            self.faults.over.wait(self.faults.stall)
            self.close_connection = True
            return
        if isinstance(fault, int):
            content = f'{{"message": "{self.faults.message}"}}'.encode()
            self._send(fault, {"x-amzn-ErrorType": _KINDS.get(fault, "Strange")}, content, len(content))
            return
        status, headers, content = self._forward(body)
        self._send(status, headers, content[: len(content) // 2] if fault == "cut" else content, len(content))
        self.close_connection |= fault == "cut"

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.faults.target).netloc, timeout=10)
        try:
            connection.request(self.command, self.path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            kept = ("content-type", "content-encoding", "x-amzn-errortype")
            return (
                response.status,
                {name: response.headers[name] for name in kept if name in response.headers},
                (response.read()),
            )
        except OSError:
            return 503, {}, b"{}"
        finally:
            connection.close()

    def _send(self, status: int, headers: dict[str, str], content: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in (headers | {"content-length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
