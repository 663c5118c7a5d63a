"""Pages: which one is asked for, the cursors between them, and what one holds.

A cursor is opaque to clients and strict here: it names the search that it belongs to by a fingerprint, keeps the
instant at which that search was dated, and says behind which row the page goes on. A malformed one is refused.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any, Final, NamedTuple

from grammar.fields import FieldType
from grammar.problems import Problem
from graphql_service.auditing import Wording
from graphql_service.errors import InvalidArgument, InvalidCursor
from graphql_service.image_set import ImageSet, Study
from graphql_service.stores.base import Columns, Place

DEFAULT_PAGE: Final = 50
FINGERPRINT_SIZE: Final = 16

_VERSION: Final = 1
_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_UTC: Final = _EPOCH.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBER: Final = struct.Struct(">q")
_LENGTH: Final = struct.Struct(">I")
#: Between the place and the progress, where there is one.
_PROGRESS: Final = b"p"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan has come at its place, in a store whose pages go on by token (`scanning` has what it means).

    `found` counts the image sets of the search up to the place. `ties` stands for those among them with the place's
    value, where ties are in the store's order; None where they go by id. `token` and `passed` are the store's page at
    the place, the first one without a token, and how many of its rows are behind it; `passed` is None where no page
    is known.
    """

    found: int
    ties: int | None = None
    token: str | None = None
    passed: int | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of one row in the order of one search, dated at an instant (aware, in UTC).

    Where the store is scanned it has a progress, and its place need not be a row's: no id stands before all rows with
    the values, no values either before all rows.
    """

    fingerprint: bytes
    dated: datetime
    place: Place
    progress: Progress | None = None

    def encode(self) -> str:
        """The cursor as URL-safe text without padding."""
        parts = [_pack_search(self.fingerprint, self.dated)]
        parts += map(_pack, (*self.place.values, self.place.image_set_id))
        if self.progress is not None:
            members = self.progress.found, self.progress.ties, self.progress.token, self.progress.passed
            parts += [_PROGRESS, *map(_pack, members)]
        return _encode(parts)


class ColumnCursors(NamedTuple):
    """The cursors of rows that are known by their columns, each made when it is asked for.

    `keys` are the columns of the sort, as `stores.base.Columns` has them, each with the type of its field.
    """

    fingerprint: bytes
    dated: datetime
    keys: Sequence[tuple[FieldType, Sequence[Any]]]
    image_set_ids: Sequence[str]

    def encode(self, rows: Iterable[int]) -> list[str]:
        """The cursors of these rows, by their numbers."""
        search = _pack_search(self.fingerprint, self.dated)
        keys = [(_COLUMN_PACKERS.get(field_type, _pack), column) for field_type, column in self.keys]
        ids = self.image_set_ids
        return [_encode((search, *[pack(column[row]) for pack, column in keys], _pack_text(ids[row]))) for row in rows]


def read_cursor(text: str) -> Cursor:
    """The cursor that `encode` wrote as this text. Raises InvalidCursor for every other text."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = _unpack(packed)
    except (ValueError, OverflowError, struct.error, binascii.Error):
        raise _malformed() from None
    # One row has one cursor: other spellings, with stray bits, are not ours.
    if _encode((packed,)) != text:
        raise _malformed()
    return cursor


def _malformed() -> InvalidCursor:
    return InvalidCursor("the cursor is malformed: use one that a page of this search has given")


def microseconds(moment: datetime) -> int:
    """Since 1970, in UTC for an aware time; of a wall clock as it stands."""
    return (moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)) // _MICROSECOND


def _pack(value: object) -> bytes:
    """One value behind a letter for its type."""
    return _PACKERS[type(value)](value)


def _pack_text(value: str) -> bytes:
    text = value.encode()
    return b"s" + _LENGTH.pack(len(text)) + text


def _pack_search(fingerprint: bytes, dated: datetime) -> bytes:
    return bytes([_VERSION]) + fingerprint + _NUMBER.pack(microseconds(dated))


