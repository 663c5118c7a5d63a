"""What a request costs beside a bare route that runs the same SQL, in the same minutes on the same machine. Not a test.

    python -m tests.benchmarks.service_benchmark [FILE.ndjson] [--rows 100000] [--rounds 5] [--gate RATIO]
        [--json FILE.json] [--plot FILE.png]

FILE holds one ImageSetsMetadataSummary a line; without one, as many image sets are made as `--rows` says. The service
runs as it is deployed: access by key, limits, audit and metrics on. Both answer the same nodes of 20 fields, 50 a page:

- W1: one patient, newest first. W2: 30 days of updatedAt, ascending. W3: the same, from page 400 on (or from as far as
  there is). W4: one series and a period, one row.

Both get the same number of requests in turn, round after round; a figure is the median of the rounds. CPU is that of
the server's process for one request, so that what else the machine does counts for little. Beside these: searches that
no filter narrows much, documents never seen before, reading queries, loading. `--gate` ends with status 1 where W2
costs more than so many times the bare route's W2; `--plot` needs matplotlib.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from grammar.criteria import And, Comparison, Condition, Everything, Operator, Range, SortKey
from grammar.parser import read
from graphql_service.image_set import ImageSet
from graphql_service.loading.ndjson import read_lines
from graphql_service.ordering import place
from graphql_service.stores import sql
from graphql_service.stores.base import Place, Request
from graphql_service.stores.sqlite import SQLiteStore
from tests.benchmarks.bare_route import COLUMNS
from tests.live import make_image_sets

DATASTORE = "d" * 32
OURS, BARE = "the service", "a bare route"
PORTS = {OURS: 8951, BARE: 8952}
CONNECTIONS = 16
VARIANTS = 40
NODE = (
    "id imageSetId version createdAt updatedAt storageTier isPrimary patient { patientId name birthDate sex } study {"
    " instanceUid studyId accessionNumber description date time } series { instanceUid number modality }"
)
DOCUMENT = (
    "query Search($q: String, $after: String) { imageSets(query: $q, first: 50, after: $after) {"
    f" edges {{ node {{ {NODE} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
)
NEWEST = (SortKey("updatedAt", descending=True),)
OLDEST = (SortKey("updatedAt"),)
UNSELECTIVE = ('description like "*contrast*"', "name = Müller*", "modality = MG", "modality = CT and bodyPart = CHEST")
#: How many pages are passed before W3 begins.
FAR = 399


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one kind, as each server takes them."""

    ours: list[bytes]
    bare: list[bytes]


@dataclass(slots=True)
class Measured:
    """Of one server and one workload, round by round: CPU in ms for a request, and how long each request took."""

    cpu: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def told(self) -> dict[str, float]:
        cuts = quantiles(self.times, n=100)
        return {
            "cpu_ms": round(median(self.cpu), 4),
            "requests_per_second": round(median(self.rates)),
            "p50_ms": round(cuts[49] * 1000, 2),
            "p99_ms": round(cuts[98] * 1000, 2),
        }


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
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = await send(reader, writer, request)
    writer.close()
    answered = json.loads(body)
    assert "errors" not in answered, answered["errors"]
    return answered["data"]["imageSets"]


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
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(process: int, port: int, requests: list[bytes], count: int, into: Measured) -> None:
    before, begun = cpu_seconds(process), time.perf_counter()
    into.times += await press(port, requests, count)
    into.rates.append(count / (time.perf_counter() - begun))
    into.cpu.append((cpu_seconds(process) - before) / count * 1000)


def find_far(store: SQLiteStore, where: Condition) -> Place | None:
    """Behind how many pages W3 begins, or as many as there are."""
    at: Place | None = None
    left = FAR * 50
    while left:
        answer = store.fetch(Request(DATASTORE, where, OLDEST, min(left, 500), after=at))
        if not answer.more:
            return at
        at = place(answer.image_sets[-1], OLDEST)
        left -= len(answer.image_sets)
    return at


