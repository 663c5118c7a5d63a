"""What becomes of the service when twice as much is asked of it as it can answer.

    python -m tests.benchmarks.overload_benchmark [--seconds 600] [--rows 100000]

First its capacity is measured; then requests arrive at twice that rate, whatever becomes of those before them, for so
many seconds; then its capacity once more. All from this machine: the generator takes part of it.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from graphql_service.stores.sqlite import SQLiteStore
from tests.live import DATASTORE, make_image_sets, make_queries

PORT = 8947
DOCUMENT = (
    "query ($q: String) { imageSets(query: $q) { nodes { imageSetId updatedAt patient { patientId name }"
    " study { description date } series { modality } } pageInfo { hasNextPage endCursor } } }"
)
BROKEN = (b"{", b"null", json.dumps({"query": "{ nothing }"}).encode(), json.dumps({"query": "{ a" * 50}).encode())


class Load:
    """Requests over as many connections as they need, and what became of them."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.statuses: Counter[str] = Counter()
        self.times: list[float] = []

    async def ask(self) -> None:
        begun = time.perf_counter()
        # The service closes a connection that is idle for some seconds.
        self.idle = [each for each in self.idle if not each[0].at_eof()]
        try:
            reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", PORT)
            body = random.choice(self.bodies)  # noqa: S311 - nothing is secret here
            writer.write(
                b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.statuses[type(error).__name__] += 1
            return
        self.idle.append((reader, writer))
        status = head[9:12].decode()
        self.statuses[status] += 1
        if status != "503":
            self.times.append(time.perf_counter() - begun)

    async def saturate(self, seconds: float, connections: int = 16) -> float:
        """Requests a second, as many as so many connections can ask for."""
        end, before = time.perf_counter() + seconds, self.statuses.total()

        async def go_on() -> None:
            while time.perf_counter() < end:
                await self.ask()

        await asyncio.gather(*[go_on() for _ in range(connections)])
        return (self.statuses.total() - before) / seconds

    async def press(self, rate: float, seconds: float, process: int) -> list[int]:
        """Asks at this rate, and answers how many MB the service held, every ten seconds."""
        begun, sent, waiting, memory = time.perf_counter(), 0, set[asyncio.Task[None]](), list[int]()
        while (elapsed := time.perf_counter() - begun) < seconds:
            while sent < elapsed * rate:
                task = asyncio.create_task(self.ask())
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                sent += 1
            if len(memory) < elapsed / 10:
                memory.append(resident(process))
            await asyncio.sleep(0.005)
        await asyncio.gather(*waiting)
        return memory


def resident(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


async def run(process: int, seconds: float, bodies: list[bytes]) -> None:
    capacity = await Load(bodies).saturate(10)
    pressed = Load(bodies)
    memory = await pressed.press(2 * capacity, seconds, process)
    cuts = quantiles(pressed.times, n=100)
    print(f"capacity {capacity:.0f} requests a second; asked {2 * capacity:.0f} a second for {seconds:.0f} s")
    print(f"answers: {dict(sorted(pressed.statuses.items()))}")
    print(f"answered but not with 503: median {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms")
    print(f"memory in MB, every ten seconds: {memory}")
    print(f"capacity afterwards {await Load(bodies).saturate(10):.0f} requests a second")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--rows", type=int, default=100_000)
    given = arguments.parse_args()
    with TemporaryDirectory() as folder:
        rows = list(make_image_sets(given.rows))
        with closing(SQLiteStore(Path(folder) / "store.db", create=True)) as store:
            store.load(DATASTORE, rows)
        bodies = [
            json.dumps({"query": DOCUMENT, "variables": {"q": query}}).encode() for query in make_queries(50, rows)
        ]
        program = str(Path(sys.executable).with_name("imagesets"))
        service = subprocess.Popen(
            [program, "serve", "--port", str(PORT), "--store", f"sqlite:///{folder}/store.db"],
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(4)
            asyncio.run(run(service.pid, given.seconds, [*bodies, *BROKEN]))
        finally:
            service.terminate()
            service.wait()


if __name__ == "__main__":
    main()
