"""What a request costs beside a bare route that runs the same SQL, in the same minutes on the same machine. Not a test.

    python -m tests.benchmarks.service_benchmark [FILE.ndjson] [--rows 100000] [--rounds 5] [--gate RATIO] [--alone]
        [--workers 2] [--json FILE.json] [--plot FILE.png]

FILE holds one ImageSetsMetadataSummary a line; without one, as many image sets are made as `--rows` says. The service
runs as it is deployed: access by key, limits, audit and metrics on. `workloads.py` says what is asked for: W1, one
patient; W2, 30 days; W3, the same from page 400 on; W4, one series. After `make bench-peers` PostGraphile and plain
Strawberry are asked too, but for `--alone`. Nothing is measured before all have answered with the same nodes.

Servers get requests in turn, as many each (plain Strawberry a quarter), round after round; a figure is the median of
the rounds. CPU is that of the server's processes for one request, PostgreSQL's too, so that what else the machine does
counts for little. Beside these: searches that no filter narrows much, documents never seen before, reading queries,
loading; and what several `--workers` answer beside one (0 leaves that out). `--gate` ends with status 1 where W2 costs
more than so many times the bare route's W2; `--plot` needs matplotlib.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from grammar.parser import read
from graphql_service.image_set import ImageSet
from graphql_service.loading.ndjson import read_lines
from graphql_service.stores.sqlite import SQLiteStore
from tests.benchmarks.measurement import CONNECTIONS, Measured, Server, ask, free_port, measure, post, running
from tests.benchmarks.peers import plain_strawberry, postgraphile, postgresql
from tests.benchmarks.scaling import Workers, measure_workers, show_workers
from tests.benchmarks.workloads import (
    NOBODY,
    Requests,
    Surface,
    make_questions,
    make_requests,
    make_statements,
    ours,
    values,
)
from tests.live import DATASTORE, make_image_sets

OURS, BARE = "the service", "a bare route"
UNSELECTIVE = ('description like "*contrast*"', "name = Müller*", "modality = MG", "modality = CT and bodyPart = CHEST")
#: Documents never seen that each server gets in a round.
FRESH = 128


async def check(servers: dict[str, Server], requests: dict[str, Requests]) -> dict[str, float]:
    """Refuses to compare what is not the same: all answer with the same nodes. How many each workload has."""
    sizes = {}
    for name in requests[OURS]:
        counts = []
        for number in range(len(requests[OURS][name])):
            pages = {each: await ask(servers[each].port, requests[each][name][number]) for each in servers}
            nodes = {each: [edge["node"] for edge in page["edges"]] for each, page in pages.items()}
            assert nodes[OURS] == nodes[BARE], name
            expected = [values(node) for node in nodes[OURS]]
            for each, page in pages.items():
                assert [values(node) for node in nodes[each]] == expected, (name, each)
                assert page["pageInfo"]["hasNextPage"] == pages[OURS]["pageInfo"]["hasNextPage"], (name, each)
            counts.append(len(expected))
        sizes[name] = sum(counts) / len(counts)
    return sizes


async def compare(
    servers: dict[str, Server], requests: dict[str, Requests], rounds: int, count: int
) -> dict[str, dict[str, Measured]]:
    found = {name: {server: Measured() for server in servers} for name in requests[OURS]}
    for number in range(rounds + 1):
        for name, measured in found.items():
            for server in servers if number % 2 else reversed(servers):
                # The first round warms up.
                into = measured[server] if number else Measured()
                some = max(count // 4, 1) if server == plain_strawberry.NAME else count
                await measure(servers[server], requests[server][name], some, into)
    return found


async def measure_unselective(server: Server, surface: Surface) -> dict[str, dict[str, Any]]:
    """Searches that no filter narrows much."""
    found = {}
    for query in UNSELECTIVE:
        into = Measured()
        request = post({"query": surface.document(), "variables": {"q": query}}, surface.key)
        await measure(server, [request], 64, into)
        found[query] = into.told()
    return found


async def measure_fresh(
    servers: dict[str, Server], surfaces: dict[str, Surface], rounds: int
) -> dict[str, dict[str, Any]]:
    """Documents that were never seen, each of its own name."""
    found = {server: Measured() for server in surfaces}
    for number in range(rounds):
        for server in surfaces if number % 2 else reversed(surfaces):
            surface = surfaces[server]
            names = [f"Search{number}x{each}" for each in range(FRESH)]
            fresh = [surface.request(NOBODY, document=surface.document(name)) for name in names]
            await measure(servers[server], fresh, FRESH, found[server])
    return {server: measured.told() for server, measured in found.items()}


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


def find_peers() -> list[ModuleType]:
    """The peers that can be asked here: none before `make bench-peers`."""
    if not postgraphile.installed():
        return []
    if postgresql.programs() is None:
        print(f"{postgraphile.NAME} is left out: no PostgreSQL with initdb and psql is found", file=sys.stderr)
        return [plain_strawberry]
    return [plain_strawberry, postgraphile]


def run(store: SQLiteStore, path: Path, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("imagesets"))
    settings = {
        "IMAGESETS_AUTH": "keys",
        "IMAGESETS_KEYS_FILE": str(folder / "keys.json"),
        "IMAGESETS_AUDIT_LOG": str(folder / "audit.log"),
    }
    key = subprocess.run(
        [program, "keys", "add", "bench"], env={**os.environ, **settings}, check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    questions = make_questions(store)
    requests = dict[str, Requests]()
    requests[BARE], known = make_statements(store, questions)
    told = folder / "statements.json"
    told.write_text(json.dumps({"datastore": DATASTORE, "statements": known}))
    peers = [] if given.alone else find_peers()
    with ExitStack() as stack:
        ports = {OURS: free_port(), BARE: free_port()}
        serve = [program, "serve", "--port", str(ports[OURS]), "--store", f"sqlite:///{path}"]
        bare = [sys.executable, "-m", "tests.benchmarks.bare_route", str(path), str(told), str(ports[BARE])]
        servers = {
            name: Server(ports[name], {"python": stack.enter_context(running(command, ports[name], **environment))})
            for name, command, environment in ((OURS, serve, settings), (BARE, bare, {}))
        }
        servers |= {peer.NAME: stack.enter_context(peer.serving(path)) for peer in peers}
        surfaces = {OURS: ours(key)} | {peer.NAME: peer.SURFACE for peer in peers}
        for name, surface in surfaces.items():
            requests[name] = asyncio.run(make_requests(servers[name], surface, questions))
        sizes = asyncio.run(check(servers, requests))
        found = asyncio.run(compare(servers, requests, given.rounds, given.requests))
        unselective = asyncio.run(measure_unselective(servers[OURS], surfaces[OURS]))
        fresh = asyncio.run(measure_fresh(servers, surfaces, given.rounds))
        scaled = {}
        if given.workers:
            port = free_port()
            several = [program, "serve", "--store", f"sqlite:///{path}", "--port", str(port)]
            several += ["--workers", str(given.workers)]
            scaled = measure_workers(
                Workers(1, servers[OURS].processes["python"], ports[OURS]),
                Workers(given.workers, stack.enter_context(running(several, port, **settings)), port),
                requests[OURS],
                given.rounds,
                given.requests,
            )
    return {
        "workloads": {
            name: {"rows": sizes[name], **{server: each.told() for server, each in measured.items()}}
            for name, measured in found.items()
        },
        "unselective": unselective,
        "documents never seen": fresh,
        "workers": scaled,
        "peers": {peer.NAME: peer.version() for peer in peers},
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
    for peer, version in result["peers"].items():
        show_peer(workloads, peer, version)
    for name, each in result["unselective"].items():
        print(f"{name}: CPU {each['cpu_ms']:.2f} ms, median {each['p50_ms']:.1f} ms at {CONNECTIONS} at once")
    for name, each in result["documents never seen"].items():
        print(f"a document never seen, {name}: CPU {each['cpu_ms']:.2f} ms{show_parts(each)}")
    show_workers(result["workers"])
    print(f"a query never seen is read in {result['reading']['us']:.0f} µs")
    loaded = result["loading"]
    print(
        f"{loaded['image_sets']:,} image sets loaded in {loaded['seconds']} s ({loaded['cpu_seconds']} s of CPU,"
        f" {loaded['memory_mb']} MB at most); the file has {loaded['file_mb']} MB"
    )


def show_peer(workloads: dict[str, Any], peer: str, version: str) -> None:
    print(f"{peer} {version}")
    print(f"{'':<4}{'CPU ms':>8}{'times ours':>12}{'a second':>10}{'ours are times':>16}{'p99 ms':>8}")
    for name, each in workloads.items():
        ours, theirs = each[OURS], each[peer]
        print(
            f"{name:<4}{theirs['cpu_ms']:>8.3f}{theirs['cpu_ms'] / ours['cpu_ms']:>12.2f}"
            f"{theirs['requests_per_second']:>10}"
            f"{ours['requests_per_second'] / theirs['requests_per_second']:>16.2f}{theirs['p99_ms']:>8.1f}"
            f"{show_parts(theirs)}"
        )


def show_parts(told: dict[str, Any]) -> str:
    """What each of a server's processes takes of its CPU, where there are several."""
    parts = (f"{part} {ms:.3f}" for part, ms in told.get("cpu_ms_of", {}).items())
    return f"  ({', '.join(parts)})" if "cpu_ms_of" in told else ""


def plot(result: dict[str, Any], path: Path) -> None:
    # No requirement of the project's: `pip install matplotlib`.
    import matplotlib.pyplot as plt

    workloads = result["workloads"]
    servers = (OURS, BARE, *result["peers"])
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    width = 0.8 / len(servers)
    for number, server in enumerate(servers):
        places = [place + width * number for place in range(len(workloads))]
        bars = axes.bar(places, [each[server]["cpu_ms"] for each in workloads.values()], width=width, label=server)
        axes.bar_label(bars, fmt="%.2f", fontsize=6)
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(workloads))], list(workloads))
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
    parser.add_argument("--workers", type=int, default=2, help="how many to measure beside one; 0 for none")
    parser.add_argument("--alone", action="store_true", help="leave out the peers, where they are installed")
    parser.add_argument("--gate", type=float, help="the most that W2 may cost, in bare routes")
    given = parser.parse_args()
    # So that servers are stopped and folders removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with TemporaryDirectory() as name:
        path = Path(name) / "store.db"
        with closing(SQLiteStore(path, create=True)) as store:
            loaded = load(store, given.source, given.rows)
            loaded["file_mb"] = path.stat().st_size // 1_000_000
            result = run(store, path, Path(name), given)
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
