"""Strawberry as its documentation has one begin: types, a resolver over the same SQLite table, its own ASGI app.

    python -m tests.benchmarks.peers.plain_strawberry STORE.db PORT

No cache, no extension, no limits; cursors name a place by its keys, as the service's do.
"""

from __future__ import annotations

import sqlite3
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import strawberry
import uvicorn
from strawberry.asgi import GraphQL

from tests.benchmarks.bare_route import COLUMNS
from tests.benchmarks.measurement import Server, free_port, running
from tests.benchmarks.workloads import Question, Surface

NAME = "plain Strawberry"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@strawberry.type
class Patient:
    patient_id: str | None
    name: str | None
    birth_date: date | None
    sex: str | None


@strawberry.type
class Study:
    instance_uid: str | None
    study_id: str | None
    accession_number: str | None
    description: str | None
    date: date | None
    time: time | None


@strawberry.type
class Series:
    instance_uid: str | None
    number: int | None
    modality: str | None


@strawberry.type
class ImageSet:
    id: strawberry.ID
    image_set_id: str
    version: int
    created_at: datetime | None
    updated_at: datetime | None
    storage_tier: str | None
    is_primary: bool | None
    patient: Patient
    study: Study
    series: Series


@strawberry.type
class Edge:
    cursor: str
    node: ImageSet


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class Connection:
    edges: list[Edge]
    page_info: PageInfo


def make_connection(rows: list[tuple[Any, ...]], first: int) -> Connection:
    edges = [Edge(cursor=write_cursor(row), node=make_image_set(row)) for row in rows[:first]]
    page_info = PageInfo(has_next_page=len(rows) > first, end_cursor=edges[-1].cursor if edges else None)
    return Connection(edges=edges, page_info=page_info)


def make_image_set(row: tuple[Any, ...]) -> ImageSet:
    born, studied = instant(row[7]), instant(row[12])
    return ImageSet(
        id=strawberry.ID(f"ImageSet:{row[0]}"),
        image_set_id=row[0],
        version=row[1],
        created_at=instant(row[2]),
        updated_at=instant(row[3]),
        storage_tier=row[4],
        is_primary=None if row[5] is None else row[5] == 1,
        patient=Patient(
            patient_id=row[6],
            name=row[16],
            birth_date=born.date() if born else None,
            sex=row[8],
        ),
        study=Study(
            instance_uid=row[9],
            study_id=row[10],
            accession_number=row[11],
            description=row[17],
            date=studied.date() if studied else None,
            time=None if row[18] is None else (datetime.min + timedelta(0, 0, row[18])).time(),
        ),
        series=Series(instance_uid=row[13], number=row[14], modality=row[15]),
    )


def instant(since_1970: int | None) -> datetime | None:
    return None if since_1970 is None else EPOCH + timedelta(0, 0, since_1970)


def since_1970(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def write_cursor(row: tuple[Any, ...]) -> str:
    return urlsafe_b64encode(f"{row[3]}:{row[0]}".encode()).decode()


def read_cursor(cursor: str) -> tuple[int, str]:
    updated_at, _, image_set_id = urlsafe_b64decode(cursor).decode().partition(":")
    return int(updated_at), image_set_id


def make_schema(path: Path) -> strawberry.Schema:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)

    @strawberry.type
    class Query:
        @strawberry.field
        def image_sets(
            self,
            patient_id: str | None = None,
            series_instance_uid: str | None = None,
            updated_from: datetime | None = None,
            updated_before: datetime | None = None,
            newest_first: bool = True,  # noqa: FBT001, FBT002 - an argument of GraphQL, which names it
            first: int = 50,
            after: str | None = None,
        ) -> Connection:
            conditions: list[tuple[str, object]] = []
            if patient_id is not None:
                conditions.append(("patient_id = ?", patient_id))
            if series_instance_uid is not None:
                conditions.append(("series_uid = ?", series_instance_uid))
            # A cursor is the narrower bound on its side; given both, SQLite would scan from the wider one.
            if updated_from is not None and (after is None or newest_first):
                conditions.append(("updated_at >= ?", since_1970(updated_from)))
            if updated_before is not None and (after is None or not newest_first):
                conditions.append(("updated_at < ?", since_1970(updated_before)))
            parameters = [value for _, value in conditions]
            where = " AND ".join(text for text, _ in conditions) or "TRUE"
            if after is not None:
                where += f" AND (updated_at, image_set_id) {'<' if newest_first else '>'} (?, ?)"
                parameters += read_cursor(after)
            order = "updated_at DESC, image_set_id DESC" if newest_first else "updated_at, image_set_id"
            statement = f"SELECT {COLUMNS} FROM image_sets_1 WHERE {where} ORDER BY {order} LIMIT ?"  # noqa: S608
            return make_connection(connection.execute(statement, (*parameters, first + 1)).fetchall(), first)

    return strawberry.Schema(Query)


def variables(question: Question) -> dict[str, object]:
    start, end = question.period or (None, None)
    return {
        "patient": question.patient,
        "series": question.series,
        "from": start and start.isoformat(),
        "before": end and end.isoformat(),
        "newest": question.newest_first,
    }


SURFACE = Surface(
    "imageSets",
    "$patient: String, $series: String, $from: DateTime, $before: DateTime, $newest: Boolean!",
    "patientId: $patient, seriesInstanceUid: $series, updatedFrom: $from, updatedBefore: $before, newestFirst: $newest",
    variables,
)


def version() -> str:
    return installed_version("strawberry-graphql")


@contextmanager
def serving(path: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.peers.plain_strawberry", str(path), str(port)]
    with running(command, port) as process:
        yield Server(port, {"python": process})


def main() -> None:
    path, port = sys.argv[1:]
    uvicorn.run(GraphQL(make_schema(Path(path))), port=int(port), access_log=False, log_config=None)


if __name__ == "__main__":
    main()
