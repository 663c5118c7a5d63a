"""Requests to a server of this machine, several at once, and what they cost: its CPU, and how long each takes."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server listens, and the processes that work for it, by what they are; whatever these start counts too."""

    port: int
    processes: dict[str, int]


@dataclass(slots=True)
class Measured:
    """Of one server and one workload, round by round: CPU in ms for a request, and how long each request took."""

    cpu: list[dict[str, float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        cuts = quantiles(self.times, n=100)
        told = {
            "cpu_ms": round(median(sum(parts.values()) for parts in self.cpu), 4),
            "requests_per_second": round(median(self.rates)),
            "p50_ms": round(cuts[49] * 1000, 2),
            "p99_ms": round(cuts[98] * 1000, 2),
        }
        parts = {part: round(median(each[part] for each in self.cpu), 4) for part in self.cpu[0]}
        return told if len(parts) == 1 else {**told, "cpu_ms_of": parts}


def post(body: object, key: str = "") -> bytes:
    content = json.dumps(body).encode()
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    assert head.startswith(b"http/1.1 200"), (head, body)
    return body


async def ask(port: int, request: bytes) -> Any:
    """The one root field that is asked for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = await send(reader, writer, request)
    writer.close()
    answered = json.loads(body)
    assert "errors" not in answered, answered["errors"]
    (found,) = answered["data"].values()
    return found


async def press(port: int, requests: list[bytes], count: int) -> list[float]:
    """Asks so often, over some connections at once; how long each answer took, in seconds."""
    left, times = iter(range(count)), list[float]()

    async def go_on() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in left:
            begun = time.perf_counter()
            await send(reader, writer, requests[number % len(requests)])
            times.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*[go_on() for _ in range(CONNECTIONS)])
    return times


def cpu_seconds(process: int) -> float:
    """Of a process and of all that it has started, those that have ended too."""
    parents, ticks = dict[int, int](), dict[int, int]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            parents[number] = int(fields[1])
            ticks[number] = sum(int(each) for each in fields[11:15])
    family = {process}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[each] for each in family) / os.sysconf("SC_CLK_TCK")


async def measure(server: Server, requests: list[bytes], count: int, into: Measured) -> None:
    before, begun = {part: cpu_seconds(each) for part, each in server.processes.items()}, time.perf_counter()
    into.times += await press(server.port, requests, count)
    into.rates.append(count / (time.perf_counter() - begun))
    spent = {part: cpu_seconds(each) - before[part] for part, each in server.processes.items()}
    into.cpu.append({part: seconds / count * 1000 for part, seconds in spent.items()})


def free_port() -> int:
    """One that nobody listens on, so that no other benchmark's server is measured by mistake."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[int]:
    """A server, once it takes connections; its process."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                asyncio.run(connect(port))
                break
            except OSError:
                assert process.poll() is None, "the server has ended"
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def connect(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
