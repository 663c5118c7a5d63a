"""What the HealthImaging store costs beside boto3's own paginator, and whether it answers as the embedded store does.

    python -m tests.benchmarks.healthimaging_benchmark [--rows 100000] [--queries 500]

Service B, the wire protocol over an embedded store, runs in a process of its own; the searches go to it over HTTP.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import boto3

from grammar.parser import parse
from graphql_service.healthimaging.client import open_client
from graphql_service.image_set import ImageSet
from graphql_service.matching import predicate
from graphql_service.ordering import place, place_key
from graphql_service.paging import PageRequest, read_cursor
from graphql_service.searching import Inquiry, search
from graphql_service.settings import Settings
from graphql_service.stores.base import Store
from graphql_service.stores.healthimaging import HealthImagingStore
from graphql_service.stores.sqlite import SQLiteStore
from tests.live import DATASTORE, NOW, make_image_sets, make_queries
from tests.wire import environment

UNLIMITED = Settings(healthimaging_rate=100_000, scan_requests=100_000, scan_seconds=3_600)


def without_delay() -> HealthImagingStore:
    """A store whose requests do not wait for the acknowledgement of their own headers, as botocore's do: 40 ms each."""
    client = open_client("us-east-1", UNLIMITED)
    options = client._client._endpoint.http_session._socket_options  # type: ignore[attr-defined]
    options.append((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
    return HealthImagingStore(client, UNLIMITED)


def read_pages(store: Store, query: str, size: int) -> tuple[list[list[ImageSet]], int]:
    pages: list[list[ImageSet]] = []
    request, requests = PageRequest(size), 0
    while True:
        page = search(store, Inquiry(DATASTORE, query), request, NOW)
        if page.image_sets:  # a search that is scanned may end with an empty page
            pages.append(list(page.image_sets))
        requests += page.requests
        if not page.has_next_page:
            return pages, requests
        assert page.end_cursor
        request = PageRequest(size, after=read_cursor(page.end_cursor))


def compare(store: Store, embedded: Store, rows: list[ImageSet], count: int) -> None:
    outcomes: Counter[str] = Counter()
    for query in make_queries(count, rows):
        asked = parse(query, now=NOW).search
        rank = place_key(asked.sort)
        expected = sorted(filter(predicate(asked.where), rows), key=lambda row: rank(place(row, asked.sort)))
        # A page costs a call or more: small ones are for short answers.
        size = next(size for size, most in ((1, 60), (7, 500), (50, 3_000), (500, inf)) if len(expected) <= most)
        pages, requests = read_pages(store, query, size)
        same = list(chain(*pages)) == expected and pages == read_pages(embedded, query, size)[0]
        outcomes["same" if same else "DIFFERENT"] += 1
        outcomes[f"pages of {size}"] += 1
        outcomes["rows"] += len(expected)
        outcomes["requests"] += requests
        if not same:
            print(f"different: {query}", flush=True)
    print(f"{count} queries: {dict(outcomes)}")


def time_pages(store: Store) -> None:
    paginator = boto3.client("medical-imaging").get_paginator("search_image_sets")

    def paginate() -> None:
        pages = paginator.paginate(
            datastoreId=DATASTORE,
            searchCriteria={"sort": {"sortField": "updatedAt", "sortOrder": "DESC"}},
            PaginationConfig={"PageSize": 50, "MaxItems": 500},
        )
        assert sum(len(page["imageSetsMetadataSummaries"]) for page in pages) == 500

    def scan() -> None:
        page = search(store, Inquiry(DATASTORE), PageRequest(500), NOW)
        assert (len(page.image_sets), page.requests) == (500, 10)

    taken: dict[str, list[float]] = {"paginator": [], "first: 500": []}
    for _ in range(25):
        for name, run in (("paginator", paginate), ("first: 500", scan)):
            begun = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - begun)
    print({name: f"{median(times) * 1000:.1f} ms" for name, times in taken.items()})


def time_branches(store: Store) -> None:
    branches = [f"studyId = {number} and primary = true" for number in range(4)]
    for query in (*branches, " or ".join(f"({branch})" for branch in branches)):
        begun = time.perf_counter()
        page = search(store, Inquiry(DATASTORE, query), PageRequest(100), NOW)
        print(f"{(time.perf_counter() - begun) * 1000:.1f} ms, {page.requests} requests, {len(page.image_sets)} rows")


def time_clients(settings: Settings) -> None:
    with closing(HealthImagingStore(open_client("us-east-1", settings), settings)) as store:
        begun = time.perf_counter()
        with ThreadPoolExecutor(50) as pool:
            found = list(
                pool.map(lambda _: search(store, Inquiry(DATASTORE), PageRequest(100), NOW).requests, range(50))
            )
        taken = time.perf_counter() - begun
        print(f"50 clients at once, 25 calls a second allowed: {sum(found)} calls in {taken:.1f} s")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--queries", type=int, default=500)
    given = arguments.parse_args()
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/store.db"
        rows = list(make_image_sets(given.rows))
        with closing(SQLiteStore(Path(folder) / "store.db", create=True)) as embedded:
            embedded.load(DATASTORE, rows)
        program = Path(sys.executable).with_name("imagesets")
        service = subprocess.Popen([program, "serve", "--port", "8943", "--store", url], stderr=subprocess.DEVNULL)
        try:
            os.environ.update(environment("http://127.0.0.1:8943"))
            time.sleep(3)
            with closing(HealthImagingStore(open_client("us-east-1", UNLIMITED), UNLIMITED)) as store:
                time_pages(store)
                time_branches(store)
                time_clients(Settings())
            with closing(without_delay()) as store, closing(SQLiteStore(Path(folder) / "store.db")) as embedded:
                compare(store, embedded, rows, given.queries)
        finally:
            service.terminate()
            service.wait()


if __name__ == "__main__":
    main()
