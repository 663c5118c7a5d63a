"""PostGraphile over PostgreSQL, with the rows of a store of ours, as `make bench-peers` installs it.

Its own way with a connection: a table's columns as fields, a filter by plug-in, its cursors. Its caches are on; access,
limits, audit and metrics, which the service has, it has not.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.benchmarks.bare_route import COLUMNS, node
from tests.benchmarks.measurement import Server, free_port, running
from tests.benchmarks.peers import postgresql
from tests.benchmarks.workloads import Question, Surface
from tests.live import DATASTORE

NAME = "PostGraphile"
FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"


def name_order(question: Question) -> list[str]:
    direction = "DESC" if question.newest_first else "ASC"
    return [f"UPDATED_AT_{direction}", f"IMAGE_SET_ID_{direction}"]


def variables(question: Question) -> dict[str, object]:
    found: dict[str, object] = {}
    if question.patient is not None:
        found["patientId"] = {"equalTo": question.patient}
    if question.series is not None:
        found["seriesInstanceUid"] = {"equalTo": question.series}
    if question.period is not None:
        start, end = (moment.isoformat() for moment in question.period)
        found["updatedAt"] = {"greaterThanOrEqualTo": start, "lessThan": end}
    return {"filter": found, "order": name_order(question)}


SURFACE = Surface(
    "allImageSets",
    "$filter: ImageSetFilter, $order: [ImageSetOrderBy!]",
    "filter: $filter, orderBy: $order",
    variables,
    node="id imageSetId version createdAt updatedAt storageTier isPrimary patientId patientName birthDate sex"
    " studyInstanceUid studyId accessionNumber studyDescription studyDate studyTime"
    " seriesInstanceUid seriesNumber modality",
    cursor="Cursor",
)


def installed() -> bool:
    return (MODULES / "postgraphile").is_dir()


def version() -> str:
    told = json.loads((MODULES / "postgraphile" / "package.json").read_text())["version"]
    folder = postgresql.programs()
    assert folder
    return f"{told} on PostgreSQL {'.'.join(map(str, postgresql.version(folder)))}"


def read_rows(path: Path) -> Iterator[tuple[object, ...]]:
    """The image sets of a store of ours, with the values that the bare route answers with."""
    with closing(sqlite3.connect(path)) as connection:
        for row in connection.execute(f"SELECT {COLUMNS} FROM image_sets_1"):  # noqa: S608
            _, *values = node(DATASTORE, row).values()
            yield tuple(value for each in values for value in (each.values() if isinstance(each, dict) else (each,)))


@contextmanager
def serving(path: Path) -> Iterator[Server]:
    port = free_port()
    with postgresql.running(read_rows(path)) as cluster:
        environment = {
            "DATABASE_URL": cluster.url,
            "PORT": str(port),
            "NODE_ENV": "production",
            "GRAPHILE_ENV": "production",
        }
        command = [str(MODULES / ".bin" / "node"), str(FOLDER / "postgraphile.mjs")]
        with running(command, port, **environment) as process:
            yield Server(port, {"node": process, "PostgreSQL": cluster.process})
