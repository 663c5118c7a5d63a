"""The embedded store: many data stores in one SQLite file, every search answered by an index where there is one.

A file that is no database, of another program, or of a newer version of this one is refused
and left as it is. Each data store has tables of its own (`sql.py` and `instances.py` have what they hold), so that
one can be loaded before its indexes are built, and be erased whole.
"""

# ruff: noqa: S608 - SQL is put together from names of our own; every value is a parameter.

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, repeat, takewhile
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import uuid4

import orjson

from grammar.criteria import Condition
from grammar.fields import BY_NAME, FieldType
from grammar.values import fold
from graphql_service.errors import (
    DataStoreNotFound,
    InvalidArgument,
    LoadError,
    ServiceError,
    StoreError,
    StoreFileError,
)
from graphql_service.image_set import (
    Datastore,
    ImageSet,
    ImageSetVersion,
    Study,
    is_id,
    read_code,
    read_date,
    read_integer,
    read_text,
    read_time,
)
from graphql_service.instances import Instance
from graphql_service.ordering import place, place_key
from graphql_service.stores import finding, instances, schema, sql, texts
from graphql_service.stores.base import METADATA_LIMIT, TAGS, Answer, Capabilities, Columns, Request
from graphql_service.stores.connections import Connections, transaction
from graphql_service.stores.sql import COLUMNS, READ, WRITTEN, microseconds

Row: TypeAlias = tuple[Any, ...]
Migration: TypeAlias = Callable[[sqlite3.Connection], object]

#: In the file's header, so that a file can be told from any other program's: "ImgS".
APPLICATION_ID: Final = 0x496D6753

_BATCH: Final = 2_000
#: So many studies have their image sets made in one transaction.
_STUDIES: Final = 50

_CAPABILITIES: Final = Capabilities(columns=True)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ROW: Final = ", ".join((*COLUMNS.values(), "tags", *WRITTEN.values()))
_SUMMARY: Final = "image_set_id, version, created_at, updated_at, last_accessed_at, storage_tier, is_primary, tags"
_NAMES: Final = tuple(COLUMNS)
_VERSION, _UPDATED, _PRIMARY, _PATIENT_NAME, _DESCRIPTION = map(
    _NAMES.index, ("version", "updatedAt", "isPrimary", "DICOMPatientName", "DICOMStudyDescription")
)


def _create_datastores(connection: sqlite3.Connection) -> None:
    # AUTOINCREMENT: a number names tables, and is never given to another data store.
    connection.execute(
        "CREATE TABLE datastores (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,"
        " name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL)"
    )


