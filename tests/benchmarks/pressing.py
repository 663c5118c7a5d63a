"""As many requests as a server answers, over some connections at once, at little cost to the processor.

Requests are bytes, sent as they are; of an answer the status and the length are read and nothing else.
"""

import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Pressed:
    """How long it took, and how much of that this process was at work."""

    requests: int
    seconds: float
    own_cpu_seconds: float


class _Connection:
    """Sends one request after the other, each once the one before is answered."""

    def __init__(self, port: int, requests: Iterator[bytes]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = requests
        self._head = b""
        #: Bytes of the answer that are still to come, once its head is there.
        self._left = 0

    def send(self) -> bool:
        """Sends the next request, if there is one."""
        request = next(self._requests, None)
        if request is not None:
            self.socket.sendall(request)
        return request is not None

    def receive(self, buffer: bytearray) -> bool:
        """Reads what has come; whether the answer is complete."""
        count = self.socket.recv_into(buffer)
        assert count, "the server has closed the connection"
        if not self._left:
            self._head += bytes(memoryview(buffer)[:count])
            end = self._head.find(_END)
            if end < 0:
                return False
            head = self._head[:end].lower()
            assert head.startswith(b"http/1.1 200"), self._head
            length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r")[0])
            self._left, count, self._head = end + len(_END) + length, len(self._head), b""
        self._left -= count
        return self._left == 0


def press(port: int, requests: Sequence[bytes], count: int, connections: int) -> Pressed:
    """Asks so often in all, each connection as soon as it is answered."""
    buffer = bytearray(1 << 18)
    asked = islice(cycle(requests), count)
    poll = select.epoll()
    opened = {each.socket.fileno(): each for each in (_Connection(port, asked) for _ in range(connections))}
    begun, own = time.perf_counter(), time.process_time()
    running = 0
    for descriptor, each in opened.items():
        poll.register(descriptor, select.EPOLLIN)
        running += each.send()
    while running:
        for descriptor, _ in poll.poll():
            each = opened[descriptor]
            if each.receive(buffer) and not each.send():
                running -= 1
    pressed = Pressed(count, time.perf_counter() - begun, time.process_time() - own)
    poll.close()
    for each in opened.values():
        each.socket.close()
    return pressed