def statements(where: Condition, sort: tuple[SortKey, ...], at: Place | None) -> tuple[list[str], list[Any]]:
    """The SQL by which the store reads a page, and the parameters of each statement but the last, how many rows."""
    keys = sql.read_keys(sort, backward=False)
    begin = None if at is None else (*(sql.column_value(key.type, at.values[0]) for key in keys[:1]), at.image_set_id)
    clauses = list(sql.segments(where, keys, begin, sql.Names("name_parts_1")))
    order = sql.order_by(keys)
    text = [f"SELECT {COLUMNS} FROM image_sets_1 WHERE {clause.text} ORDER BY {order} LIMIT ?" for clause in clauses]  # noqa: S608
    return text, [clause.parameters for clause in clauses]


def make_workloads(
    store: SQLiteStore, samples: list[ImageSet], key: str
) -> tuple[dict[str, Workload], list[list[str]]]:
    """The workloads, and the lists of statements that the bare route's requests name by their number."""
    made = {name: Workload([], []) for name in ("W1", "W2", "W3", "W4")}
    known: list[list[str]] = []
    updated = Comparison("updatedAt", Operator.EXISTS, None)
    first, last = (
        store.fetch(Request(DATASTORE, updated, sort, 1)).image_sets[0].updated_at for sort in (OLDEST, NEWEST)
    )
    assert first is not None
    assert last is not None
    span = max((last - first).days - 40, 1)
    random = Random(7)  # noqa: S311 - nothing is secret here

    def add(name: str, query: str, where: Condition, sort: tuple[SortKey, ...], at: Place | None = None) -> None:
        text, parameters = statements(where, sort, at)
        if text not in known:
            known.append(text)
        made[name].bare.append(post({"statements": known.index(text), "parameters": parameters}))
        made[name].ours.append(post({"query": DOCUMENT, "variables": {"q": query, "after": None}}, key))

    def days(start: datetime, count: int) -> tuple[str, Condition]:
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
        end = start + timedelta(days=count)
        text = f"updated between {start:%Y-%m-%d}..{end - timedelta(days=1):%Y-%m-%d}"
        return text, Comparison("updatedAt", Operator.RANGE, Range(start, end))

    for number, sample in enumerate(samples[:VARIANTS]):
        patient, series = str(sample.tags["DICOMPatientId"]), str(sample.tags["DICOMSeriesInstanceUID"])
        add("W1", f"patient = {patient}", Comparison("DICOMPatientId", Operator.EQ, patient), NEWEST)
        text, month = days(first + timedelta(days=random.randrange(span)), 30)
        add("W2", f"{text} sort updatedAt asc", month, OLDEST)
        if number < VARIANTS // 8:
            add("W3", f"{text} sort updatedAt asc", month, OLDEST, find_far(store, month))
        assert sample.updated_at is not None
        text, around = days(sample.updated_at - timedelta(days=3), 10)
        one = Comparison("DICOMSeriesInstanceUID", Operator.EQ, series)
        add("W4", f"series = {series} and {text} sort updatedAt asc", And((one, around)), OLDEST)
    return made, known


async def place_far(workload: Workload, key: str) -> None:
    """Has the service's own cursors lead where W3 begins: asked for by paging, as clients do."""
    for number, request in enumerate(workload.ours):
        asked = json.loads(request.partition(b"\r\n\r\n")[2])
        query = "query ($q: String, $after: String, $n: Int) { imageSets(query: $q, first: $n, after: $after) {"
        query += " pageInfo { endCursor hasNextPage } } }"
        left, after = FAR * 50, None
        while left:
            variables = {"q": asked["variables"]["q"], "after": after, "n": min(left, 500)}
            page = (await ask(PORTS[OURS], post({"query": query, "variables": variables}, key)))["pageInfo"]
            if not page["hasNextPage"]:
                break
            left, after = left - variables["n"], page["endCursor"]
        asked["variables"]["after"] = after
        workload.ours[number] = post(asked, key)


