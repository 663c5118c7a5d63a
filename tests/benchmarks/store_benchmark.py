"""Measures the embedded store: loading a file of NDJSON, then the usual pages inside `fetch`. Not a test.

    python -m tests.benchmarks.store_benchmark image_sets.ndjson

The file holds one ImageSetsMetadataSummary a line, with updatedAt spread over some years, as many as wanted. Expected
on two cores at a million: 30,000 image sets a second or more, memory that does not grow with the file, each page under
1 ms (of studies 2 ms), and a far page as fast as the first.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from statistics import median

from grammar.criteria import And, Comparison, Condition, Everything, Operator, Range, SortKey
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


def read_image_sets(source: Path) -> Iterator[ImageSet]:
    with source.open("rb") as stream:
        yield from (line for line in read_lines(stream, DATASTORE_ID) if isinstance(line, ImageSet))


def measure_load(store: SQLiteStore, source: Path) -> None:
    start = time.perf_counter()
    result = store.load(DATASTORE_ID, read_image_sets(source))
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    loaded = result.inserted
    print(f"loaded {loaded:,} in {seconds:.1f} s: {loaded / seconds:,.0f} a second, {memory:.0f} MB at most")


def measure_fetch(store: SQLiteStore, name: str, request: Request) -> None:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        answer = store.fetch(request)
        times.append(time.perf_counter() - start)
    print(f"{name:<46} {len(answer.image_sets):>3} rows  {median(times) * 1e6:>6.0f} µs")


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
    source = parser.parse_args().source
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(SQLiteStore(Path(folder) / "benchmark.db", create=True)) as store,
    ):
        measure_load(store, source)
        measure_pages(store)


if __name__ == "__main__":
    main()
