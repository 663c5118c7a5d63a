"""The tables and indexes of one data store in the embedded store's file, and what they are named.

`sql.py` says what `image_sets` and `name_parts` hold, `texts.py` what `texts` and `grams` do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from grammar.fields import BY_NAME
from graphql_service.stores.sql import COLUMNS, column_type

#: What the usual searches read, in the order in which they answer: a patient, an accession, a study or a series alone
#: or with a period; a modality; a period alone; everything. The id, a third of an index, settles the order of ties:
#: where few rows share a value, they are soon sorted without. The last four are for finding rows alone (names through
#: `name_parts`, descriptions through `texts`); those of names and codes also list the values there are.
INDEXES: Final = (
    ("updated_at", "image_set_id"),
    ("created_at", "image_set_id"),
    ("study_at", "image_set_id"),
    ("patient_id", "updated_at", "image_set_id"),
    ("patient_id", "created_at"),
    ("patient_id", "study_at"),
    ("accession_number", "updated_at"),
    ("study_id", "updated_at"),
    ("study_uid", "updated_at"),
    ("series_uid", "updated_at"),
    ("patient_name",),
    ("description",),
    ("modality", "updated_at", "image_set_id"),
    ("body_part", "modality"),
)

#: The columns of `sql.WRITTEN`: last, where an older table gets them.
_WRITTEN: Final = ("written_name TEXT", "written_description TEXT", "study_time INTEGER")


def index_name(number: int | None, columns: Sequence[str]) -> str:
    """What an index of `image_sets` is named."""
    return f"image_sets_{number}_by_{'_and_'.join(columns)}"


def create_tables(connection: sqlite3.Connection, number: int | None) -> None:
    """The tables of a new data store, without indexes."""
    columns = ", ".join(f"{column} {column_type(BY_NAME[field].type)}" for field, column in COLUMNS.items())
    connection.execute(f"CREATE TABLE image_sets_{number} ({columns}, tags TEXT NOT NULL, {', '.join(_WRITTEN)})")
    connection.execute(
        f"CREATE TABLE name_parts_{number} (name TEXT, name_group INTEGER, position INTEGER, part TEXT,"
        " PRIMARY KEY (name, name_group, position)) WITHOUT ROWID"
    )
    create_text_tables(connection, number)


def add_written_columns(connection: sqlite3.Connection, number: int) -> None:
    """Gives an older table the columns of `sql.WRITTEN`, without values."""
    for column in _WRITTEN:
        connection.execute(f"ALTER TABLE image_sets_{number} ADD COLUMN {column}")


def create_text_tables(connection: sqlite3.Connection, number: int | None) -> None:
    """The tables of the texts there are, where they are missing."""
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS texts_{number} (id INTEGER PRIMARY KEY, field TEXT NOT NULL, text TEXT NOT NULL,"
        " UNIQUE (field, text))"
    )
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS grams_{number} (gram TEXT, id INTEGER, PRIMARY KEY (gram, id)) WITHOUT ROWID"
    )


def drop_tables(connection: sqlite3.Connection, number: int) -> None:
    """Erases them with all they hold."""
    for table in ("image_sets", "name_parts", "texts", "grams"):
        connection.execute(f"DROP TABLE {table}_{number}")


def create_unique_index(connection: sqlite3.Connection, number: int | None) -> None:
    """The index of ids. Raises sqlite3.IntegrityError where two rows share one."""
    connection.execute(f"CREATE UNIQUE INDEX image_sets_{number}_by_id ON image_sets_{number} (image_set_id)")


def create_indexes(connection: sqlite3.Connection, number: int | None) -> None:
    """The other indexes of `image_sets`, as far as they are missing."""
    for columns in INDEXES:
        name = index_name(number, columns)
        connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON image_sets_{number} ({', '.join(columns)})")


def create_part_index(connection: sqlite3.Connection, number: int | None) -> None:
    """The index of the components of names, where it is missing."""
    connection.execute(
        f"CREATE INDEX IF NOT EXISTS name_parts_{number}_by_part ON name_parts_{number} (part, position)"
    )


def renew_indexes(connection: sqlite3.Connection, number: int) -> None:
    """Builds the indexes that are missing, and drops those of an older version."""
    create_indexes(connection, number)
    kept = {index_name(number, columns) for columns in INDEXES} | {f"image_sets_{number}_by_id"}
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?", (f"image_sets_{number}",)
    ).fetchall():
        if name not in kept:
            connection.execute(f"DROP INDEX {name}")


def drop_indexes(connection: sqlite3.Connection, number: int) -> None:
    """Leaves a data store without the indexes that can be built after its rows."""
    tables = (f"image_sets_{number}", f"name_parts_{number}")
    # An index without SQL of its own is a table's primary key.
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name IN (?, ?) AND sql IS NOT NULL", tables
    ).fetchall()
    for (name,) in names:
        connection.execute(f"DROP INDEX {name}")