async def check(workloads: dict[str, Workload]) -> dict[str, float]:
    """Refuses to compare what is not the same: both answer with the same nodes. How many each workload has."""
    sizes = {}
    for name, workload in workloads.items():
        counts = []
        for ours, bare in zip(workload.ours, workload.bare, strict=True):
            one, other = await ask(PORTS[OURS], ours), await ask(PORTS[BARE], bare)
            assert one["edges"] == other["edges"], name
            assert one["pageInfo"]["hasNextPage"] == other["pageInfo"]["hasNextPage"], name
            counts.append(len(one["edges"]))
        sizes[name] = sum(counts) / len(counts)
    return sizes


async def compare(
    processes: dict[str, int], workloads: dict[str, Workload], rounds: int, count: int
) -> dict[str, dict[str, Measured]]:
    found = {name: {OURS: Measured(), BARE: Measured()} for name in workloads}
    for number in range(rounds + 1):
        for name, workload in workloads.items():
            turn = ((OURS, workload.ours), (BARE, workload.bare))
            for server, requests in turn if number % 2 else reversed(turn):
                # The first round warms up.
                into = found[name][server] if number else Measured()
                await measure(processes[server], PORTS[server], requests, count, into)
    return found


async def measure_others(process: int, key: str) -> dict[str, dict[str, float]]:
    """Searches that no filter narrows much, and documents that were never seen."""
    found = {}
    for query in UNSELECTIVE:
        into = Measured()
        await measure(process, PORTS[OURS], [post({"query": DOCUMENT, "variables": {"q": query}}, key)], 64, into)
        found[query] = into.told()
    into = Measured()
    fresh = [
        post({"query": DOCUMENT.replace("Search", f"Search{number}"), "variables": {"q": "patient = nobody"}}, key)
        for number in range(256)
    ]
    await measure(process, PORTS[OURS], fresh, len(fresh), into)
    found["a document never seen"] = into.told()
    return found


def measure_reading() -> dict[str, float]:
    """Reading a query of two conditions and a sort that was never seen, in µs; the median."""
    times = []
    for number in range(2_000):
        text = f"patient = P{number} and updated between 2024-03-11..2024-03-12 sort updatedAt asc"
        begun = time.perf_counter()
        read(text, {})
        times.append(time.perf_counter() - begun)
    return {"us": round(median(times) * 1e6, 1)}


def load(store: SQLiteStore, source: Path | None, rows: int) -> dict[str, float]:
    def image_sets() -> Iterator[ImageSet]:
        if source is None:
            yield from make_image_sets(rows)
            return
        with source.open("rb") as stream:
            yield from (line for line in read_lines(stream, DATASTORE) if isinstance(line, ImageSet))

    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.perf_counter()
    loaded = store.load(DATASTORE, image_sets()).inserted
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "image_sets": loaded,
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "memory_mb": after.ru_maxrss // 1024,
    }


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