def _encode(parts: Iterable[bytes]) -> str:
    return base64.urlsafe_b64encode(b"".join(parts)).decode("ascii").rstrip("=")


def _pack_instant(since_1970: int | None) -> bytes:
    return b"n" if since_1970 is None else b"u" + _NUMBER.pack(since_1970)


def _pack_wall_clock(since_1970: int | None) -> bytes:
    return b"n" if since_1970 is None else b"w" + _NUMBER.pack(since_1970)


def _pack_truth(value: int | None) -> bytes:
    return _pack(None if value is None else bool(value))


#: Of the types whose values stand in columns as numbers.
_COLUMN_PACKERS: Final[Mapping[FieldType, Callable[[Any], bytes]]] = {
    FieldType.INSTANT: _pack_instant,
    FieldType.WALL_CLOCK: _pack_wall_clock,
    FieldType.DATE: _pack_wall_clock,
    FieldType.BOOLEAN: _pack_truth,
}

#: By type, since a page packs some values for each of its rows.
_PACKERS: Final[Mapping[type, Callable[[Any], bytes]]] = {
    NoneType: lambda _: b"n",
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: b"i" + _NUMBER.pack(value),
    str: _pack_text,
    datetime: lambda value: (b"w" if value.tzinfo is None else b"u") + _NUMBER.pack(microseconds(value)),
}


def _unpack(packed: bytes) -> Cursor:
    start = 1 + FINGERPRINT_SIZE
    if packed[:1] != bytes([_VERSION]):
        raise ValueError("another version")
    (dated,) = _NUMBER.unpack_from(packed, start)
    values, offset = _unpack_values(packed, start + _NUMBER.size)
    if not values or not isinstance(values[-1], str):
        raise ValueError("no image set id")
    place, progress = Place(tuple(values[:-1]), values[-1]), None
    if offset < len(packed):
        members, offset = _unpack_values(packed, offset + 1)
        progress = _read_progress(members)
    if offset < len(packed):
        raise ValueError("more behind the progress")
    return Cursor(packed[1:start], (_EPOCH + dated * _MICROSECOND).replace(tzinfo=UTC), place, progress)


def _unpack_values(packed: bytes, offset: int) -> tuple[list[object], int]:
    """The values up to the end or a progress, and where that is."""
    values: list[object] = []
    while offset < len(packed) and packed[offset : offset + 1] != _PROGRESS:
        value, offset = _unpack_value(packed, offset)
        values.append(value)
    return values, offset


def _read_progress(members: list[object]) -> Progress:
    if any(isinstance(member, bool) for member in members):
        raise ValueError("no such progress")
    match members:
        case [int(found), None, None, None] if found >= 0:
            return Progress(found)
        case [int(found), int(ties), None, None] if found >= 0 and ties >= 0:
            return Progress(found, ties)
        case [int(found), int(ties), None | str() as token, int(passed)] if min(found, ties, passed) >= 0:
            return Progress(found, ties, token, passed)
        case _:
            raise ValueError("no such progress")


def _unpack_value(packed: bytes, offset: int) -> tuple[object, int]:
    kind, offset = packed[offset : offset + 1], offset + 1
    if kind == b"n":
        return None, offset
    if kind in (b"t", b"f"):
        return kind == b"t", offset
    if kind == b"s":
        (length,) = _LENGTH.unpack_from(packed, offset)
        offset += _LENGTH.size
        text = packed[offset : offset + length]
        if len(text) != length:
            raise ValueError("cut short")
        return text.decode(), offset + length
    (number,) = _NUMBER.unpack_from(packed, offset)
    offset += _NUMBER.size
    if kind == b"i":
        return number, offset
    moment = _EPOCH + number * _MICROSECOND
    if kind == b"w":
        return moment, offset
    if kind == b"u":
        return moment.replace(tzinfo=UTC), offset
    raise ValueError("no such type")