def _create_watermarks(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE watermarks (number INTEGER NOT NULL, source TEXT NOT NULL, updated_at INTEGER NOT NULL,"
        " PRIMARY KEY (number, source)) WITHOUT ROWID"
    )


def _create_instances(connection: sqlite3.Connection) -> None:
    for (number,) in connection.execute("SELECT number FROM datastores").fetchall():
        instances.create_tables(connection, number)


def _create_texts(connection: sqlite3.Connection) -> None:
    for (number,) in connection.execute("SELECT number FROM datastores").fetchall():
        schema.create_text_tables(connection, number)
        schema.renew_indexes(connection, number)
        texts.remember_all_texts(connection, number)


def _add_written(connection: sqlite3.Connection) -> None:
    for (number,) in connection.execute("SELECT number FROM datastores").fetchall():
        schema.add_written_columns(connection, number)
        _fill_written(connection, number)


#: The steps from an empty file to today's schema. `PRAGMA user_version` counts those that a file has had; a step that
#: was ever released never changes.
MIGRATIONS: tuple[Migration, ...] = (
    _create_datastores,
    _create_watermarks,
    _create_instances,
    _create_texts,
    _add_written,
)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of the image sets that were loaded. `unchanged`: those that were there, the same or newer."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class MakeResult:
    """What became of the image sets whose files had changed. `erased`: those of which no file is left."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    erased: int = 0


class SQLiteStore:
    """One file of data stores. Safe to use from several threads, and from several processes at once.

    Readers never wait; writers wait for each other up to 10 seconds, then raise StoreError. `create` makes the file,
    readable by its owner alone, where there is none; without it a missing one is a StoreFileError.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path = path.absolute()
        self._connections = Connections(self._path)
        try:
            if create:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.touch(mode=0o600)
            elif not self._path.exists():
                raise StoreFileError(f"there is no store at {self._path}; `imagesets load` makes one")
        except OSError as error:
            raise StoreFileError(f"{self._path} cannot be made: {error.strerror}") from error
        with self._connections.writing() as connection:
            self._prepare(connection, create=create)

    @property
    def capabilities(self) -> Capabilities:
        """Everything, exactly, in both directions."""
        return _CAPABILITIES

    def sharing(self) -> AbstractContextManager[None]:
        """One state of the file for whatever this thread reads within. Raises as what is read does."""
        return self._connections.sharing()

    def datastores(self) -> tuple[Datastore, ...]:
        """Every data store in the file, by id."""
        with self._connections.reading() as connection:
            return tuple(map(_datastore, connection.execute(f"{_SELECT_DATASTORES} ORDER BY id")))

    def datastore(self, datastore_id: str) -> Datastore | None:
        """One data store by its id; None where there is none."""
        with self._connections.reading() as connection:
            return _find_datastore(connection, "id", datastore_id)

    def image_sets(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, ImageSet]:
        """The image sets that exist among those named, by id. Raises DataStoreNotFound."""
        with self._connections.reading() as connection:
            number = _number(connection, datastore_id)
            rows = connection.execute(
                f"SELECT {_SUMMARY} FROM image_sets_{number} WHERE image_set_id IN (SELECT value FROM json_each(?))",
                (_json_list(image_set_ids),),
            )
            return {row[0]: _image_set(datastore_id, row) for row in rows}

    def versions(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, tuple[ImageSetVersion, ...]]:
        """Every version of image sets made of DICOM files, newest first; of others the one that is there.

        Raises DataStoreNotFound.
        """
        found = self.image_sets(datastore_id, image_set_ids)
        with self._connections.reading() as connection:
            number = _number(connection, datastore_id)
            return {set_id: tuple(_read_versions(connection, number, each)) for set_id, each in found.items()}

    def metadata(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """The documents of those that were made of DICOM files: of others, and of some while files are loaded, none.

        Raises DataStoreNotFound, and InvalidArgument where they have more than `METADATA_LIMIT` bytes together.
        """
        wanted = [each for each in image_set_ids if is_id(each)]
        with self._connections.reading() as connection:
            number = _number(connection, datastore_id)
            return instances.read_metadata(connection, number, datastore_id, wanted, METADATA_LIMIT)

    def fetch(self, request: Request) -> Answer:
        """One page; at any depth it costs what its rows cost, where an index serves. Raises DataStoreNotFound."""
        rows = self._read(request, _SUMMARY)
        found = [_image_set(request.datastore_id, row) for row in rows]
        stop = request.after if request.backward else request.before
        if stop is not None:
            # Few requests have both ends: the second needs no index of its own.
            rank = place_key(request.sort)
            end = rank(stop)
            if request.backward:
                found = list(takewhile(lambda each: rank(place(each, request.sort)) > end, found))
            else:
                found = list(takewhile(lambda each: rank(place(each, request.sort)) < end, found))
        page = found[: request.limit]
        return Answer(tuple(reversed(page) if request.backward else page), len(found) > request.limit)

    def fetch_columns(self, request: Request, fields: Sequence[str]) -> Columns:
        """One page of these fields, read from their columns alone. Raises DataStoreNotFound."""
        rows = self._read(request, _select(tuple(fields)))
        page = rows[: request.limit]
        if request.backward:
            page.reverse()
        columns = zip(*page, strict=True) if page else repeat((), len(fields))
        values: dict[str, Sequence[Any]] = dict(zip(fields, columns, strict=True))
        if TAGS in values:
            values[TAGS] = list(map(orjson.loads, values[TAGS]))
        return Columns(values, len(page), len(rows) > request.limit)

    def _read(self, request: Request, columns: str) -> list[Row]:
        """The rows from where the request begins reading, one more than it wants where there are so many."""
        with self._connections.reading() as connection:
            return finding.read_rows(connection, _number(connection, request.datastore_id), request, columns)

    def studies(self, datastore_id: str, study_uids: Sequence[str]) -> Mapping[str, Study]:
        """The studies that exist among those named, by Study Instance UID. Raises DataStoreNotFound."""
        with self._connections.reading() as connection:
            number = _number(connection, datastore_id)
            wanted = (_json_list(study_uids),)
            told = {
                uid: (count, tuple(sorted(filter(None, orjson.loads(modalities)))))
                for uid, count, modalities in connection.execute(
                    "SELECT study_uid, count(*), json_group_array(DISTINCT modality) FROM"
                    f" image_sets_{number} WHERE study_uid IN (SELECT value FROM json_each(?)) GROUP BY study_uid",
                    wanted,
                )
            }
            # As `image_set.speaks_for_study` ranks them.
            speakers = connection.execute(
                f"SELECT study_uid, {_SUMMARY} FROM json_each(?) JOIN image_sets_{number} AS this ON this.rowid ="
                f" (SELECT rowid FROM image_sets_{number} WHERE study_uid = json_each.value"
                " ORDER BY is_primary IS 1 DESC, updated_at DESC, image_set_id DESC LIMIT 1)",
                wanted,
            )
            studies = {}
            for uid, *row in speakers:
                count, modalities = told[uid]
                studies[uid] = Study(uid, _image_set(datastore_id, tuple(row)), modalities, count)
            return studies

    def count(self, datastore_id: str, where: Condition, limit: int, *, studies: bool = False) -> int:
        """How many image sets or studies, counting no further than `limit`. Raises DataStoreNotFound."""
        with self._connections.reading() as connection:
            number = _number(connection, datastore_id)
            if not studies:
                return finding.count_rows(connection, number, where, limit)
            found = finding.all_rows(connection, number, where)
            query = (
                f"SELECT count(*) FROM (SELECT DISTINCT study_uid FROM {found.text} AND study_uid IS NOT NULL LIMIT ?)"
            )
            return int(connection.execute(query, (*found.parameters, limit)).fetchone()[0])

    def histogram(
        self, datastore_id: str, where: Condition, field: str, step: timedelta
    ) -> Sequence[tuple[datetime, int]]:
        """How many image sets by their value of a date field, in one pass. Raises DataStoreNotFound."""
        column = COLUMNS[field]
        width = step // timedelta(microseconds=1)
        epoch = _EPOCH if BY_NAME[field].type is FieldType.INSTANT else _EPOCH.replace(tzinfo=None)
        with self._connections.reading() as connection:
            number = _number(connection, datastore_id)
            found = finding.all_rows(connection, number, where)
            rows = connection.execute(
                # The remainder has the sign of the time: before 1970 it is counted from the step's end.
                f"SELECT {column} - (({column} % ?1) + ?1) % ?1 AS start, count(*) FROM {found.text}"
                f" AND {column} IS NOT NULL GROUP BY start ORDER BY start",
                (width, *found.parameters),
            )
            return [(epoch + timedelta(0, 0, start), count) for start, count in rows]

    def values(self, datastore_id: str, field: str) -> tuple[str, ...]:
        """The values of a field with an index of its own, each found by one step in it. Raises DataStoreNotFound."""
        column = COLUMNS[field]
        with self._connections.reading() as connection:
            table = f"image_sets_{_number(connection, datastore_id)}"
            rows = connection.execute(
                f"WITH RECURSIVE found(value) AS (SELECT min({column}) FROM {table} UNION ALL SELECT"
                f" (SELECT min({column}) FROM {table} WHERE {column} > value) FROM found WHERE value IS NOT NULL)"
                " SELECT value FROM found WHERE value IS NOT NULL LIMIT 200"
            )
            return tuple(value for (value,) in rows)

    def create_datastore(self, id_or_name: str, *, name: str | None = None) -> Datastore:
        """The data store of this id (`[0-9a-z]{32}`) or, for any other value, of this name; made where there is none.

        A new one that is made by id is named `name`, or after its id. Raises InvalidArgument for a name that is empty,
        longer than 256 characters, or taken.
        """
        named = not is_id(id_or_name)
        name = id_or_name if named else name or id_or_name
        if read_text(name) != name or not name.strip() or len(name) > 256:
            raise InvalidArgument("a data store's name has 1 to 256 characters")
        with self._connections.writing() as connection, _transaction(connection):
            found = _find_datastore(connection, "name" if named else "id", id_or_name)
            if found is not None:
                return found
            if _find_datastore(connection, "name", name) is not None:
                raise InvalidArgument(f"another data store is named '{name}'")
            datastore_id = uuid4().hex if named else id_or_name
            now = microseconds(datetime.now(UTC))
            number = connection.execute(
                "INSERT INTO datastores (id, name, created_at, updated_at) VALUES (?, ?, ?, ?)",
                (datastore_id, name, now, now),
            ).lastrowid
            schema.create_tables(connection, number)
            schema.create_unique_index(connection, number)
            schema.create_indexes(connection, number)
            schema.create_part_index(connection, number)
            instances.create_tables(connection, number)
            return Datastore(datastore_id, name, created_at=_moment(now), updated_at=_moment(now))

    def load(
        self, datastore: str, image_sets: Iterable[ImageSet], progress: Callable[[int], object] = lambda _: None
    ) -> LoadResult:
        """Writes image sets into a data store, by id or name, which is made where there is none.

        The newer (version, then updatedAt) of two that share an id stays; of two as new, the later one read. They are
        read as they are written, a few thousand in memory at once; `progress` is told how many so far. An empty data
        store is filled in one transaction and indexed at its end, any other in transactions of 2,000. When the source
        stops with a ServiceError or KeyboardInterrupt, what came before it is kept, then the error is raised.
        """
        found = self.create_datastore(datastore)
        with self._connections.writing() as connection:
            number = _number(connection, found.datastore_id)
            if _is_empty(connection, number):
                result, stopped = _fill(connection, number, iter(image_sets), progress)
            else:
                result, stopped = _merge(connection, number, iter(image_sets), progress)
            # A reader may still need what is in the log: then a later load or the last reader to leave empties it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if stopped is not None:
            raise stopped
        return result

    def image_set_ids(self, datastore_id: str) -> set[str]:
        """The id of every image set; some 80 bytes of memory each. Raises DataStoreNotFound."""
        with self._connections.reading() as connection:
            number = _number(connection, datastore_id)
            return {row[0] for row in connection.execute(f"SELECT image_set_id FROM image_sets_{number}")}

    def watermarks(self, datastore_id: str) -> Mapping[str, datetime]:
        """For each source that is copied into a data store: what was updated there before this time has been stored.

        Raises DataStoreNotFound.
        """
        with self._connections.reading() as connection:
            number = _number(connection, datastore_id)
            rows = connection.execute("SELECT source, updated_at FROM watermarks WHERE number = ?", (number,))
            return {source: _EPOCH + timedelta(0, 0, updated_at) for source, updated_at in rows}

    def raise_watermark(self, datastore_id: str, source: str, updated_at: datetime) -> None:
        """Remembers how far a source has been stored; an earlier time than that which is known changes nothing.

        Raises DataStoreNotFound.
        """
        with self._connections.writing() as connection, _transaction(connection):
            connection.execute(
                "INSERT INTO watermarks VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET updated_at = max(updated_at, excluded.updated_at)",
                (_number(connection, datastore_id), source, microseconds(updated_at)),
            )

    def remove(self, datastore_id: str, image_set_ids: Collection[str]) -> int:
        """Erases image sets, their bytes in the file too; returns how many there were. Raises DataStoreNotFound.

        What was read from their DICOM files is erased with them, so that loading these again makes them again.
        """
        with self._connections.writing() as connection:
            with _transaction(connection):
                number = _number(connection, datastore_id)
                ids = [each for each in image_set_ids if read_text(each) is not None]
                studies = instances.forget_image_sets(connection, number, ids)
                removed = _erase(connection, number, ids)
                _make_studies(connection, number, datastore_id, studies)  # what is left of them is counted anew
                _touch(connection, number)
            self._empty_log(connection)
        return removed

    def remove_datastore(self, datastore_id: str, *, only_empty: bool = False) -> None:
        """Erases a data store and all its image sets, their bytes in the file too. Raises DataStoreNotFound.

        `only_empty` leaves one as it is that holds image sets, or what they are still to be made of.
        """
        with self._connections.writing() as connection:
            with _transaction(connection):
                number = _number(connection, datastore_id)
                if only_empty and not (_is_empty(connection, number) and not instances.has_files(connection, number)):
                    return
                schema.drop_tables(connection, number)
                instances.drop_tables(connection, number)
                connection.execute("DELETE FROM watermarks WHERE number = ?", (number,))
                connection.execute("DELETE FROM datastores WHERE number = ?", (number,))
            self._empty_log(connection)

    def find_files(self, datastore_id: str, paths: Sequence[bytes]) -> Mapping[bytes, tuple[int, int]]:
        """Size in bytes and time of change in ns of each DICOM file that was read before, as it was then.

        Raises DataStoreNotFound.
        """
        with self._connections.reading() as connection:
            return instances.find_files(connection, _number(connection, datastore_id), paths)

    def list_files(self, datastore_id: str, folder: bytes) -> Iterator[bytes]:
        """The path of each DICOM file in a folder that was read, in their order, a few at once.

        Raises DataStoreNotFound.
        """
        last = b""
        while True:
            with self._connections.reading() as connection:
                number = _number(connection, datastore_id)
                paths = instances.list_files(connection, number, folder, last, _BATCH)
            if not paths:
                return
            yield from paths
            last = paths[-1]

    def write_files(self, datastore_id: str, files: Iterable[Instance]) -> None:
        """Keeps what was read from DICOM files, all or nothing. `make_image_sets` makes image sets of them.

        Raises DataStoreNotFound.
        """
        with self._connections.writing() as connection, _transaction(connection):
            instances.write_files(connection, _number(connection, datastore_id), files)

    def forget_files(self, datastore_id: str, paths: Iterable[bytes]) -> int:
        """Erases what was read from DICOM files, and answers of how many; `make_image_sets` erases image sets.

        Raises DataStoreNotFound.
        """
        with self._connections.writing() as connection, _transaction(connection):
            return instances.forget_files(connection, _number(connection, datastore_id), paths)

    def make_image_sets(
        self, datastore_id: str, progress: Callable[[MakeResult], object] = lambda _: None
    ) -> MakeResult:
        """Brings the image sets of every study up to date whose files have changed, a few studies at once.

        One that is no longer what it was becomes a new version. Stopped anywhere, the next call does the rest.
        `progress` is told what became of them so far. Raises DataStoreNotFound.
        """
        result = MakeResult()
        with self._connections.writing() as connection:
            while True:
                with _transaction(connection):
                    number = _number(connection, datastore_id)
                    studies = instances.next_studies(connection, number, _STUDIES)
                    if not studies:
                        break
                    made = _make_studies(connection, number, datastore_id, studies)
                    if made.inserted or made.updated or made.erased:
                        _touch(connection, number)
                result = MakeResult(
                    result.inserted + made.inserted,
                    result.updated + made.updated,
                    result.unchanged + made.unchanged,
                    result.erased + made.erased,
                )
                progress(result)
            if result.erased:
                self._empty_log(connection)
        return result

    def close(self) -> None:
        """Give up the file. A search that is running ends first."""
        self._connections.close()

    def _prepare(self, connection: sqlite3.Connection, *, create: bool) -> None:
        """Checks that the file is a store, and brings an older one up to date."""
        application, version = _header(connection)
        if (application, version) == (0, 0) and not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            if not create:
                raise StoreFileError(f"{self._path} is empty; `imagesets load` makes a store")
            connection.execute("PRAGMA page_size = 16384")  # a row has about 800 bytes
            connection.execute("PRAGMA journal_mode = WAL")
        elif application != APPLICATION_ID:
            raise StoreFileError(f"{self._path} is a database of another program")
        if version > len(MIGRATIONS):
            raise StoreFileError(f"{self._path} was written by a newer version of this program: {_describe(version)}")
        if version < len(MIGRATIONS):
            with transaction(connection):
                _, version = _header(connection)  # another process may have been quicker
                for migrate in MIGRATIONS[version:]:
                    migrate(connection)
                connection.execute(f"PRAGMA user_version = {max(version, len(MIGRATIONS))}")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _empty_log(self, connection: sqlite3.Connection) -> None:
        """Until the log is emptied it still holds what was erased."""
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreError(
                f"erased, but {self._path}-wal still holds it while another program reads; remove again once that ends"
            )


_SELECT_DATASTORES: Final = "SELECT id, name, created_at, updated_at FROM datastores"


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    """The file's application id and schema version."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version


def _describe(version: int) -> str:
    return f"its schema is {version}, and {len(MIGRATIONS)} is the newest that this version reads"


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Refuses a file that a newer version has brought up to date since it was opened."""
    with transaction(connection):
        _, version = _header(connection)
        if version > len(MIGRATIONS):
            raise StoreFileError(f"a newer version of this program has taken over the store: {_describe(version)}")
        yield


def _find_datastore(connection: sqlite3.Connection, column: str, value: str) -> Datastore | None:
    if read_text(value) is None:
        return None
    row = connection.execute(f"{_SELECT_DATASTORES} WHERE {column} = ?", (value,)).fetchone()
    return None if row is None else _datastore(row)


def _number(connection: sqlite3.Connection, datastore_id: str) -> int:
    """The number in the names of a data store's tables."""
    row = None
    if read_text(datastore_id) is not None:
        row = connection.execute("SELECT number FROM datastores WHERE id = ?", (datastore_id,)).fetchone()
    if row is None:
        raise DataStoreNotFound("there is no data store with this id: 'datastores' lists those there are")
    return int(row[0])


@lru_cache(1_024)
def _select(fields: tuple[str, ...]) -> str:
    """The columns that answer for these fields."""
    return ", ".join([READ[field] for field in fields])


def _touch(connection: sqlite3.Connection, number: int) -> None:
    now = microseconds(datetime.now(UTC))
    connection.execute("UPDATE datastores SET updated_at = ? WHERE number = ?", (now, number))


def _json_list(values: Iterable[str]) -> str:
    """A list of ids as one parameter, without those that no id can be (with a lone surrogate)."""
    return orjson.dumps([value for value in values if read_text(value) is not None]).decode()


def _is_empty(connection: sqlite3.Connection, number: int) -> bool:
    return connection.execute(f"SELECT 1 FROM image_sets_{number} LIMIT 1").fetchone() is None


def _fill(
    connection: sqlite3.Connection, number: int, source: Iterator[ImageSet], progress: Callable[[int], object]
) -> tuple[LoadResult, BaseException | None]:
    """Writes everything into an empty data store, then builds its indexes; and what stopped the source, if anything."""
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # the log is emptied once, at the end
    with _transaction(connection):
        if not _is_empty(connection, number):
            raise StoreError("another program has just loaded into this data store; load again")
        schema.drop_indexes(connection, number)
        before = connection.total_changes
        stopped: BaseException | None = None
        try:
            connection.executemany(_insert(number), _read_rows(source, progress))
        except (ServiceError, KeyboardInterrupt) as error:
            stopped = error
        written = connection.total_changes - before
        updated = unchanged = 0
        try:
            schema.create_unique_index(connection, number)
        except sqlite3.IntegrityError:
            updated, unchanged = _drop_older(connection, number)
            schema.create_unique_index(connection, number)
        schema.create_indexes(connection, number)
        texts.remember_all_texts(connection, number)
        _touch(connection, number)
    return LoadResult(written - updated - unchanged, updated, unchanged), stopped


def _read_rows(source: Iterator[ImageSet], progress: Callable[[int], object]) -> Iterator[Row]:
    for done, image_set in enumerate(source, 1):
        yield read_row(image_set)
        if done % _BATCH == 0:
            progress(done)


def _drop_older(connection: sqlite3.Connection, number: int) -> tuple[int, int]:
    """Of the rows that share an id keeps the one that loading them one after the other would keep.

    Returns how many times a row took the place of another one, and how many times it did not.
    """
    connection.execute(f"CREATE INDEX image_sets_{number}_by_id ON image_sets_{number} (image_set_id)")
    updated = unchanged = 0
    last = ""
    while ids := [
        row[0]
        for row in connection.execute(
            f"SELECT image_set_id FROM image_sets_{number} WHERE image_set_id > ?"
            f" GROUP BY image_set_id HAVING count(*) > 1 LIMIT {_BATCH}",
            (last,),
        )
    ]:
        last = ids[-1]
        for image_set_id in ids:
            kept, *others = connection.execute(
                f"SELECT {_ROW}, rowid FROM image_sets_{number} WHERE image_set_id = ? ORDER BY rowid", (image_set_id,)
            ).fetchall()
            for other in others:
                if _replaces(other[:-1], kept[:-1]):
                    kept = other
                    updated += 1
                else:
                    unchanged += 1
            connection.execute(
                f"DELETE FROM image_sets_{number} WHERE image_set_id = ? AND rowid <> ?", (image_set_id, kept[-1])
            )
    connection.execute(f"DROP INDEX image_sets_{number}_by_id")
    return updated, unchanged


def _merge(
    connection: sqlite3.Connection, number: int, source: Iterator[ImageSet], progress: Callable[[int], object]
) -> tuple[LoadResult, BaseException | None]:
    """Writes everything into a data store that already holds something, batch by batch."""
    result = LoadResult()
    stopped: BaseException | None = None
    done = 0
    while stopped is None:
        batch: list[Row] = []
        try:
            for image_set in islice(source, _BATCH):
                batch.append(read_row(image_set))  # noqa: PERF401 - what came before an error must stay
        except (ServiceError, KeyboardInterrupt) as error:
            stopped = error
        if not batch:
            break
        with _transaction(connection):
            written = _merge_batch(connection, number, batch)
        result = LoadResult(
            result.inserted + written.inserted,
            result.updated + written.updated,
            result.unchanged + written.unchanged,
        )
        done += len(batch)
        progress(done)
    return result, stopped


def _merge_batch(connection: sqlite3.Connection, number: int, batch: Sequence[Row]) -> LoadResult:
    stored: dict[str, Row] = {
        row[0]: row
        for row in connection.execute(
            f"SELECT {_ROW} FROM image_sets_{number} WHERE image_set_id IN (SELECT value FROM json_each(?))",
            (_json_list({row[0] for row in batch}),),
        )
    }
    before = list(stored.values())
    changed: dict[str, Row] = {}
    inserted = updated = 0
    for row in batch:
        old = stored.get(row[0])
        if old is None:
            inserted += 1
        elif _replaces(row, old):
            updated += 1
        else:
            continue
        stored[row[0]] = changed[row[0]] = row
    connection.executemany(_insert(number), changed.values())
    _renew_texts(connection, number, before, changed.values())
    if changed:
        _touch(connection, number)
    return LoadResult(inserted, updated, len(batch) - inserted - updated)


def _make_studies(
    connection: sqlite3.Connection, number: int, datastore_id: str, studies: Collection[str]
) -> MakeResult:
    """Brings the image sets of studies up to date with their files."""
    now = datetime.now(UTC)
    series = {each for study_uid in studies for each in instances.list_series(connection, number, study_uid)}
    counts: dict[str, tuple[int, int]] = {}
    written: list[Row] = []
    replaced: list[Row] = []
    inserted = unchanged = erased = 0
    for series_uid in sorted(series):
        before = instances.find_made(connection, number, series_uid)
        for made in instances.make_image_sets(connection, number, series_uid, counts):
            content = before.pop(made.image_set_id, None)
            old = connection.execute(
                f"SELECT {_ROW} FROM image_sets_{number} WHERE image_set_id = ?", (made.image_set_id,)
            ).fetchone()
            row = _make_row(datastore_id, made, old, now)
            if content == made.content and row == old:
                unchanged += 1
                continue
            if old is None:
                inserted += 1
            else:
                replaced.append(old)
                row = _next_version(row, now)
            written.append(row)
            instances.note_made(connection, number, series_uid, made, row[_VERSION], row[_UPDATED])
        erased += _erase(connection, number, before)
    connection.executemany(_insert(number), written)
    _renew_texts(connection, number, replaced, written)
    for study_uid in studies:
        instances.settle_study(connection, number, study_uid)
    return MakeResult(inserted, len(written) - inserted, unchanged, erased)


def _make_row(datastore_id: str, made: instances.MadeImageSet, old: Row | None, now: datetime) -> Row:
    """The row of an image set: with the version, times and tier that it has, or those of a new one."""
    row = read_row(
        ImageSet(datastore_id, made.image_set_id, 1, now, now, None, "FREQUENT_ACCESS", made.is_primary, made.tags)
    )
    return row if old is None else (row[0], *old[1:_PRIMARY], *row[_PRIMARY:])


def _next_version(row: Row, now: datetime) -> Row:
    """The row with the version after its own. Its time is never before that of the version before."""
    changed = list(row)
    changed[_VERSION] = (row[_VERSION] or 1) + 1
    changed[_UPDATED] = max(microseconds(now), (row[_UPDATED] or 0) + 1)
    return tuple(changed)


def _erase(connection: sqlite3.Connection, number: int, image_set_ids: Collection[str]) -> int:
    """Erases image sets, and answers how many there were."""
    chosen = f"FROM image_sets_{number} WHERE image_set_id IN (SELECT value FROM json_each(?))"
    ids = (_json_list(image_set_ids),)
    gone = connection.execute(f"SELECT DISTINCT patient_name, description {chosen}", ids).fetchall()
    removed = connection.execute(f"DELETE {chosen}", ids).rowcount
    texts.forget_texts(connection, number, {name for name, _ in gone}, {description for _, description in gone})
    instances.forget_made(connection, number, image_set_ids)
    return removed


def _read_versions(connection: sqlite3.Connection, number: int, image_set: ImageSet) -> Iterator[ImageSetVersion]:
    """The versions of an image set, newest first."""
    # Searches do not find locked and deleted image sets, so none is kept.
    yield ImageSetVersion(image_set.version, image_set.created_at, image_set.updated_at, "ACTIVE")
    if image_set.version is not None:
        for version, updated_at in instances.older_versions(
            connection, number, image_set.image_set_id, image_set.version
        ):
            yield ImageSetVersion(version, image_set.created_at, _moment(updated_at), "ACTIVE")


def _insert(number: int) -> str:
    marks = ", ".join("?" * (len(COLUMNS) + 1 + len(WRITTEN)))
    return f"INSERT OR REPLACE INTO image_sets_{number} ({_ROW}) VALUES ({marks})"


def _fill_written(connection: sqlite3.Connection, number: int) -> None:
    """Writes the columns of `WRITTEN` in every row, from its tags."""
    last = 0
    columns = ", ".join(f"{column} = ?" for column in WRITTEN.values())
    while rows := connection.execute(
        f"SELECT rowid, tags FROM image_sets_{number} WHERE rowid > ? ORDER BY rowid LIMIT {_BATCH}", (last,)
    ).fetchall():
        last = rows[-1][0]
        connection.executemany(
            f"UPDATE image_sets_{number} SET {columns} WHERE rowid = ?",
            ((*_read_written(orjson.loads(tags)), rowid) for rowid, tags in rows),
        )


def _replaces(new: Row, old: Row) -> bool:
    """Whether a row takes the place of the one stored under its id."""
    return _age(new) >= _age(old) and new != old


def _age(row: Row) -> tuple[tuple[bool, int], ...]:
    return tuple((value is not None, value or 0) for value in (row[_VERSION], row[_UPDATED]))


def _renew_texts(connection: sqlite3.Connection, number: int, before: Iterable[Row], after: Iterable[Row]) -> None:
    """Keeps names and descriptions of rows that have been written, and erases those that no row has any more."""
    old, new = (
        [{row[column] for row in rows} for column in (_PATIENT_NAME, _DESCRIPTION)]
        for rows in (tuple(before), tuple(after))
    )
    texts.remember_texts(connection, number, *new)
    texts.forget_texts(connection, number, *(gone - kept for gone, kept in zip(old, new, strict=True)))


def read_row(image_set: ImageSet) -> Row:
    """The image set as a row: fields as `sql.column_value` has them, by `COLUMNS`, then the tags, then `WRITTEN`.

    Raises LoadError where the tags are not JSON.
    """
    try:
        tags = orjson.dumps(image_set.tags).decode()
    except TypeError as error:
        raise LoadError(f"the tags of image set {image_set.image_set_id} are not JSON") from error
    try:
        return _read_columns(image_set, tags)
    except TypeError:  # a tag holds a list or an object, which no cache takes
        return (
            *(sql.column_value(BY_NAME[field].type, image_set.value(field)) for field in COLUMNS),
            tags,
            *_read_written(image_set.tags),
        )


def _read_written(tags: Mapping[str, object]) -> Row:
    """The values of `WRITTEN`, in its order."""
    clock = read_time(tags.get("DICOMStudyTime"))
    return (
        read_text(tags.get("DICOMPatientName")),
        read_text(tags.get("DICOMStudyDescription")),
        None if clock is None else clock // _MICROSECOND,
    )


# What image sets of one study and one import share is read once. A century has 36,525 days.
_since: Final = lru_cache(1_024)(lambda moment: None if moment is None else microseconds(moment))
_date: Final = lru_cache(40_000)(lambda stored: None if (day := read_date(stored)) is None else microseconds(day))
_time: Final = lru_cache(1_024)(lambda stored: None if (time := read_time(stored)) is None else time // _MICROSECOND)
#: As it is written, and folded.
_text: Final = lru_cache(1_024)(
    lambda stored: (None, None) if (text := read_text(stored)) is None else (text, fold(text))
)
_code: Final = lru_cache(1_024)(read_code)

_IDS: Final = (
    "DICOMPatientId",
    "DICOMAccessionNumber",
    "DICOMStudyId",
    "DICOMStudyInstanceUID",
    "DICOMSeriesInstanceUID",
)


def _read_columns(image_set: ImageSet, tags: str) -> Row:
    """The row, written out: loading spends most of its time here. A test holds it to `ImageSet.value`."""
    tag = image_set.tags.get
    study_day, study_time = _date(tag("DICOMStudyDate")), _time(tag("DICOMStudyTime"))
    name, folded_name = _text(tag("DICOMPatientName"))
    description, folded_description = _text(tag("DICOMStudyDescription"))
    return (
        image_set.image_set_id,
        image_set.version,
        _since(image_set.created_at),
        _since(image_set.updated_at),
        _since(image_set.last_accessed_at),
        image_set.storage_tier,
        None if image_set.is_primary is None else int(image_set.is_primary),  # sqlite3 is slow to take a bool
        *_read_texts(tuple(map(tag, _IDS))),
        None if study_day is None else study_day + (study_time or 0),
        _date(tag("DICOMPatientBirthDate")),
        folded_name,
        _code(tag("DICOMPatientSex")),
        folded_description,
        _code(tag("DICOMSeriesModality")),
        _code(tag("DICOMSeriesBodyPart")),
        read_integer(tag("DICOMSeriesNumber")),
        read_integer(tag("DICOMNumberOfStudyRelatedSeries")),
        read_integer(tag("DICOMNumberOfStudyRelatedInstances")),
        tags,
        name,
        description,
        study_time,
    )


def _read_texts(stored: tuple[Any, ...]) -> tuple[str | None, ...]:
    """`read_text` of each; of all at once where all are plain ASCII, as ids mostly are."""
    try:
        whole = "".join(stored)
    except TypeError:
        return tuple(map(read_text, stored))
    if whole.isascii() and "\0" not in whole and all(stored):
        return stored
    return tuple(map(read_text, stored))


def _moment(since_1970: int | None) -> datetime | None:
    return None if since_1970 is None else _EPOCH + timedelta(0, 0, since_1970)


@lru_cache(1_024)
def _datastore(row: Row) -> Datastore:
    datastore_id, name, created_at, updated_at = row
    return Datastore(datastore_id, name, created_at=_moment(created_at), updated_at=_moment(updated_at))


def _image_set(datastore_id: str, row: Row) -> ImageSet:
    image_set_id, version, created, updated, accessed, tier, primary, tags = row
    return ImageSet(
        datastore_id,
        image_set_id,
        version,
        _moment(created),
        _moment(updated),
        _moment(accessed),
        tier,
        None if primary is None else bool(primary),
        orjson.loads(tags),
    )
