r"""Image sets on standard output: a table for people; JSON, NDJSON and CSV for programs.

NDJSON and JSON hold each summary whole, in the form that `imagesets load` reads. CSV has one column for each field of
the language, typed as the language types it, so that a stored date which is none is an empty cell there. In table and
CSV control characters are escaped (`\x1b`, `\n`), and a spreadsheet is never sent a stored formula.
"""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, tzinfo
from typing import BinaryIO, Final, NoReturn, TypeAlias
from unicodedata import category

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grammar.fields import BY_NAME, FIELDS, Field, FieldType
from graphql_service.image_set import Datastore, ImageSet, Value, read_time
from graphql_service.loading.ndjson import dump_line

#: Image sets as they arrive, some at a time: what was found is shown before the next are asked for.
Batches: TypeAlias = Iterable[Sequence[ImageSet]]

#: What a spreadsheet takes as the start of a formula (its full-width forms too). What it skips is escaped.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")

_TEXTS: Final = frozenset(
    {FieldType.ID, FieldType.UID, FieldType.PERSON_NAME, FieldType.TEXT, FieldType.CODE, FieldType.SEX}
)

#: Wide enough for any row: a table that goes into a file or a pipe is not cut.
_UNLIMITED_WIDTH: Final = 10_000

#: A column is folded no narrower: where that is too wide for the terminal, it breaks the lines itself.
_FOLDED_WIDTH: Final = 8


class OutputConsole(Console):
    """Standard output, where that its reader has left is raised as of any other output."""

    def on_broken_pipe(self) -> NoReturn:
        """Raises BrokenPipeError, instead of ending the process with 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def write_ndjson(batches: Batches, out: BinaryIO) -> None:
    """One summary a line, each batch flushed as it comes."""
    for batch in batches:
        out.writelines(dump_line(image_set) for image_set in batch)
        out.flush()


def write_json(batches: Batches, out: BinaryIO) -> None:
    """One array of summaries, written as they come."""
    separator = b"["
    for batch in batches:
        for image_set in batch:
            out.write(separator + b"\n" + dump_line(image_set).rstrip(b"\n"))
            separator = b","
        out.flush()
    out.write(b"[]\n" if separator == b"[" else b"\n]\n")


def write_csv(batches: Batches, out: BinaryIO) -> None:
    """A header of canonical field names, then one row for each image set; UTF-8.

    A text that a spreadsheet would run as a formula is written with an apostrophe before it, the mark for "this is
    text" there, and control characters escaped; programs that want the stored bytes read NDJSON.
    """
    lines = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(field.name for field in FIELDS)
    for batch in batches:
        writer.writerows([_cell(field, image_set) for field in FIELDS] for image_set in batch)
        lines.flush()
    lines.detach()


def write_table(batches: Batches, console: Console, zone: tzinfo) -> None:
    """A table for each batch, moments on the clock of the zone."""
    if not console.is_terminal:
        console.width = _UNLIMITED_WIDTH
    for batch in batches:
        if batch:
            console.print(_table(batch, zone), crop=False)


def write_datastores(datastores: Sequence[Datastore], console: Console) -> None:
    """A table of data stores."""
    if not console.is_terminal:
        console.width = _UNLIMITED_WIDTH
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    _add_id_column(table, "Id", [datastore.datastore_id for datastore in datastores])
    table.add_column("Name", overflow="fold", min_width=_FOLDED_WIDTH)
    table.add_column("Status", no_wrap=True)
    for datastore in datastores:
        table.add_row(*(Text(printable(cell)) for cell in (datastore.datastore_id, datastore.name, datastore.status)))
    console.print(table, crop=False)


#: The formats for programs, by the name that `--format` takes.
DATA_FORMATS: Final[dict[str, Callable[[Batches, BinaryIO], None]]] = {
    "json": write_json,
    "ndjson": write_ndjson,
    "csv": write_csv,
}


def printable(text: str) -> str:
    """The text with all but characters and spaces escaped: a stored value must not steer a terminal."""
    return "".join(
        character if character.isprintable() or category(character) == "Zs" else repr(character)[1:-1]
        for character in text
    )


def _add_id_column(table: Table, header: str, ids: Iterable[str]) -> None:
    """A column that is never broken: an id is copied. The others fold first."""
    table.add_column(header, no_wrap=True, min_width=max(map(cell_len, (header, *ids))))


def _table(image_sets: Sequence[ImageSet], zone: tzinfo) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    patients = [printable(_shown(image_set, "DICOMPatientId", zone)) for image_set in image_sets]
    _add_id_column(table, "Patient", patients)
    for header in ("Name", "Studied", "Modality", "Description", f"Updated ({zone})"):
        table.add_column(header, overflow="fold", min_width=_FOLDED_WIDTH)
    _add_id_column(table, "Image set", (image_set.image_set_id for image_set in image_sets))
    for patient, image_set in zip(patients, image_sets, strict=True):
        modality = [_shown(image_set, name, zone) for name in ("DICOMSeriesModality", "DICOMSeriesBodyPart")]
        cells = (
            patient,
            _shown(image_set, "DICOMPatientName", zone),
            _shown(image_set, "DICOMStudyDateAndTime", zone),
            " ".join(filter(None, modality)),
            _shown(image_set, "DICOMStudyDescription", zone),
            _shown(image_set, "updatedAt", zone),
            image_set.image_set_id,
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _read(image_set: ImageSet, field: Field) -> Value:
    """The field's value, or the stored text that holds a NUL, which no query finds and yet is there."""
    value = image_set.value(field.name)
    if value is None and field.type in _TEXTS:
        stored = image_set.tags.get(field.name)
        return stored if isinstance(stored, str) else None
    return value


def _is_day(image_set: ImageSet, field: Field) -> bool:
    """Whether of a moment only the day is stored, so that its midnight is nobody's word."""
    return field.type is FieldType.DATE or (
        field.type is FieldType.WALL_CLOCK and read_time(image_set.tags.get("DICOMStudyTime")) is None
    )


def _shown(image_set: ImageSet, field: str, zone: tzinfo) -> str:
    value = _read(image_set, BY_NAME[field])
    if isinstance(value, datetime) and _is_day(image_set, BY_NAME[field]):
        return value.date().isoformat()
    if isinstance(value, datetime):
        moment = value.astimezone(zone) if BY_NAME[field].type is FieldType.INSTANT else value
        return f"{moment:%Y-%m-%d %H:%M}"
    return "" if value is None else str(value)


def _cell(field: Field, image_set: ImageSet) -> str:
    value = _read(image_set, field)
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime() if _is_day(image_set, field):
            return value.date().isoformat()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str():
            text = printable(value)
            return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
        case _:
            return str(value)
