import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grammar.fields import FieldType
from graphql_service.errors import InvalidArgument, InvalidCursor
from graphql_service.paging import (
    FINGERPRINT_SIZE,
    ColumnCursors,
    Cursor,
    PageRequest,
    Progress,
    microseconds,
    read_cursor,
    read_page_request,
)
from graphql_service.stores.base import Place

CURSOR = Cursor(
    b"0123456789abcdef",
    datetime(2024, 3, 11, 10, 30, 0, 123456, tzinfo=UTC),
    Place(("Müller^Jörg", None, datetime(2024, 3, 11, tzinfo=UTC)), "i" * 32),
)

aware = st.datetimes(timezones=st.just(UTC))
values = st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.text(), st.datetimes(), aware)
numbers = st.integers(0, (1 << 63) - 1)
progresses = st.one_of(
    st.builds(Progress, numbers),
    st.builds(Progress, numbers, numbers),
    st.builds(Progress, numbers, numbers, st.none() | st.text(), numbers),
)
cursors = st.builds(
    Cursor,
    st.binary(min_size=16, max_size=16),
    aware,
    st.builds(Place, st.lists(values, max_size=4).map(tuple), st.text()),
    st.none() | progresses,
)


@given(cursors)
def test_a_cursor_reads_as_it_was_written(cursor: Cursor) -> None:
    read = read_cursor(cursor.encode())
    assert read == cursor
    # True equals 1, and a wall clock must not come back as an instant.
    assert [type(value) for value in read.place.values] == [type(value) for value in cursor.place.values]


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.urlsafe_b64encode(b"\1" + raw).decode().rstrip("="))))
def test_any_text_is_a_cursor_of_ours_or_refused(text: str) -> None:
    try:
        cursor = read_cursor(text)
    except InvalidCursor:
        return
    assert cursor.encode() == text


@given(st.integers(0, len(CURSOR.encode()) - 1), st.characters())
def test_a_changed_cursor_is_another_one_or_refused(index: int, character: str) -> None:
    text = CURSOR.encode()
    changed = text[:index] + character + text[index + 1 :]
    try:
        assert (read_cursor(changed) == CURSOR) == (changed == text)
    except InvalidCursor:
        assert changed != text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "abc",
        "é",
        CURSOR.encode() + "=",
        CURSOR.encode() + "A",
        CURSOR.encode()[:-2],
        CURSOR.encode() + "\n",
        # another version
        base64.urlsafe_b64encode(b"\2" + base64.urlsafe_b64decode(CURSOR.encode() + "==")[1:]).decode().rstrip("="),
    ],
)
def test_a_malformed_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor) as refused:
        read_cursor(text)
    assert str(refused.value) == "the cursor is malformed: use one that a page of this search has given"


@pytest.mark.parametrize(
    "progress",
    [
        Progress(-1),
        Progress(1, -1),
        Progress(1, 1, None, -1),
        Progress(1, None, "token"),
        Progress(1, 1, "token"),
        Progress(1, None, None, 1),
        Progress(True),  # noqa: FBT003
        Progress("1"),  # type: ignore[arg-type]
        Progress(1, 1, 1, 1),  # type: ignore[arg-type]
    ],
)
def test_a_progress_that_no_scan_has_is_refused(progress: Progress) -> None:
    with pytest.raises(InvalidCursor):
        read_cursor(replace(CURSOR, progress=progress).encode())


def test_nothing_may_stand_behind_a_progress() -> None:
    text = replace(CURSOR, progress=Progress(1)).encode()
    packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for more in (b"n", b"p", b"pnnnn", packed[-12:]):
        with pytest.raises(InvalidCursor):
            read_cursor(base64.urlsafe_b64encode(packed + more).decode().rstrip("="))


def test_a_page_has_fifty_rows_unless_it_says_otherwise() -> None:
    assert read_page_request(None, None, None, None, 500) == PageRequest(50, None, None, None)
    assert read_page_request(None, None, None, CURSOR.encode(), 500) == PageRequest(50, None, None, CURSOR)
    assert read_page_request(None, None, None, None, 20) == PageRequest(20, None, None, None)


def test_a_page_is_read_from_either_end() -> None:
    forward = read_page_request(0, None, CURSOR.encode(), None, 500)
    backward = read_page_request(None, 500, None, CURSOR.encode(), 500)
    assert (forward, forward.size, forward.backward) == (PageRequest(0, None, CURSOR, None), 0, False)
    assert (backward, backward.size, backward.backward) == (PageRequest(None, 500, None, CURSOR), 500, True)


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (1, 2, "'first' and 'last' cannot be given together: 'first' reads forward, 'last' backward"),
        (0, 0, "'first' and 'last' cannot be given together: 'first' reads forward, 'last' backward"),
        (501, None, "'first' must be from 0 to 500; it is 501"),
        (None, -1, "'last' must be from 0 to 500; it is -1"),
    ],
)
def test_a_page_beyond_its_limits_is_refused(first: int | None, last: int | None, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_page_request(first, last, None, None, 500)
    assert str(refused.value) == message


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
            st.one_of(st.none(), st.datetimes()),
            st.one_of(st.none(), st.booleans()),
            st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]))),
        ),
        min_size=1,
    )
)
def test_a_column_has_the_cursors_of_its_rows(rows: list[tuple[object, ...]]) -> None:
    fingerprint, dated = bytes(range(FINGERPRINT_SIZE)), datetime(2024, 3, 11, tzinfo=UTC)
    types = (FieldType.INSTANT, FieldType.WALL_CLOCK, FieldType.BOOLEAN, FieldType.TEXT)
    columns = [
        [microseconds(value) if isinstance(value, datetime) else value for value in column]
        for column in zip(*rows, strict=True)
    ]
    ids = [f"{number:032}" for number in range(len(rows))]
    cursors = ColumnCursors(fingerprint, dated, list(zip(types, columns, strict=True)), ids)
    assert cursors.encode(range(len(rows))) == [
        Cursor(fingerprint, dated, Place(row, image_set_id)).encode()
        for row, image_set_id in zip(rows, ids, strict=True)
    ]
