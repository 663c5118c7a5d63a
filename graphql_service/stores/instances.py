"""The tables of the embedded store that hold what was read from DICOM files, and the image sets that follow from them.

Each data store has four: a row for each file, the studies and series whose image sets are to be made again, what each
image set was made of, and the times of its versions. Image sets depend on the files alone, never on the order or the
number of runs in which they were read; only versions and times tell of that. Nothing here begins or ends a transaction.
"""

# ruff: noqa: S608 - SQL is put together from names of our own; every value is a parameter.

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, TypeAlias

import orjson

from graphql_service.errors import InvalidArgument
from graphql_service.instances import Header, Instance, image_set_id, read_header, write_metadata, write_tags

#: The tables, by the beginning of their names; a data store's number comes behind.
_TABLES: Final = ("dicom_files", "dicom_touched", "dicom_image_sets", "dicom_versions")
#: The instances of an image set, by their UIDs: UID, content and study of each.
_Rows: TypeAlias = Sequence[tuple[str, bytes, str]]
_INSTANCE: Final = "path, size, changed, study_uid, series_uid, sop_uid, identity, content, header"


@dataclass(frozen=True, slots=True)
class MadeImageSet:
    """An image set as its files have it: its id, summary, and a digest of all that its files say."""

    image_set_id: str
    is_primary: bool
    tags: Mapping[str, object]
    content: bytes


def create_tables(connection: sqlite3.Connection, number: int | None) -> None:
    """Makes the tables of a data store."""
    connection.execute(
        f"CREATE TABLE dicom_files_{number} (path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,"
        " changed INTEGER NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, sop_uid TEXT NOT NULL,"
        " identity BLOB NOT NULL, content BLOB NOT NULL, header BLOB NOT NULL)"
    )
    # Each answers its question without a look at the rows, which are as long as their headers.
    connection.execute(
        f"CREATE INDEX dicom_files_{number}_by_study ON dicom_files_{number} (study_uid, series_uid, sop_uid)"
    )
    connection.execute(
        f"CREATE INDEX dicom_files_{number}_by_series ON dicom_files_{number}"
        " (series_uid, identity, sop_uid, content, study_uid)"
    )
    connection.execute(
        f"CREATE TABLE dicom_touched_{number} (study_uid TEXT, series_uid TEXT, PRIMARY KEY (study_uid, series_uid))"
        " WITHOUT ROWID"
    )
    connection.execute(
        f"CREATE TABLE dicom_image_sets_{number} (image_set_id TEXT PRIMARY KEY, series_uid TEXT NOT NULL,"
        " content BLOB NOT NULL) WITHOUT ROWID"
    )
    connection.execute(
        f"CREATE INDEX dicom_image_sets_{number}_by_series ON dicom_image_sets_{number} (series_uid, image_set_id)"
    )
    connection.execute(
        f"CREATE TABLE dicom_versions_{number} (image_set_id TEXT, version INTEGER, updated_at INTEGER NOT NULL,"
        " PRIMARY KEY (image_set_id, version)) WITHOUT ROWID"
    )


def drop_tables(connection: sqlite3.Connection, number: int) -> None:
    """Erases the tables of a data store."""
    for table in _TABLES:
        connection.execute(f"DROP TABLE {table}_{number}")


def has_files(connection: sqlite3.Connection, number: int) -> bool:
    """Whether anything was read from files, also where its image sets have still to be made."""
    return connection.execute(f"SELECT 1 FROM dicom_files_{number} LIMIT 1").fetchone() is not None


