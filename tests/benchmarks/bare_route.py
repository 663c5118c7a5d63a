"""The limit that a service on this stack can reach: one route that runs a given SQL and answers its rows as JSON.

    python -m tests.benchmarks.bare_route STORE.db STATEMENTS.json PORT

It reads no query language, knows no schema, checks nobody and writes nothing down; but its nodes are those that the
service answers with, value for value.
"""

import asyncio
import sqlite3
import sys
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from graphql_service.api.scalars import write_clock, write_instant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = (
    "image_set_id, version, created_at, updated_at, storage_tier, is_primary, patient_id, birth_date, sex, study_uid,"
    " study_id, accession_number, study_at, series_uid, series_number, modality, written_name,"
    " written_description, study_time"
)


@lru_cache(8_192)
def instant(since_1970: int | None) -> str | None:
    return None if since_1970 is None else write_instant(EPOCH + timedelta(0, 0, since_1970))


@lru_cache(8_192)
def day(since_1970: int | None) -> str | None:
    return None if since_1970 is None else (EPOCH + timedelta(0, 0, since_1970)).date().isoformat()


@lru_cache(8_192)
def clock(since_midnight: int | None) -> str | None:
    return None if since_midnight is None else write_clock((datetime.min + timedelta(0, 0, since_midnight)).time())


def node(datastore: str, row: tuple[Any, ...]) -> dict[str, object]:
    return {
        "id": urlsafe_b64encode(f"ImageSet:{datastore}:{row[0]}".encode()).decode().rstrip("="),
        "imageSetId": row[0],
        "version": row[1],
        "createdAt": instant(row[2]),
        "updatedAt": instant(row[3]),
        "storageTier": row[4],
        "isPrimary": None if row[5] is None else row[5] == 1,
        "patient": {
            "patientId": row[6],
            "name": row[16],
            "birthDate": day(row[7]),
            "sex": row[8],
        },
        "study": {
            "instanceUid": row[9],
            "studyId": row[10],
            "accessionNumber": row[11],
            "description": row[17],
            "date": day(row[12]),
            "time": clock(row[18]),
        },
        "series": {"instanceUid": row[13], "number": row[14], "modality": row[15]},
    }


def create_app(path: str, statements: list[list[str]], datastore: str) -> Starlette:
    connection = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, check_same_thread=False)

    async def answer(request: Request) -> Response:
        asked = orjson.loads(await request.body())
        rows: list[tuple[Any, ...]] = []
        for statement, parameters in zip(statements[asked["statements"]], asked["parameters"], strict=True):
            rows += connection.execute(statement, (*parameters, 51 - len(rows)))
            if len(rows) > 50:
                break
        nodes = [{"node": node(datastore, row)} for row in rows[:50]]
        body = {"data": {"imageSets": {"edges": nodes, "pageInfo": {"hasNextPage": len(rows) > 50}}}}
        return Response(orjson.dumps(body), media_type="application/json")

    return Starlette(routes=[Route("/graphql", answer, methods=["POST"])])


def main() -> None:
    path, statements, port = sys.argv[1:]
    given = orjson.loads(Path(statements).read_bytes())
    app = create_app(path, given["statements"], given["datastore"])
    # As `imagesets serve` has it.
    config = uvicorn.Config(
        app,
        port=int(port),
        http="h11",
        access_log=False,
        log_config=None,
        server_header=False,
        ws="none",
        backlog=2_048,
    )
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
