"""Measures the embedded store: loading NDJSON, then pages inside `fetch`, the usual ones and broad ones. Not a test.

    python -m tests.benchmarks.store_benchmark image_sets.ndjson [--rows 100000] [--store kept.db]

The file (`-` is standard input) holds one ImageSetsMetadataSummary a line, with updatedAt spread over some years; of
these `--rows` are read. `--store` keeps the store, and measures without loading where it is there. Expected on two
cores at a million: 25,000 image sets a second or more, memory that does not grow with the file, each usual page under
1 ms (of studies 2 ms), a far page as fast as the first, and a broad search under 20 ms, at ten million under 100 ms.
Times are of CPU, so that what else the machine does counts for little; the medians.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import islice
from pathlib import Path
from statistics import median

from grammar.criteria import And, Comparison, Condition, Everything, Operator, Range, SortKey
from grammar.parser import parse
from graphql_service.image_set import ImageSet
from graphql_service.loading.ndjson import read_lines
from graphql_service.ordering import place
from graphql_service.stores.base import Place, Request
from graphql_service.stores.sqlite import SQLiteStore

DATASTORE_ID = "b" * 32
NEWEST = (SortKey("updatedAt", descending=True),)
OLDEST = (SortKey("updatedAt"),)
FAR = 400
FAR_STUDIES = 100
REPEATS = 200
#: So long, in seconds, is one search measured at most.
PATIENCE = 2.0
#: What no filter narrows much, and what is rare though its filters are common; then as many ways through the indexes.
BROAD = (
    'description like "*contrast*"',
    'description like "*contrast*" sort studied desc',
    'description like "*zebra*"',
    'description like "*xa heart with*"',
    "name = Müller*",
    "name = Müller* sort studied desc",
    "name = Müller123*",
    'name like "*ller77*"',
    "name = Müller* and modality = XA",
    "modality = CT",
    "modality = CT sort studied desc",
    "modality = XA sort studied",
    "modality = CT and bodyPart = CHEST",
    "modality = CT and bodyPart = BREAST",
    "modality = XA and bodyPart = HEART sort created",
    "modality = CT and updated < 2021-02 sort studied desc",
    "not modality = CT and sex = O",
    'patient like "*UBJECT0004*"',
)


def read_image_sets(source: Path, rows: int | None) -> Iterator[ImageSet]:
    with sys.stdin.buffer if str(source) == "-" else source.open("rb") as stream:
        image_sets = (line for line in read_lines(stream, DATASTORE_ID) if isinstance(line, ImageSet))
        yield from islice(image_sets, rows)


def measure_load(store: SQLiteStore, source: Path, rows: int | None, file: Path) -> None:
    start, before = time.perf_counter(), time.process_time()
    loaded = store.load(DATASTORE_ID, read_image_sets(source, rows)).inserted
    seconds, cpu = time.perf_counter() - start, time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"loaded {loaded:,} in {seconds:.1f} s ({cpu:.1f} s of CPU): {loaded / seconds:,.0f} a second,", end=" ")
    print(f"{memory:.0f} MB of memory at most, {file.stat().st_size / 1e6:,.0f} MB of file")


def measure(work: Callable[[], object]) -> float:
    """The CPU of one of many times, in µs; the median."""
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < PATIENCE:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return median(times) * 1e6


def measure_fetch(store: SQLiteStore, name: str, request: Request) -> None:
    rows = len(store.fetch(request).image_sets)
    print(f"{name:<56} {rows:>3} rows  {measure(lambda: store.fetch(request)):>9,.0f} µs", flush=True)


def measure_broad(store: SQLiteStore) -> None:
    for query in BROAD:
        search = parse(query).search
        measure_fetch(store, query, Request(DATASTORE_ID, search.where, search.sort or NEWEST, 50))
        count = store.count(DATASTORE_ID, search.where, 10_000)
        spent = measure(lambda where=search.where: store.count(DATASTORE_ID, where, 10_000))  # type: ignore[misc]
        print(f"{'':<46} counting {count:>6,}  {spent:>9,.0f} µs", flush=True)


def find_far_place(store: SQLiteStore, where: Condition, sort: tuple[SortKey, ...], *, studies: bool) -> Place | None:
    """Where page 400 begins, or page 100 of studies; None where there are not so many."""
    at: Place | None = None
    for _ in range((FAR_STUDIES if studies else FAR) - 1):
        answer = store.fetch(Request(DATASTORE_ID, where, sort, 50, after=at, studies=studies))
        if not answer.more:
            return None
        at = place(answer.image_sets[-1], sort)
    return at


def measure_pages(store: SQLiteStore) -> None:
    (middle,) = store.fetch(Request(DATASTORE_ID, Everything(), NEWEST, 1)).image_sets
    assert middle.updated_at is not None
    start = middle.updated_at - timedelta(days=365)
    patient = Comparison("DICOMPatientId", Operator.EQ, str(middle.tags["DICOMPatientId"]))
    series = Comparison("DICOMSeriesInstanceUID", Operator.EQ, str(middle.tags["DICOMSeriesInstanceUID"]))
    month = Comparison("updatedAt", Operator.RANGE, Range(start, start + timedelta(days=30)))
    since = Comparison("updatedAt", Operator.RANGE, Range(start, None))
    searches: tuple[tuple[str, Condition, tuple[SortKey, ...]], ...] = (
        ("one patient", patient, NEWEST),
        ("one series, updated since", And((series, since)), OLDEST),
        ("30 days", month, OLDEST),
        ("a year", since, OLDEST),
        ("everything, newest first", Everything(), NEWEST),
    )
    for name, where, sort in searches:
        for studies, shown, far in ((False, name, FAR), (True, f"studies of {name}", FAR_STUDIES)):
            measure_fetch(store, shown, Request(DATASTORE_ID, where, sort, 50, studies=studies))
            at = find_far_place(store, where, sort, studies=studies)
            if at is not None:
                request = Request(DATASTORE_ID, where, sort, 50, after=at, studies=studies)
                measure_fetch(store, f"{shown}, page {far}", request)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = given.store or Path(folder) / "benchmark.db"
        new = not file.exists()
        with closing(SQLiteStore(file, create=True)) as store:
            if new:
                measure_load(store, given.source, given.rows, file)
            measure_pages(store)
            measure_broad(store)


if __name__ == "__main__":
    main()