def find_files(connection: sqlite3.Connection, number: int, paths: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
    """Size and time of change of the files among those that were read."""
    marks = ", ".join("?" * len(paths))
    rows = connection.execute(f"SELECT path, size, changed FROM dicom_files_{number} WHERE path IN ({marks})", paths)
    return {path: (size, changed) for path, size, changed in rows}


def list_files(connection: sqlite3.Connection, number: int, folder: bytes, after: bytes, limit: int) -> Sequence[bytes]:
    """The paths of files in a folder, in their order, behind one of them."""
    begin = folder.rstrip(b"/") + b"/"
    rows = connection.execute(
        f"SELECT path FROM dicom_files_{number} WHERE path > ? AND path >= ? AND path < ? ORDER BY path LIMIT ?",
        (after, begin, begin[:-1] + b"0", limit),  # 0 comes after /
    )
    return [path for (path,) in rows]


def write_files(connection: sqlite3.Connection, number: int, instances: Iterable[Instance]) -> None:
    """Stores what was read from files; where that changes anything, their image sets are to be made again."""
    for each in instances:
        key = (each.study_uid, each.series_uid, each.sop_uid, each.identity, each.content)
        row = connection.execute(
            f"SELECT study_uid, series_uid, sop_uid, identity, content FROM dicom_files_{number} WHERE path = ?",
            (each.path,),
        ).fetchone()
        if row != key:
            touched = [key[:2]] if row is None else [key[:2], row[:2]]
            connection.executemany(f"INSERT OR IGNORE INTO dicom_touched_{number} VALUES (?, ?)", touched)
        connection.execute(
            f"INSERT OR REPLACE INTO dicom_files_{number} ({_INSTANCE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (each.path, each.size, each.changed, *key, each.header),
        )


def forget_files(connection: sqlite3.Connection, number: int, paths: Iterable[bytes]) -> int:
    """Erases what was read from files, and answers of how many that was so; their image sets are to be made again."""
    return sum(_forget(connection, number, "path = ?", (path,)) for path in paths)


def forget_image_sets(connection: sqlite3.Connection, number: int, image_set_ids: Iterable[str]) -> set[str]:
    """Erases what was read from the files of image sets, so that the same ids are not made again.

    With an image set go the further contents of its instances, and what was read of its series but is not yet in any.
    Answers the studies that have lost something: their other image sets are to be made again.
    """
    studies: set[str] = set()
    for wanted in image_set_ids:
        series_uid = _find_series(connection, number, wanted)
        if series_uid is None:
            continue
        made = find_made(connection, number, series_uid)
        groups = [(key, image_set_id(series_uid, *key), rows) for key, rows in _group(connection, number, series_uid)]
        erased = {key for key, set_id, _ in groups if set_id == wanted}
        for (identity, copy), set_id, rows in groups:
            if set_id not in made or any(identity == other and copy >= least for other, least in erased):
                for sop_uid, content, study_uid in rows:
                    where = "series_uid = ? AND identity = ? AND sop_uid = ? AND content = ?"
                    _forget(connection, number, where, (series_uid, identity, sop_uid, content))
                    studies.add(study_uid)
    return studies


def _find_series(connection: sqlite3.Connection, number: int, set_id: str) -> str | None:
    row = connection.execute(
        f"SELECT series_uid FROM dicom_image_sets_{number} WHERE image_set_id = ?", (set_id,)
    ).fetchone()
    return None if row is None else str(row[0])


def _forget(connection: sqlite3.Connection, number: int, where: str, parameters: tuple[Any, ...]) -> int:
    connection.execute(
        f"INSERT OR IGNORE INTO dicom_touched_{number} SELECT study_uid, series_uid FROM dicom_files_{number}"
        f" WHERE {where}",
        parameters,
    )
    return connection.execute(f"DELETE FROM dicom_files_{number} WHERE {where}", parameters).rowcount


def next_studies(connection: sqlite3.Connection, number: int, limit: int) -> Sequence[str]:
    """Studies whose image sets are to be made again."""
    rows = connection.execute(
        f"SELECT DISTINCT study_uid FROM dicom_touched_{number} ORDER BY study_uid LIMIT ?", (limit,)
    )
    return [study_uid for (study_uid,) in rows]


def list_series(connection: sqlite3.Connection, number: int, study_uid: str) -> set[str]:
    """The series that a study has or had."""
    rows = connection.execute(
        f"SELECT series_uid FROM dicom_touched_{number} WHERE study_uid = ?1"
        f" UNION SELECT series_uid FROM dicom_files_{number} WHERE study_uid = ?1",
        (study_uid,),
    )
    return {series_uid for (series_uid,) in rows}


def settle_study(connection: sqlite3.Connection, number: int, study_uid: str) -> None:
    """Notes that a study's image sets have been made."""
    connection.execute(f"DELETE FROM dicom_touched_{number} WHERE study_uid = ?", (study_uid,))


def make_image_sets(
    connection: sqlite3.Connection, number: int, series_uid: str, counts: dict[str, tuple[int, int]]
) -> list[MadeImageSet]:
    """The image sets of a series, from its files.

    One for each identity, and further ones for instances that are there again with another content. The primary one has
    the most instances; of several, that with the first id. `counts` are those of studies, as far as they were needed.
    """
    made: list[MadeImageSet] = []
    sizes: dict[str, int] = {}
    for (identity, copy), rows in _group(connection, number, series_uid):
        sop_uid, content, study_uid = rows[0]
        header = _find_header(connection, number, (series_uid, identity, sop_uid, content))
        if study_uid not in counts:
            counts[study_uid] = _count(connection, number, study_uid)
        set_id = image_set_id(series_uid, identity, copy)
        tags = write_tags(header, *counts[study_uid])
        made.append(MadeImageSet(set_id, is_primary=False, tags=tags, content=_digest(rows)))
        if copy == 0:
            sizes[set_id] = len(rows)
    primary = min(sizes, key=lambda set_id: (-sizes[set_id], set_id), default=None)
    return [replace(each, is_primary=each.image_set_id == primary) for each in made]


def _digest(rows: _Rows) -> bytes:
    """A digest of all that the files of an image set say."""
    digest = blake2b(digest_size=16)
    for sop_uid, content, _ in rows:
        digest.update(orjson.dumps(sop_uid) + content)
    return digest.digest()


def _group(connection: sqlite3.Connection, number: int, series_uid: str) -> Iterator[tuple[tuple[bytes, int], _Rows]]:
    """The image sets of a series by identity and copy, each with its instances."""
    rows = connection.execute(
        f"SELECT DISTINCT identity, sop_uid, content, study_uid FROM dicom_files_{number} WHERE series_uid = ?"
        " ORDER BY identity, sop_uid, content",
        (series_uid,),
    )
    for identity, members in groupby(rows, itemgetter(0)):
        copies: list[list[tuple[str, bytes, str]]] = []
        for sop_uid, same in groupby(members, itemgetter(1)):
            for copy, (_, _, content, study_uid) in enumerate(same):
                if copy == len(copies):
                    copies.append([])
                copies[copy].append((sop_uid, content, study_uid))
        for copy, instances in enumerate(copies):
            yield (identity, copy), instances


def _count(connection: sqlite3.Connection, number: int, study_uid: str) -> tuple[int, int]:
    """How many series and instances of a study were read."""
    series, instances = connection.execute(
        f"SELECT count(DISTINCT series_uid), count(DISTINCT sop_uid) FROM dicom_files_{number} WHERE study_uid = ?",
        (study_uid,),
    ).fetchone()
    return series, instances


def _find_header(connection: sqlite3.Connection, number: int, key: tuple[str, bytes, str, bytes]) -> Header:
    """The header of an instance. Of its copies, which may differ in their transfer syntax, always the same one's."""
    (packed,) = connection.execute(
        f"SELECT min(header) FROM dicom_files_{number}"
        " WHERE series_uid = ? AND identity = ? AND sop_uid = ? AND content = ?",
        key,
    ).fetchone()
    return read_header(packed)


def find_made(connection: sqlite3.Connection, number: int, series_uid: str) -> dict[str, bytes]:
    """The image sets that were made of a series, by id, and the content that each had."""
    return dict(
        connection.execute(
            f"SELECT image_set_id, content FROM dicom_image_sets_{number} WHERE series_uid = ?", (series_uid,)
        )
    )


def note_made(
    connection: sqlite3.Connection, number: int, series_uid: str, made: MadeImageSet, version: int, updated_at: int
) -> None:
    """Remembers of what an image set was made, and its version."""
    connection.execute(
        f"INSERT OR REPLACE INTO dicom_image_sets_{number} VALUES (?, ?, ?)",
        (made.image_set_id, series_uid, made.content),
    )
    connection.execute(
        f"INSERT OR REPLACE INTO dicom_versions_{number} VALUES (?, ?, ?)", (made.image_set_id, version, updated_at)
    )


def forget_made(connection: sqlite3.Connection, number: int, image_set_ids: Iterable[str]) -> None:
    """Forgets image sets and their versions."""
    for table in ("dicom_image_sets", "dicom_versions"):
        connection.executemany(
            f"DELETE FROM {table}_{number} WHERE image_set_id = ?", ((set_id,) for set_id in image_set_ids)
        )


def older_versions(connection: sqlite3.Connection, number: int, set_id: str, version: int) -> Sequence[tuple[int, int]]:
    """The versions before this one, newest first, and when each was made."""
    return connection.execute(
        f"SELECT version, updated_at FROM dicom_versions_{number} WHERE image_set_id = ? AND version < ?"
        " ORDER BY version DESC",
        (set_id, version),
    ).fetchall()


def read_metadata(
    connection: sqlite3.Connection, number: int, datastore_id: str, image_set_ids: Iterable[str], limit: int
) -> dict[str, dict[str, object]]:
    """The metadata documents of those that were made of files. Raises InvalidArgument beyond `limit` bytes of JSON.

    One whose files have been read again since, with another content, has none: that version's is no longer kept.
    """
    documents = {}
    size = 0
    for wanted in dict.fromkeys(image_set_ids):
        series_uid = _find_series(connection, number, wanted)
        if series_uid is None:
            continue
        made = find_made(connection, number, series_uid)[wanted]
        headers = []
        for (identity, copy), rows in _group(connection, number, series_uid):
            if image_set_id(series_uid, identity, copy) != wanted or _digest(rows) != made:
                continue
            for sop_uid, content, _ in rows:
                header = _find_header(connection, number, (series_uid, identity, sop_uid, content))
                size += len(orjson.dumps((header.series, header.instance, header.representations)))
                if size > limit:
                    raise InvalidArgument(
                        f"the metadata of these image sets has more than {limit:,} bytes together: ask for that of"
                        " fewer at once"
                    )
                headers.append(header)
        if headers:
            documents[wanted] = write_metadata(datastore_id, wanted, headers)
    return documents
