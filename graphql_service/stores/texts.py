"""The texts of one data store, each once, however many image sets have it: what a search for a part of one begins with.

`name_parts` holds the components of every name, `texts` every component ("part") and description there is, and `grams`
the three characters at each place of these: a text with `contrast` in it is among those with `con`, `ont` and so on,
and of these the rarest is looked up. All are folded. They are tables like any other, and not SQLite's own index of
trigrams, which keeps the words of what was erased until it happens to be merged.
"""

# ruff: noqa: S608 - SQL is put together from names of our own; every value is a parameter.

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final

from graphql_service.patterns import split_name
from graphql_service.stores import schema

#: How many characters a gram has.
GRAM: Final = 3
_BATCH: Final = 10_000


def remember_texts(
    connection: sqlite3.Connection, number: int, names: Collection[str | None], descriptions: Collection[str | None]
) -> None:
    """Keeps folded names and descriptions that image sets have."""
    _remember_names(connection, number, names)
    parts = _split(names)
    _remember(connection, number, "part", sorted(parts))
    _remember(connection, number, "description", sorted(each for each in descriptions if each is not None))


def remember_all_texts(connection: sqlite3.Connection, number: int) -> None:
    """Keeps every name and description of a data store whose indexes are there, but for that of components.

    That one is built here when the components are there: one by one they would be written all over it.
    """
    names = connection.execute(f"SELECT DISTINCT patient_name FROM image_sets_{number}")
    _remember_names(connection, number, (name for (name,) in names))
    schema.create_part_index(connection, number)
    parts = connection.execute(f"SELECT DISTINCT part FROM name_parts_{number} ORDER BY part")
    _remember(connection, number, "part", (part for (part,) in parts))
    descriptions = connection.execute(
        f"SELECT DISTINCT description FROM image_sets_{number} WHERE description IS NOT NULL ORDER BY description"
    )
    _remember(connection, number, "description", (description for (description,) in descriptions))


def forget_texts(
    connection: sqlite3.Connection, number: int, names: Collection[str | None], descriptions: Collection[str | None]
) -> None:
    """Erases of these folded names and descriptions what no image set has any more."""
    connection.executemany(
        f"DELETE FROM name_parts_{number} WHERE name = ?1"
        f" AND NOT EXISTS (SELECT 1 FROM image_sets_{number} WHERE patient_name = ?1)",
        ((name,) for name in names if name is not None),
    )
    parts = _split(names)
    for field, texts, table in (
        ("part", parts, f"name_parts_{number}"),
        ("description", descriptions, f"image_sets_{number}"),
    ):
        for text in texts:
            gone = connection.execute(
                f"SELECT id, text FROM texts_{number} WHERE field = ?1 AND text = ?2"
                f" AND NOT EXISTS (SELECT 1 FROM {table} WHERE {field} = ?2)",
                (field, text),
            ).fetchall()
            connection.executemany(f"DELETE FROM texts_{number} WHERE id = ?", [(text_id,) for text_id, _ in gone])
            connection.executemany(f"DELETE FROM grams_{number} WHERE gram = ? AND id = ?", _grams(gone))


def cut_grams(text: str) -> set[str]:
    """The grams of a text: none where it is shorter than one."""
    return {text[place : place + GRAM] for place in range(len(text) - GRAM + 1)}


def _split(names: Collection[str | None]) -> set[str]:
    """The components of names."""
    return {part for name in names if name is not None for group in split_name(name) for part in group if part}


def _remember_names(connection: sqlite3.Connection, number: int, names: Iterable[str | None]) -> None:
    connection.executemany(
        f"INSERT OR IGNORE INTO name_parts_{number} VALUES (?, ?, ?, ?)",
        (
            (name, name_group, position, part)
            for name in names
            if name is not None
            for name_group, parts in enumerate(split_name(name))
            for position, part in enumerate(parts)
            if part
        ),
    )


def _remember(connection: sqlite3.Connection, number: int, field: str, texts: Iterable[str]) -> None:
    left = iter(texts)
    while batch := list(islice(left, _BATCH)):
        new = []
        for text in batch:
            added = connection.execute(
                f"INSERT OR IGNORE INTO texts_{number} (field, text) VALUES (?, ?)", (field, text)
            )
            if added.rowcount and added.lastrowid is not None:
                new.append((added.lastrowid, text))
        # In their order: pages of the table that are far apart would be read again and again.
        connection.executemany(f"INSERT INTO grams_{number} VALUES (?, ?)", sorted(_grams(new)))


def _grams(texts: Iterable[tuple[int, str]]) -> Iterator[tuple[str, int]]:
    return ((gram, text_id) for text_id, text in texts for gram in cut_grams(text))