def run(store: SQLiteStore, path: Path, folder: Path, rounds: int, count: int) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("imagesets"))
    settings = {
        "IMAGESETS_AUTH": "keys",
        "IMAGESETS_KEYS_FILE": str(folder / "keys.json"),
        "IMAGESETS_AUDIT_LOG": str(folder / "audit.log"),
    }
    key = subprocess.run(
        [program, "keys", "add", "bench"], env={**os.environ, **settings}, check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    samples = store.fetch(Request(DATASTORE, Everything(), (SortKey("imageSetId"),), 4_000)).image_sets
    chosen = [each for each in samples if {"DICOMPatientId", "DICOMSeriesInstanceUID"} <= set(each.tags)][::50]
    workloads, known = make_workloads(store, chosen, key)
    told = folder / "statements.json"
    told.write_text(json.dumps({"datastore": DATASTORE, "statements": known}))
    with ExitStack() as stack:
        serve = [program, "serve", "--port", str(PORTS[OURS]), "--store", f"sqlite:///{path}"]
        bare = [sys.executable, "-m", "tests.benchmarks.bare_route", str(path), str(told), str(PORTS[BARE])]
        processes = {
            OURS: stack.enter_context(running(serve, PORTS[OURS], **settings)),
            BARE: stack.enter_context(running(bare, PORTS[BARE])),
        }
        asyncio.run(place_far(workloads["W3"], key))
        sizes = asyncio.run(check(workloads))
        found = asyncio.run(compare(processes, workloads, rounds, count))
        others = asyncio.run(measure_others(processes[OURS], key))
    return {
        "workloads": {
            name: {"rows": sizes[name], **{server: each.told() for server, each in servers.items()}}
            for name, servers in found.items()
        },
        "others": others,
    }


def show(result: dict[str, Any]) -> None:
    workloads = result["workloads"]
    unit = workloads["W2"][BARE]["cpu_ms"]
    print(f"{'':<4}{'rows':>6}{'CPU ms':>8}{'bare':>8}{'above, bare W2=1':>18}{'a second':>10}{'bare':>7}{'p99 ms':>8}")
    for name, each in workloads.items():
        ours, bare = each[OURS], each[BARE]
        above = (ours["cpu_ms"] - bare["cpu_ms"]) / unit
        print(
            f"{name:<4}{each['rows']:>6.1f}{ours['cpu_ms']:>8.3f}{bare['cpu_ms']:>8.3f}{above:>19.2f}"
            f"{ours['requests_per_second']:>10}{bare['requests_per_second']:>7}{ours['p99_ms']:>8.1f}"
        )
    for name, each in result["others"].items():
        print(f"{name}: CPU {each['cpu_ms']:.2f} ms, median {each['p50_ms']:.1f} ms at {CONNECTIONS} at once")
    print(f"a query never seen is read in {result['reading']['us']:.0f} µs")
    loaded = result["loading"]
    print(
        f"{loaded['image_sets']:,} image sets loaded in {loaded['seconds']} s ({loaded['cpu_seconds']} s of CPU,"
        f" {loaded['memory_mb']} MB at most); the file has {loaded['file_mb']} MB"
    )


def plot(result: dict[str, Any], path: Path) -> None:
    # No requirement of the project's: `pip install matplotlib`.
    import matplotlib.pyplot as plt

    workloads = result["workloads"]
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for number, server in enumerate((OURS, BARE)):
        places = [place + 0.4 * number for place in range(len(workloads))]
        axes.bar(places, [each[server]["cpu_ms"] for each in workloads.values()], width=0.38, label=server)
    axes.set_xticks([place + 0.2 for place in range(len(workloads))], list(workloads))
    axes.set_ylabel("CPU for one request, ms")
    axes.set_title(f"{result['loading']['image_sets']:,} image sets")
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=800, help="of each server and workload, in a round")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--plot", type=Path, help="where to draw them")
    parser.add_argument("--gate", type=float, help="the most that W2 may cost, in bare routes")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        path = Path(name) / "store.db"
        with closing(SQLiteStore(path, create=True)) as store:
            loaded = load(store, given.source, given.rows)
            loaded["file_mb"] = path.stat().st_size // 1_000_000
            result = run(store, path, Path(name), given.rounds, given.requests)
    result |= {"loading": loaded, "reading": measure_reading()}
    result["machine"] = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    result["machine"]["python"] = platform.python_version()
    show(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")
    if given.plot:
        plot(result, given.plot)
    ratio = result["workloads"]["W2"][OURS]["cpu_ms"] / result["workloads"]["W2"][BARE]["cpu_ms"]
    if given.gate and ratio > given.gate:
        sys.exit(f"W2 costs {ratio:.2f} times what a bare route does; at most {given.gate} are allowed")


if __name__ == "__main__":
    main()