class PageRequest(NamedTuple):
    """The first `first` rows, or the last `last` ones, between two cursors; exactly one of the two counts is given."""

    first: int | None = DEFAULT_PAGE
    last: int | None = None
    after: Cursor | None = None
    before: Cursor | None = None

    @property
    def size(self) -> int:
        """How many rows the page holds at most."""
        return self.first if self.first is not None else self.last or 0

    @property
    def backward(self) -> bool:
        """Whether the page is read from the end."""
        return self.last is not None


def read_page_size(first: int | None, last: int | None, max_page: int) -> tuple[int | None, int | None]:
    """`first` and `last` as they hold: one of them, 50 first where neither is given. Raises InvalidArgument."""
    if first is not None and last is not None:
        raise InvalidArgument("'first' and 'last' cannot be given together: 'first' reads forward, 'last' backward")
    for name, value in (("first", first), ("last", last)):
        if value is not None and not 0 <= value <= max_page:
            raise InvalidArgument(f"'{name}' must be from 0 to {max_page}; it is {value}")
    if first is None and last is None:
        return min(DEFAULT_PAGE, max_page), None
    return first, last


def read_page_request(
    first: int | None, last: int | None, after: str | None, before: str | None, max_page: int
) -> PageRequest:
    """The page that Relay's four arguments ask for. Raises InvalidArgument and InvalidCursor."""
    first, last = read_page_size(first, last, max_page)
    return PageRequest(
        first,
        last,
        None if after is None else read_cursor(after),
        None if before is None else read_cursor(before),
    )


@dataclass(frozen=True, slots=True)
class Page:
    """The image sets of one page in the order of the search, and what it took to find them.

    `complete` is False where the store's budget ended before the page was full; `scanned` counts the image sets read
    for it, `requests` the requests to the store. `search` is what was searched for, in words, and `dated` the instant
    that its relative dates were counted from.
    `resume` is where reading forward goes on if not behind the last row. Of a store that is scanned, `known` counts
    the image sets that are known to meet the search, from its start on, and `has_next_page` is False only where the
    search is known to have ended: the last page may be empty. A page of studies has the first image set of each; where
    finding them took all image sets of some studies, `studies` has those, and everything that is counted are studies.
    """

    image_sets: tuple[ImageSet, ...]
    cursors: tuple[str, ...]
    has_next_page: bool
    has_previous_page: bool
    requests: int
    scanned: int
    complete: bool
    notices: tuple[Problem, ...]
    dated: datetime
    search: Wording
    resume: str | None = None
    known: int | None = None
    studies: tuple[Study, ...] = ()

    @property
    def image_set_ids(self) -> tuple[str, ...]:
        """The ids of its image sets."""
        return tuple(image_set.image_set_id for image_set in self.image_sets)

    @property
    def start_cursor(self) -> str | None:
        """Where reading backward goes on."""
        return self.cursors[0] if self.cursors else None

    @property
    def end_cursor(self) -> str | None:
        """Where reading forward goes on."""
        return self.resume or (self.cursors[-1] if self.cursors else None)


class ColumnPage(NamedTuple):
    """One page as `Page` has it, of some fields of its image sets alone; the store answered it with one request."""

    columns: Columns
    cursors: ColumnCursors
    has_next_page: bool
    has_previous_page: bool
    scanned: int
    notices: tuple[Problem, ...]
    dated: datetime
    search: Wording
    requests: int = 1
    complete: bool = True

    @property
    def image_set_ids(self) -> tuple[str, ...]:
        """The ids of its image sets."""
        return tuple(self.columns.values["imageSetId"])

    @property
    def start_cursor(self) -> str | None:
        """Where reading backward goes on."""
        return self.cursors.encode((0,))[0] if self.columns.count else None

    @property
    def end_cursor(self) -> str | None:
        """Where reading forward goes on."""
        return self.cursors.encode((self.columns.count - 1,))[0] if self.columns.count else None
