import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grammar.criteria import And, Comparison, Condition, Everything, Not, Operator, Or, Range, SortKey
from grammar.fields import BY_NAME, FIELDS, TEMPORAL
from grammar.parser import parse
from grammar.problems import QueryError
from graphql_service.deadlines import NotBrief, be_brief, limit_time
from graphql_service.errors import (
    DataStoreNotFound,
    InvalidArgument,
    InvalidCursor,
    LoadError,
    StoreError,
    StoreFileError,
    UnsupportedSearch,
)
from graphql_service.image_set import Datastore, ImageSet, ImageSetVersion, read_time
from graphql_service.metrics import STORE_SECONDS
from graphql_service.ordering import place
from graphql_service.stores import connections, finding, sql, sqlite
from graphql_service.stores.base import STUDY_TIME, TAGS, Answer, Place, Request
from graphql_service.stores.sqlite import LoadResult, SQLiteStore, read_row
from tests.graphql_service.stores.contract import check_pages, expected, expected_studies, whole_studies
from tests.graphql_service.stores.older import make_older
from tests.strategies import DATASTORE_ID, VALUES, collections, conditions, image_sets, sorts

Turns: TypeAlias = tuple[tuple[int, int], ...]

EVERYTHING = Everything()
NEWEST = (SortKey("updatedAt", descending=True),)
START = datetime(2024, 3, 11, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(path, create=True)) as opened:
        yield opened


@pytest.fixture(scope="module")
def lasting_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    """One file for all examples of a property: each makes its data store and erases it."""
    with closing(SQLiteStore(tmp_path_factory.mktemp("stores") / "store.db", create=True)) as opened:
        yield opened


def image_set(number: int, *, version: int | None = 1, minutes: int | None = 0, **tags: object) -> ImageSet:
    updated = None if minutes is None else START + timedelta(minutes=minutes)
    return ImageSet(DATASTORE_ID, f"{number:032d}", version, START, updated, None, None, None, tags)


def answers(
    store: SQLiteStore, where: Condition = EVERYTHING, sort: tuple[SortKey, ...] = (SortKey("imageSetId"),)
) -> list[ImageSet]:
    return list(store.fetch(Request(DATASTORE_ID, where, sort, 1_000)).image_sets)


def since_midnight(stored: ImageSet) -> int | None:
    clock = read_time(stored.tags.get("DICOMStudyTime"))
    return None if clock is None else clock // timedelta(microseconds=1)


# The meaning and the order


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stored=collections, where=conditions, sort=sorts, backward=st.booleans(), limit=st.integers(1, 8))
def test_columns_hold_what_whole_image_sets_do(
    lasting_store: SQLiteStore,
    stored: list[ImageSet],
    where: Condition,
    sort: tuple[SortKey, ...],
    *,
    backward: bool,
    limit: int,
) -> None:
    lasting_store.load(DATASTORE_ID, stored)
    try:
        request = Request(DATASTORE_ID, where, sort, limit, backward=backward)
        answer = lasting_store.fetch(request)
        columns = lasting_store.fetch_columns(request, (*sql.COLUMNS, TAGS, STUDY_TIME))
    finally:
        lasting_store.remove_datastore(DATASTORE_ID)
    assert (columns.count, columns.more) == (len(answer.image_sets), answer.more)
    assert list(columns.values[TAGS]) == [found.tags for found in answer.image_sets]
    assert list(columns.values[STUDY_TIME]) == [since_midnight(found) for found in answer.image_sets]
    for field in sql.COLUMNS:
        values = [found.value(field) for found in answer.image_sets]
        assert list(columns.values[field]) == [
            sql.microseconds(value) if isinstance(value, datetime) else value for value in values
        ]


#: As it is: all that an index narrows are few. Then so that the ways of finding rows take turns, and that all are many.
TURNS = (finding.TURNS, ((0, 1), (1, 2), (3, 3), (6, 5)), ((-1, 3), (-1, 2)))


@contextmanager
def loaded(store: SQLiteStore, turns: Turns, *batches: list[ImageSet]) -> Iterator[None]:
    """What is loaded, one batch after the other, and found by these turns; afterwards it is gone."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(finding, "TURNS", turns)
        for batch in batches:
            store.load(DATASTORE_ID, batch)
        try:
            yield
        finally:
            store.remove_datastore(DATASTORE_ID)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stored=collections,
    where=conditions,
    sort=sorts,
    size=st.integers(1, 8),
    bulk=st.integers(0, 25),
    turns=st.sampled_from(TURNS),
)
def test_every_answer_is_the_reference_meaning_in_the_reference_order(
    lasting_store: SQLiteStore,
    stored: list[ImageSet],
    where: Condition,
    sort: tuple[SortKey, ...],
    size: int,
    bulk: int,
    turns: Turns,
) -> None:
    with loaded(lasting_store, turns, stored[:bulk], stored[bulk:]):
        wanted = expected(stored, where, sort)
        check_pages(lasting_store, DATASTORE_ID, wanted, where, sort, size)
        assert lasting_store.count(DATASTORE_ID, where, 1_000) == len(wanted)
        assert lasting_store.count(DATASTORE_ID, where, 3) == min(3, len(wanted))
        after, before = (place(wanted[0], sort), place(wanted[-1], sort)) if wanted else (None, None)
        between = wanted[1:-1] if len(wanted) > 1 else []
        for backward in (False, True):
            request = Request(DATASTORE_ID, where, sort, size, after, before, backward)
            chosen = between[-size:] if backward else between[:size]
            if wanted:
                assert lasting_store.fetch(request) == Answer(tuple(chosen), len(between) > size)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stored=collections,
    where=conditions,
    sort=sorts,
    size=st.sampled_from((1, 2, 7, 50)),
    turns=st.sampled_from(TURNS),
)
def test_studies_stand_once_where_their_first_image_set_does(
    lasting_store: SQLiteStore,
    stored: list[ImageSet],
    where: Condition,
    sort: tuple[SortKey, ...],
    size: int,
    turns: Turns,
) -> None:
    with loaded(lasting_store, turns, stored):
        wanted = expected_studies(stored, where, sort)
        check_pages(lasting_store, DATASTORE_ID, wanted, where, sort, size, studies=True)
        assert lasting_store.count(DATASTORE_ID, where, 1_000, studies=True) == len(wanted)
        assert lasting_store.count(DATASTORE_ID, where, 2, studies=True) == min(2, len(wanted))
        if wanted:
            between = wanted[1:-1] if len(wanted) > 1 else []
            ends = place(wanted[0], sort), place(wanted[-1], sort)
            request = Request(DATASTORE_ID, where, sort, size, *ends, studies=True)
            assert lasting_store.fetch(request) == Answer(tuple(between[:size]), len(between) > size)


@settings(max_examples=50, deadline=None)
@given(stored=collections)
def test_a_study_is_told_by_all_its_image_sets(lasting_store: SQLiteStore, stored: list[ImageSet]) -> None:
    lasting_store.load(DATASTORE_ID, stored)
    try:
        wanted = whole_studies(stored)
        assert lasting_store.studies(DATASTORE_ID, [*wanted, *wanted, "2.3", "no UID", "\0", "\ud800"]) == wanted
        assert lasting_store.studies(DATASTORE_ID, []) == {}
    finally:
        lasting_store.remove_datastore(DATASTORE_ID)


STEPS = (timedelta(microseconds=3), timedelta(minutes=15), timedelta(hours=8), timedelta(days=1))


@settings(max_examples=100, deadline=None)
@given(
    stored=collections,
    where=conditions,
    field=st.sampled_from([field.name for field in FIELDS if field.type in TEMPORAL]),
    step=st.sampled_from(STEPS),
)
def test_a_histogram_counts_by_steps(
    lasting_store: SQLiteStore, stored: list[ImageSet], where: Condition, field: str, step: timedelta
) -> None:
    lasting_store.load(DATASTORE_ID, stored)
    try:
        found = lasting_store.histogram(DATASTORE_ID, where, field, step)
        counted: Counter[datetime] = Counter()
        for image_set in expected(stored, where, ()):
            value = image_set.value(field)
            if isinstance(value, datetime):
                epoch = datetime(1970, 1, 1, tzinfo=value.tzinfo)
                counted[epoch + (value - epoch) // step * step] += 1
        assert found == sorted(counted.items())
    finally:
        lasting_store.remove_datastore(DATASTORE_ID)


@given(image_sets)
def test_a_row_holds_what_the_language_sees(stored: ImageSet) -> None:
    row = dict(zip((*sql.COLUMNS.values(), "tags", *sql.WRITTEN.values()), read_row(stored), strict=True))
    assert orjson.loads(row.pop("tags")) == stored.tags
    assert row == {
        column: sql.column_value(BY_NAME[field].type, stored.value(field)) for field, column in sql.COLUMNS.items()
    } | {
        "written_name": stored.value("DICOMPatientName"),
        "written_description": stored.value("DICOMStudyDescription"),
        "study_time": since_midnight(stored),
    }


@pytest.mark.parametrize(
    ("field", "values", "operands"),
    [
        (
            "DICOMPatientId",
            ("a", "A", "a?", "a*", "ax", "a[b]", "ab", "a]", "a\\", "é", "a\ud7ff", "a\U0010ffffb"),
            (
                "a",
                r"a\?",
                r"a\*",
                "a?",
                "a*",
                "*[b]",
                "?[b]",
                "a[?]",
                r"a\\",
                "*]",
                "?",
                "a\U0010ffff*",
                "a\ud7ff*",
                r"*\?*",
            ),
        ),
        (
            "DICOMStudyDescription",
            ("100% X_y", "100x", "Contrôle", "CONTROLE b", "＊", "a\nb", "Straße"),
            ("100%*", "100? x_y", "contr?le", "contrôle*", "＊*", r"\**", "a?b", "stra??e", "stra?e", "STRASSE"),
        ),
        (
            "DICOMPatientName",
            ("Yamada^Tarou=山田^太郎=やまだ^たろう", "García^Ana^M", "garcia", "Ana^García", "^^", "=", "A^B^C^D^E"),
            (
                "yamada^太郎",
                "yamada^tarou",
                "*^太郎",
                "garcia",
                "garcia^",
                "^garcia",
                "*^*^m",
                "*^?*^*^*^e",
                "g*^a?a",
                "^",
                "*",
            ),
        ),
    ],
)
def test_every_text_and_pattern_is_the_reference_meaning(
    store: SQLiteStore, field: str, values: tuple[str, ...], operands: tuple[str, ...]
) -> None:
    stored = [replace(image_set(number), tags={field: value}) for number, value in enumerate(values)]
    store.load(DATASTORE_ID, stored)
    for operand in operands:
        for operator in (Operator.EQ, Operator.LIKE):
            where = Comparison(field, operator, operand)
            assert answers(store, where) == expected(stored, where, (SortKey("imageSetId"),)), where
    every = Comparison(field, Operator.IN, operands)
    assert answers(store, every) == expected(stored, every, (SortKey("imageSetId"),))


@pytest.mark.parametrize("field", ["DICOMPatientName", "DICOMStudyDescription", "DICOMPatientId"])
@pytest.mark.parametrize("turns", TURNS)
def test_every_part_of_every_text_finds_it(
    store: SQLiteStore, field: str, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "TURNS", turns)
    texts = sorted({text for text in VALUES[BY_NAME[field].type] if isinstance(text, str)})
    stored = [replace(image_set(number), tags={field: text}) for number, text in enumerate(texts)]
    store.load(DATASTORE_ID, stored[::2])
    store.load(DATASTORE_ID, stored[1::2])
    parts = {text[start : start + size] for text in texts for size in range(1, 6) for start in range(len(text))}
    forms = cycle(("{}*", "*{}", "?{}*", "*{}?"))
    for part in sorted(parts):
        written = re.sub(r"([*?\\])", r"\\\1", part)
        for pattern in (f"*{written}*", next(forms).format(written)):
            where = Comparison(field, Operator.LIKE, pattern)
            wanted = expected(stored, where, (SortKey("imageSetId"),))
            assert answers(store, where, NEWEST) == wanted[::-1], where
            assert store.count(DATASTORE_ID, where, 100) == len(wanted), where


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("descending", [False, True])
def test_an_index_that_goes_on_with_a_code_is_no_order_by_time(
    store: SQLiteStore, turns: Turns, monkeypatch: pytest.MonkeyPatch, *, descending: bool
) -> None:
    monkeypatch.setattr(finding, "TURNS", turns)
    stored = [
        image_set(
            number,
            DICOMSeriesBodyPart="HEAD",
            DICOMSeriesModality=f"M{number % 3}",
            DICOMStudyDescription="with contrast",
        )
        for number in range(40)
    ]
    store.load(DATASTORE_ID, stored)
    like = Comparison("DICOMStudyDescription", Operator.LIKE, "*contrast*")
    where = And((Comparison("DICOMSeriesBodyPart", Operator.EQ, "HEAD"), like))
    sort = (SortKey("DICOMSeriesModality", descending),)
    check_pages(store, DATASTORE_ID, expected(stored, where, sort), where, sort, 7)


@pytest.mark.parametrize("turns", TURNS)
def test_many_names_are_found_whatever_stands_among_them(
    store: SQLiteStore, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "TURNS", turns)
    stored = [image_set(number, DICOMPatientName=f"Name{number:03}^Ana") for number in range(200)]
    store.load(DATASTORE_ID, stored)
    # The first one folds to nothing; some are written with both parts.
    names = ("\u0301", *(f"Name{number:03}{'^ANA' * (number % 20 == 0)}" for number in range(60)))
    where = Comparison("DICOMPatientName", Operator.IN, names)
    assert answers(store, where) == stored[:60]
    assert store.count(DATASTORE_ID, where, 1_000) == 60
    lists = [tuple(f"Name{50 * start + each:03}" for each in range(50)) for start in range(11)]
    assert answers(store, Or(tuple(Comparison("DICOMPatientName", Operator.IN, each) for each in lists))) == stored
    names = tuple(f"Name{number:03}^Ana" for number in range(200))
    assert answers(store, Comparison("DICOMPatientName", Operator.IN, names)) == stored


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("field", ["updatedAt", "createdAt", "DICOMStudyDateAndTime"])
@pytest.mark.parametrize("descending", [False, True])
def test_what_is_read_in_order_by_stretches_is_whole(
    store: SQLiteStore, field: str, turns: Turns, monkeypatch: pytest.MonkeyPatch, *, descending: bool
) -> None:
    monkeypatch.setattr(finding, "TURNS", turns)
    random = Random(11)  # noqa: S311 - made-up data that must come out the same every time
    moments = [START + timedelta(microseconds=step) for step in range(6)]
    stored = [
        ImageSet(
            DATASTORE_ID,
            f"{number:032d}",
            version=random.randrange(3),
            created_at=random.choice((None, *moments)),
            updated_at=random.choice((None, None, *moments)),
            last_accessed_at=None,
            storage_tier=None,
            is_primary=None,
            tags={
                "DICOMSeriesModality": random.choice(("CT", "CT", "MR", "US")),
                "DICOMStudyDate": random.choice(("", "20240101", "20240102", "20240103", "20240104")),
                "DICOMSeriesBodyPart": random.choice(("HEAD", "KNEE")),
            },
        )
        for number in random.sample(range(100), 60)
    ]
    store.load(DATASTORE_ID, stored)
    common = Comparison("DICOMSeriesModality", Operator.IN, ("CT", "MR"))
    start = moments[0] if field != "DICOMStudyDateAndTime" else datetime(2024, 1, 1)
    later = Comparison(field, Operator.RANGE, Range(start + timedelta(microseconds=1), None))
    for where in (
        common,
        And((common, later)),
        And((Comparison("DICOMSeriesModality", Operator.EQ, "CT"), Comparison("version", Operator.GE, 1))),
        And((common, Comparison("DICOMSeriesBodyPart", Operator.EQ, "HEAD"))),
        Or(
            (
                Comparison("DICOMSeriesModality", Operator.EQ, "CT"),
                Comparison("DICOMSeriesBodyPart", Operator.EQ, "HEAD"),
            )
        ),
    ):
        for sort in ((SortKey(field, descending),), (SortKey(field, descending), SortKey("version", not descending))):
            wanted = expected(stored, where, sort)
            assert store.count(DATASTORE_ID, where, 100) == len(wanted)
            for size in (1, 2, 5, 60):
                check_pages(store, DATASTORE_ID, wanted, where, sort, size)


@pytest.mark.parametrize("descending", [False, True])
def test_hundreds_of_equal_times_page_the_same_at_every_size(store: SQLiteStore, *, descending: bool) -> None:
    random = Random(7)  # noqa: S311 - made-up data that must come out the same every time
    stored = [image_set(number, minutes=random.choice((0, 0, 0, 1, None))) for number in range(320)]
    random.shuffle(stored)
    store.load(DATASTORE_ID, stored)
    sort = (SortKey("updatedAt", descending),)
    wanted = expected(stored, Everything(), sort)
    for size in (*range(1, 12), 50, 64, 160, 319, 320, 321):
        check_pages(store, DATASTORE_ID, wanted, Everything(), sort, size)


def test_a_place_from_outside_the_searched_period_widens_nothing(store: SQLiteStore) -> None:
    tie = image_set(99, minutes=0)
    store.load(DATASTORE_ID, [*(image_set(number, minutes=number) for number in range(10)), tie])
    period = Comparison("updatedAt", Operator.RANGE, Range(START + timedelta(minutes=3), START + timedelta(minutes=7)))
    for minutes, ascending in ((0, [3, 4, 5, 6]), (4, [5, 6]), (9, [])):
        after = Place((START + timedelta(minutes=minutes),), f"{minutes:032d}")
        found = store.fetch(Request(DATASTORE_ID, period, (SortKey("updatedAt"),), 50, after))
        assert [int(each.image_set_id) for each in found.image_sets] == ascending
    after = Place((None,), "0" * 32)
    found = store.fetch(Request(DATASTORE_ID, period, (SortKey("updatedAt"),), 50, after))
    assert [int(each.image_set_id) for each in found.image_sets] == [3, 4, 5, 6]
    assert store.fetch(Request(DATASTORE_ID, period, NEWEST, 50, after)) == Answer((), more=False)


def test_paging_goes_on_while_others_write(store: SQLiteStore) -> None:
    store.load(DATASTORE_ID, [image_set(number) for number in range(0, 40, 2)])
    sort = (SortKey("updatedAt"),)
    first = store.fetch(Request(DATASTORE_ID, Everything(), sort, 10)).image_sets
    store.load(DATASTORE_ID, [image_set(number) for number in range(1, 40, 2)])
    store.remove(DATASTORE_ID, [first[-1].image_set_id])
    after = place(first[-1], sort)
    second = store.fetch(Request(DATASTORE_ID, Everything(), sort, 3, after)).image_sets
    assert [int(each.image_set_id) for each in (*first, *second)] == [*range(0, 20, 2), 19, 20, 21]


def test_a_search_sees_one_state_of_the_file_in_every_thread(store: SQLiteStore) -> None:
    stored = [image_set(number, minutes=None if number % 3 else number) for number in range(60)]
    store.load(DATASTORE_ID, stored)
    wrong: list[object] = []

    def read() -> None:
        for _ in range(20):
            after = place(stored[57], NEWEST)
            answer = store.fetch(Request(DATASTORE_ID, Everything(), NEWEST, 100, after))
            if len(answer.image_sets) != 59:
                wrong.append(answer)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# What SQLite does for it


class Plans:
    """The statements that a store runs, each with SQLite's plan for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._statements: list[str] = []

    def note(self, statement: str) -> None:
        if statement.startswith("SELECT image_set_id"):
            self._statements.append(statement)

    def read(self) -> list[str]:
        with closing(sqlite3.connect(self._path)) as connection:
            plans = [
                "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"))
                for statement in self._statements
            ]
        self._statements.clear()
        return plans


@pytest.fixture
def plans(store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> Plans:
    noted = Plans(path)
    connect = store._connections._connect

    def connect_and_note() -> sqlite3.Connection:
        connection = connect()
        connection.set_trace_callback(noted.note)
        return connection

    monkeypatch.setattr(store._connections, "_connect", connect_and_note)
    store._connections._idle.clear()
    return noted


ONE = {
    "DICOMPatientId": Comparison("DICOMPatientId", Operator.EQ, "A1"),
    "DICOMAccessionNumber": Comparison("DICOMAccessionNumber", Operator.EQ, "A1"),
    "DICOMStudyId": Comparison("DICOMStudyId", Operator.EQ, "A1"),
    "DICOMStudyInstanceUID": Comparison("DICOMStudyInstanceUID", Operator.EQ, "1.2"),
    "DICOMSeriesInstanceUID": Comparison("DICOMSeriesInstanceUID", Operator.EQ, "1.2"),
}
MOMENTS = {
    "updatedAt": (START, START + timedelta(days=30)),
    "createdAt": (START, START + timedelta(days=30)),
    "DICOMStudyDateAndTime": (datetime(1990, 1, 1), datetime(2023, 1, 1)),
}
USUAL = [
    *((None, date) for date in MOMENTS),
    *(("DICOMPatientId", date) for date in MOMENTS),
    *((field, "updatedAt") for field in ONE if field != "DICOMPatientId"),
]


def is_in_order(plan: str) -> bool:
    """Whether rows come as an index has them, but for ties that are few."""
    sorted_ties = ("USE TEMP B-TREE FOR RIGHT PART OF ORDER BY", "USE TEMP B-TREE FOR LAST TERM OF ORDER BY")
    return all("TEMP B-TREE" not in step or step in sorted_ties for step in plan.split("; "))


def periods(date: str) -> Iterator[Comparison | None]:
    start, end = MOMENTS[date]
    yield None
    for ends in ((start, end), (start, None), (None, end)):
        yield Comparison(date, Operator.RANGE, Range(*ends))


@pytest.mark.parametrize(("field", "date"), USUAL)
@pytest.mark.parametrize("descending", [False, True])
def test_the_usual_searches_read_only_what_they_answer_in_order(
    store: SQLiteStore, plans: Plans, field: str | None, date: str, *, descending: bool
) -> None:
    store.create_datastore(DATASTORE_ID)
    sort = (SortKey(date, descending),)
    middle = MOMENTS[date][0] + timedelta(days=3)
    for period in periods(date):
        parts = tuple(part for part in (field and ONE[field], period) if part)
        where = And(parts) if len(parts) > 1 else parts[0] if parts else Everything()
        for value in (middle, None):
            at = Place((value,), "0" * 32)
            store.fetch(Request(DATASTORE_ID, where, sort, 50))
            first_pages = plans.read()
            store.fetch(Request(DATASTORE_ID, where, sort, 50, after=at))
            store.fetch(Request(DATASTORE_ID, where, sort, 50, before=at, backward=True))
            later_pages = plans.read()
            assert first_pages
            assert later_pages
            for plan in (*first_pages, *later_pages):
                assert "USING INDEX" in plan
                assert is_in_order(plan)
                # Everything in order is the one first page that begins where the index begins.
                assert plan.startswith("SEARCH") or (where == Everything() and plan in first_pages)
                assert field is None or f"{sql.COLUMNS[field]}=?" in plan


def test_a_later_page_begins_at_its_place_and_never_before_it(store: SQLiteStore, plans: Plans) -> None:
    store.create_datastore(DATASTORE_ID)
    where = And((ONE["DICOMPatientId"], Comparison("updatedAt", Operator.RANGE, Range(START, None))))
    store.fetch(Request(DATASTORE_ID, where, (SortKey("updatedAt"),), 50, Place((START + timedelta(1),), "0" * 32)))
    index = "SEARCH this USING INDEX image_sets_1_by_patient_id_and_updated_at_and_image_set_id"
    assert plans.read() == [
        f"{index} (patient_id=? AND updated_at=? AND image_set_id>?)",
        f"{index} (patient_id=? AND updated_at>?)",
    ]
    store.fetch(Request(DATASTORE_ID, Everything(), NEWEST, 50, Place((START,), "0" * 32)))
    index = "SEARCH this USING INDEX image_sets_1_by_updated_at_and_image_set_id"
    assert plans.read() == [
        f"{index} (updated_at=? AND image_set_id<?)",
        f"{index} (updated_at<?)",
        f"{index} (updated_at=?)",
    ]


@pytest.mark.parametrize("where", [Everything(), ONE["DICOMPatientId"]])
@pytest.mark.parametrize("sort", [(SortKey(date, down),) for date in MOMENTS for down in (False, True)])
def test_studies_are_read_in_order_each_looked_up_in_its_own_index(
    store: SQLiteStore, plans: Plans, where: Condition, sort: tuple[SortKey, ...]
) -> None:
    store.create_datastore(DATASTORE_ID)
    at = Place((MOMENTS[sort[0].field][0],), "0" * 32)
    for after in (None, at):
        store.fetch(Request(DATASTORE_ID, where, sort, 50, after=after, studies=True))
        for plan in plans.read():
            assert is_in_order(plan)
            steps = [step for step in plan.split("; ") if step.startswith(("SEARCH", "SCAN"))]
            assert "USING INDEX" in steps[0]
            assert len(steps) == 4
            for step in steps[1:]:
                assert step.startswith("SEARCH earlier USING ")
                assert "image_sets_1_by_study_uid_and_updated_at (study_uid=?" in step
                assert sort[0].field != "updatedAt" or "(study_uid=? AND updated_at" in step


@pytest.mark.parametrize("field", ["updatedAt", "createdAt"])
@pytest.mark.parametrize("descending", [False, True])
def test_a_study_of_very_many_image_sets_is_read_once(store: SQLiteStore, field: str, *, descending: bool) -> None:
    """Each of its later image sets is told by the one before: none has SQLite go through the study again."""
    count, steps = 5_000, 0

    def note() -> None:
        nonlocal steps
        steps += 1_000

    rows = (image_set(number, minutes=number, DICOMStudyInstanceUID="1.2") for number in range(count))
    store.load(DATASTORE_ID, (replace(row, created_at=row.updated_at) for row in rows))
    with store._connections.reading() as connection:
        connection.set_progress_handler(note, 1_000)
    sort = (SortKey(field, descending),)
    (found,) = store.fetch(Request(DATASTORE_ID, EVERYTHING, sort, 50, studies=True)).image_sets
    assert int(found.image_set_id) == (count - 1 if descending else 0)
    assert 0 < steps < 100 * count


SOUGHT = "SEARCH this USING INTEGER PRIMARY KEY (rowid=?)"


@pytest.mark.parametrize(
    "where",
    [
        Comparison("DICOMPatientId", Operator.LIKE, "SUBJECT08*1"),
        Comparison("DICOMPatientId", Operator.IN, ("A1", "A2")),
        Comparison("DICOMAccessionNumber", Operator.LIKE, "ACC08*"),
        Comparison("DICOMPatientName", Operator.EQ, "garcia"),
        Comparison("DICOMPatientName", Operator.LIKE, "gar*^a*"),
        Comparison("DICOMPatientName", Operator.IN, ("garcia", "ana")),
        Comparison("DICOMPatientName", Operator.LIKE, "*arci*"),
        Comparison("DICOMPatientName", Operator.LIKE, "?a*^*arci*"),
        Comparison("DICOMStudyDescription", Operator.EQ, "ct chest"),
        Comparison("DICOMStudyDescription", Operator.LIKE, "ct*"),
        Comparison("DICOMStudyDescription", Operator.LIKE, "*c?chest*contrast"),
        And(
            (
                Comparison("DICOMSeriesModality", Operator.EQ, "CT"),
                Comparison("DICOMSeriesBodyPart", Operator.EQ, "HEAD"),
            )
        ),
        And((Not(ONE["DICOMStudyId"]), Not(Comparison("DICOMAccessionNumber", Operator.EXISTS, None)))),
        Or((ONE["DICOMPatientId"], Comparison("DICOMPatientId", Operator.EQ, "A2"))),
    ],
)
def test_what_an_index_narrows_is_found_by_it(store: SQLiteStore, plans: Plans, where: Condition) -> None:
    store.create_datastore(DATASTORE_ID)
    store.fetch(Request(DATASTORE_ID, where, NEWEST, 50))
    (plan,) = plans.read()
    steps = plan.split("; ")
    assert steps[0] == SOUGHT
    # What is read whole are lists that were given, and counts of some grams.
    assert [step for step in steps if step.startswith("SCAN") and not re.search("json_each|subquery", step)] == []


COMMON_AND_RARE = (
    ('description like "*contrast*"', 51),
    ('description like "*contrast*" sort studied desc', 51),
    ('description like "*zebra*"', 1),
    ('description like "*zeb*" sort created', 1),
    ("name = mül*", 51),
    ('name like "*ller*" sort studied', 51),
    ('name like "*arci*^j*"', 1),
    ("modality = CT sort studied", 51),
    ("modality = CT and bodyPart = KNEE", 1),
    ("modality = MR and bodyPart = KNEE sort created desc", 51),
    ("modality = MR and name = garcia", 0),
    ("patient = P19999 or description = zebra", 1),
)


def test_neither_a_common_search_nor_a_rare_one_reads_all(store: SQLiteStore) -> None:
    count, steps = 20_000, 0

    def note() -> None:
        nonlocal steps
        steps += 100

    def tags(number: int) -> dict[str, Any]:
        last = number == count - 1
        return {
            "DICOMPatientId": f"P{number}",
            "DICOMPatientName": "García^Jo" if last else f"Müller{number % 50}^Ana",
            "DICOMStudyDescription": "Zebra" if last else ("CT with contrast", "CT", "MR with contrast")[number % 3],
            "DICOMSeriesModality": "CT" if number % 2 else "MR",
            "DICOMSeriesBodyPart": "KNEE" if last or number % 2 == 0 else "HEAD",
            "DICOMStudyDate": "20240101",
        }

    # What is rare was updated first of all, and so is last in the default order.
    store.load(DATASTORE_ID, (image_set(number, minutes=count - number, **tags(number)) for number in range(count)))
    with store._connections.reading() as connection:
        connection.set_progress_handler(note, 100)
    for query, found in COMMON_AND_RARE:
        search = parse(query).search
        steps = 0
        answer = store.fetch(Request(DATASTORE_ID, search.where, search.sort or NEWEST, 51))
        assert (query, len(answer.image_sets)) == (query, found)
        assert steps < 2 * count, query
        steps = 0
        assert store.count(DATASTORE_ID, search.where, 51) == found
        assert steps < 2 * count, query
    steps = 0
    assert answers(store, Comparison("DICOMPatientSex", Operator.EQ, "F")) == []
    assert steps > 2 * count


def test_a_search_may_be_long_and_deep(store: SQLiteStore) -> None:
    store.load(DATASTORE_ID, [image_set(1, DICOMPatientId="A7"), image_set(2, DICOMPatientName="Ana")])
    many = tuple(Comparison("DICOMPatientId", Operator.LIKE, f"A{number}?*") for number in range(1_500))
    assert answers(store, Or((*many, ONE["DICOMPatientId"]))) == []
    values = tuple(f"A{number}" for number in range(50_000))
    assert answers(store, Comparison("DICOMPatientId", Operator.IN, values)) == [
        image_set(1, DICOMPatientId="A7"),
    ]
    name = "^".join("a" * 300)
    assert answers(store, Comparison("DICOMPatientName", Operator.EQ, name)) == []
    deep: Condition = Comparison("DICOMPatientId", Operator.EXISTS, None)
    for depth in range(40):
        deep = And((ONE["DICOMStudyId"], Not(deep))) if depth % 2 else Or((ONE["DICOMStudyId"], Not(deep)))
    assert answers(store, deep) == expected(answers(store), deep, (SortKey("imageSetId"),))
    sort = tuple(SortKey(name) for name in ("DICOMPatientName", "DICOMPatientId", "version", "createdAt", "updatedAt"))
    for where in (Or((*many[:100], ONE["DICOMPatientId"])), Comparison("DICOMPatientId", Operator.IN, values), deep):
        assert store.fetch(Request(DATASTORE_ID, where, sort, 1, studies=True)).image_sets == ()
    with pytest.raises(UnsupportedSearch) as refused:
        store.fetch(Request(DATASTORE_ID, Or((*many, ONE["DICOMPatientId"])), sort, 1, studies=True))
    assert str(refused.value) == (
        "the search is larger than studies can be found by: use fewer values with wildcards, or fewer sort keys"
    )


def test_a_search_that_is_too_large_is_refused_in_one_sentence(store: SQLiteStore) -> None:
    store.create_datastore(DATASTORE_ID)
    deep: Condition = ONE["DICOMPatientId"]
    for _ in range(200):
        deep = And((ONE["DICOMStudyId"], Not(deep)))
    with pytest.raises(UnsupportedSearch, match="the search is larger than the embedded store can take"):
        answers(store, deep)
    pattern = Comparison("DICOMPatientId", Operator.LIKE, "*a" * 30_000)
    store.load(DATASTORE_ID, [image_set(1, DICOMPatientId="A1")])
    with pytest.raises(UnsupportedSearch, match="the search is larger than the embedded store can take"):
        answers(store, pattern)
    assert answers(store) == [image_set(1, DICOMPatientId="A1")]


@pytest.mark.parametrize(
    ("prefix", "end"),
    [("a", "b"), ("a\U0010ffff", "b"), ("\ud7ff", "\ue000"), ("\U0010ffff", None), ("", None)],
)
def test_the_end_of_a_prefix(prefix: str, end: str | None) -> None:
    assert sql.prefix_end(prefix) == end


# Data stores


def test_a_data_store_is_made_once_by_id_or_name(store: SQLiteStore) -> None:
    named = store.create_datastore("Radiology é")
    assert store.create_datastore("Radiology é") == named
    assert len(named.datastore_id) == 32
    by_id = store.create_datastore(DATASTORE_ID, name="sample")
    assert (by_id.datastore_id, by_id.name, by_id.status) == (DATASTORE_ID, "sample", "ACTIVE")
    assert store.create_datastore(DATASTORE_ID) == store.create_datastore("sample") == by_id
    unnamed = store.create_datastore("e" * 32)
    assert unnamed.name == "e" * 32
    assert store.datastores() == tuple(sorted((named, by_id, unnamed), key=lambda each: each.datastore_id))
    assert store.datastore(DATASTORE_ID) == by_id
    assert store.datastore("f" * 32) is None
    assert store.datastore("\ud800") is None


@pytest.mark.parametrize("name", ["", " ", "a" * 257, "a\0b", "\ud800", "e\u0301"])
def test_a_data_store_has_a_decent_name(store: SQLiteStore, name: str) -> None:
    with pytest.raises(InvalidArgument, match="a data store's name has 1 to 256 characters"):
        store.create_datastore(name)
    assert store.datastores() == ()


def test_a_name_belongs_to_one_data_store(store: SQLiteStore) -> None:
    store.create_datastore("sample")
    with pytest.raises(InvalidArgument, match="another data store is named 'sample'"):
        store.create_datastore(DATASTORE_ID, name="sample")


def test_an_unknown_data_store_is_an_error(store: SQLiteStore) -> None:
    for use in (
        lambda: store.fetch(Request(DATASTORE_ID, Everything(), NEWEST, 1)),
        lambda: store.count(DATASTORE_ID, Everything(), 1),
        lambda: store.image_sets(DATASTORE_ID, ["0" * 32]),
        lambda: store.remove(DATASTORE_ID, ["0" * 32]),
        lambda: store.remove_datastore(DATASTORE_ID),
    ):
        with pytest.raises(DataStoreNotFound, match="there is no data store with this id"):
            use()


def test_data_stores_are_apart(store: SQLiteStore) -> None:
    store.load(DATASTORE_ID, [image_set(1), image_set(2)])
    store.load("e" * 32, [image_set(2, version=3)])
    assert answers(store) == [image_set(1), image_set(2)]
    other = replace(image_set(2, version=3), datastore_id="e" * 32)
    assert store.image_sets("e" * 32, [f"{number:032d}" for number in range(5)]) == {other.image_set_id: other}
    store.remove_datastore("e" * 32)
    assert answers(store) == [image_set(1), image_set(2)]
    assert [each.datastore_id for each in store.datastores()] == [DATASTORE_ID]


def test_image_sets_are_found_by_id(store: SQLiteStore) -> None:
    store.load(DATASTORE_ID, [image_set(1), image_set(2)])
    assert store.image_sets(DATASTORE_ID, []) == {}
    assert store.image_sets(DATASTORE_ID, [f"{2:032d}", "\ud800", "", "x"]) == {f"{2:032d}": image_set(2)}


# Loading


def test_of_an_image_set_its_one_version_is_known_and_no_metadata(store: SQLiteStore) -> None:
    store.load(DATASTORE_ID, [image_set(1, version=3, minutes=5), image_set(2, version=None, minutes=None)])
    ids = [f"{number:032d}" for number in range(4)]
    assert store.versions(DATASTORE_ID, ids) == {
        ids[1]: (ImageSetVersion(3, START, START + timedelta(minutes=5), "ACTIVE"),),
        ids[2]: (ImageSetVersion(None, START, None, "ACTIVE"),),
    }
    assert store.metadata(DATASTORE_ID, ids) == {}
    assert store.image_set_ids(DATASTORE_ID) == {ids[1], ids[2]}


def test_a_watermark_only_rises_and_goes_with_its_data_store(store: SQLiteStore) -> None:
    store.create_datastore(DATASTORE_ID)
    store.create_datastore("f" * 32)
    later = START + timedelta(microseconds=1)
    for source, moment in (("there", START), ("elsewhere", START), ("there", later), ("there", START)):
        store.raise_watermark(DATASTORE_ID, source, moment)
    store.raise_watermark("f" * 32, "there", START)
    assert store.watermarks(DATASTORE_ID) == {"there": later, "elsewhere": START}
    store.remove_datastore(DATASTORE_ID)
    store.create_datastore(DATASTORE_ID)
    assert store.watermarks(DATASTORE_ID) == {}
    assert store.watermarks("f" * 32) == {"there": START}


def test_the_newer_version_wins_in_whatever_order_they_come(store: SQLiteStore) -> None:
    old, new, newer = image_set(1), image_set(1, version=2), image_set(1, version=2, minutes=5)
    for order in ((old, new, newer), (newer, new, old), (new, newer, old)):
        for sizes in ((3,), (1, 2), (1, 1, 1)):
            items = iter(order)
            for size in sizes:
                store.load(DATASTORE_ID, [next(items) for _ in range(size)])
            assert answers(store) == [newer]
            store.remove_datastore(DATASTORE_ID)


def test_what_loading_did_is_counted_the_same_at_once_or_one_by_one(store: SQLiteStore) -> None:
    lines = [
        image_set(1),
        image_set(2, version=5),
        image_set(1),
        image_set(1, DICOMPatientId="changed"),
        image_set(2, version=4),
        image_set(3, version=None, minutes=None),
        image_set(3, version=1, minutes=None),
    ]
    wanted = [lines[3], lines[1], lines[6]]
    assert store.load(DATASTORE_ID, lines) == LoadResult(inserted=3, updated=2, unchanged=2)
    assert answers(store) == wanted
    assert store.load(DATASTORE_ID, lines) == LoadResult(inserted=0, updated=2, unchanged=5)
    assert answers(store) == wanted
    assert store.load("e" * 32, lines[:1]) == LoadResult(inserted=1)
    assert store.load("e" * 32, lines[1:]) == LoadResult(inserted=2, updated=2, unchanged=2)
    assert store.load("e" * 32, []) == LoadResult()


def test_loading_tells_how_far_it_is(store: SQLiteStore) -> None:
    told: list[int] = []
    for _ in range(2):
        store.load(DATASTORE_ID, map(image_set, range(4_500)), told.append)
    assert told == [2_000, 4_000, 2_000, 4_000, 4_500]


@pytest.mark.parametrize("held", [0, 1])
@pytest.mark.parametrize("error", [LoadError("the source went away"), KeyboardInterrupt()])
def test_what_came_before_an_error_of_the_source_is_kept(store: SQLiteStore, held: int, error: BaseException) -> None:
    def source() -> Iterator[ImageSet]:
        yield from map(image_set, range(1, 2_500))
        raise error

    store.load(DATASTORE_ID, map(image_set, range(held)))
    with pytest.raises(type(error)):
        store.load(DATASTORE_ID, source())
    assert store.count(DATASTORE_ID, Everything(), 10_000) == 2_499 + held
    assert store.load(DATASTORE_ID, map(image_set, range(1, 3_000))) == LoadResult(inserted=500, unchanged=2_499)


def test_a_crash_while_an_empty_data_store_is_filled_leaves_it_empty_and_whole(
    store: SQLiteStore, plans: Plans
) -> None:
    def source() -> Iterator[ImageSet]:
        yield from map(image_set, range(2_500))
        raise RuntimeError("as if killed")

    with pytest.raises(RuntimeError):
        store.load(DATASTORE_ID, source())
    assert answers(store) == []
    plans.read()
    store.fetch(Request(DATASTORE_ID, Everything(), NEWEST, 1))
    assert plans.read() == ["SCAN this USING INDEX image_sets_1_by_updated_at_and_image_set_id"]
    assert store.load(DATASTORE_ID, map(image_set, range(2_500))) == LoadResult(inserted=2_500)


def test_tags_that_are_not_json_are_refused(store: SQLiteStore) -> None:
    with pytest.raises(LoadError, match=f"the tags of image set {1:032d} are not JSON"):
        store.load(DATASTORE_ID, [image_set(1, DICOMPatientId=object())])


def test_a_full_disk_undoes_the_last_step_and_loses_nothing(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load(DATASTORE_ID, map(image_set, range(100)))
    connect = store._connections._connect

    def connect_to_a_full_disk() -> sqlite3.Connection:
        connection = connect()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")
        return connection

    with monkeypatch.context() as full:
        full.setattr(store._connections, "_connect", connect_to_a_full_disk)
        for datastore in (DATASTORE_ID, "e" * 32):
            with pytest.raises(StoreFileError, match=r"the disk of .* is full; the last step was undone"):
                store.load(datastore, map(image_set, range(5_000)))
    assert answers(store) == list(map(image_set, range(100)))
    assert store.load(DATASTORE_ID, map(image_set, range(5_000))) == LoadResult(inserted=4_900, unchanged=100)


def test_writers_wait_and_then_say_so(store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_BUSY_SECONDS", 0.05)
    store.load(DATASTORE_ID, [image_set(1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"another program is writing to .*; try again when it is done"):
            store.load(DATASTORE_ID, [image_set(2)])
        assert answers(store) == [image_set(1)]


# Erasing


def bytes_of(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.iterdir()))


def test_what_is_erased_leaves_no_bytes_behind(store: SQLiteStore, path: Path) -> None:
    secret = {
        "DICOMPatientId": "SECRETID",
        "DICOMPatientName": "Secretname^Ana",
        "DICOMStudyDescription": "SECRETTEXT",
        "private": "x" * 5_000,
    }
    store.load(DATASTORE_ID, [replace(image_set(1), tags=secret), image_set(2, DICOMPatientName="Kept^Ana")])
    assert {word in bytes_of(path).lower() for word in (b"secretid", b"secretname", b"secrettext")} == {True}
    assert store.remove(DATASTORE_ID, [f"{1:032d}", f"{9:032d}"]) == 1
    assert {word in bytes_of(path).lower() for word in (b"secretid", b"secretname", b"secrettext")} == {False}
    assert answers(store, Comparison("DICOMPatientName", Operator.EQ, "ana")) == [
        image_set(2, DICOMPatientName="Kept^Ana")
    ]


def test_a_corrected_name_is_found_and_the_wrong_one_is_gone(store: SQLiteStore, path: Path) -> None:
    store.load(DATASTORE_ID, [image_set(1, DICOMPatientName="Wrongname^Ana")])
    store.load(DATASTORE_ID, [image_set(1, version=2, DICOMPatientName="Right^Ana")])
    assert b"wrongname" not in bytes_of(path).lower()
    assert answers(store, Comparison("DICOMPatientName", Operator.EQ, "wrongname")) == []
    assert answers(store, Comparison("DICOMPatientName", Operator.EQ, "right")) == [
        image_set(1, version=2, DICOMPatientName="Right^Ana")
    ]


def test_what_others_still_have_is_found_after_one_is_erased_or_corrected(store: SQLiteStore, path: Path) -> None:
    shared: dict[str, Any] = {"DICOMPatientName": "Shared^Ana", "DICOMStudyDescription": "Shared text"}
    store.load(DATASTORE_ID, [image_set(number, **shared) for number in range(4)])
    searches = (
        Comparison("DICOMPatientName", Operator.LIKE, "*hare*"),
        Comparison("DICOMPatientName", Operator.EQ, "ana"),
        Comparison("DICOMStudyDescription", Operator.LIKE, "*d?tex*"),
    )
    store.remove(DATASTORE_ID, [f"{0:032d}"])
    store.load(DATASTORE_ID, [image_set(1, version=2, DICOMPatientName="Other")])
    for where in searches:
        assert answers(store, where) == [image_set(2, **shared), image_set(3, **shared)]
    store.remove(DATASTORE_ID, [f"{2:032d}", f"{3:032d}"])
    assert [answers(store, where) for where in searches] == [[], [], []]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT field, text FROM texts_1").fetchall() == [("part", "other")]
        grams = [("her",), ("oth",), ("the",)]
        assert connection.execute("SELECT gram FROM grams_1 ORDER BY gram").fetchall() == grams
        assert connection.execute("SELECT name FROM name_parts_1").fetchall() == [("other",)]


def test_a_whole_data_store_is_erased(store: SQLiteStore, path: Path) -> None:
    store.load(DATASTORE_ID, [image_set(number, DICOMPatientName=f"Secretname{number}") for number in range(300)])
    store.remove_datastore(DATASTORE_ID)
    assert b"secretname" not in bytes_of(path).lower()
    assert store.datastores() == ()


def test_a_reader_that_stays_keeps_erasing_from_its_end(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_BUSY_SECONDS", 0.05)
    store.load(DATASTORE_ID, [image_set(1), image_set(2)])
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM image_sets_1").fetchall()
        with pytest.raises(StoreError, match="still holds it while another program reads; remove again"):
            store.remove(DATASTORE_ID, [f"{1:032d}"])
    assert answers(store) == [image_set(2)]
    assert store.remove(DATASTORE_ID, [f"{1:032d}"]) == 0


# The file


def test_a_new_file_is_its_owners_alone(store: SQLiteStore, path: Path) -> None:
    store.load(DATASTORE_ID, [image_set(1)])
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


def test_a_store_is_there_again_when_opened_again(store: SQLiteStore, path: Path) -> None:
    store.load(DATASTORE_ID, [image_set(1, DICOMPatientName="Ana")])
    (kept,) = store.datastores()
    store.close()
    with closing(SQLiteStore(path)) as again:
        assert again.datastores() == (kept,)
        assert answers(again) == [image_set(1, DICOMPatientName="Ana")]
    with pytest.raises(StoreError, match="the store is closed"):
        store.datastores()


def test_a_missing_or_empty_file_is_no_store(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    with pytest.raises(StoreFileError, match=f"there is no store at {missing}; `imagesets load` makes one"):
        SQLiteStore(missing)
    assert not missing.exists()
    missing.touch()
    with pytest.raises(StoreFileError, match=f"{missing} is empty; `imagesets load` makes a store"):
        SQLiteStore(missing)


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("no database, but longer than the header of one, which is a hundred bytes " * 3)
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    for file, message in ((text, "is no database"), (foreign, "is a database of another program")):
        before = file.read_bytes()
        for create in (False, True):
            with pytest.raises(StoreFileError, match=f"{file} {message}"):
                SQLiteStore(file, create=create)
        assert file.read_bytes() == before
    with pytest.raises(StoreFileError, match=f"{tmp_path}: unable to open database file"):
        SQLiteStore(tmp_path)
    with pytest.raises(StoreFileError, match="cannot be made: "):
        SQLiteStore(text / "store.db", create=True)


def test_a_newer_file_is_refused_by_both_versions(store: SQLiteStore, path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(StoreFileError, match="its schema is 7, and 5 is the newest that this version reads"):
        SQLiteStore(path)


def test_an_older_file_is_brought_up_to_date_in_one_step_or_not_at_all(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load(DATASTORE_ID, [image_set(1)])
    store.close()

    def add_note(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE datastores ADD COLUMN note TEXT DEFAULT 'new'")

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM datastores")
        raise RuntimeError("a faulty step")

    steps = sqlite.MIGRATIONS
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*steps, add_note, fail))
    with pytest.raises(RuntimeError):
        SQLiteStore(path)
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*steps, add_note))
    for _ in range(2):
        with closing(SQLiteStore(path)) as upgraded:
            assert answers(upgraded) == [image_set(1)]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT note FROM datastores").fetchall() == [("new",)]
        assert connection.execute("PRAGMA user_version").fetchall() == [(6,)]


def columns_of(path: Path) -> dict[str, list[Any]]:
    """The columns of every table, and of every index, in their order."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT type, name FROM sqlite_schema ORDER BY name").fetchall()
        return {name: connection.execute(f"PRAGMA {kind}_info({name})").fetchall() for kind, name in names}


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_file_of_every_older_version_is_brought_up_to_date(store: SQLiteStore, path: Path, version: int) -> None:
    times: tuple[object, ...] = ("10", "1030", "103000.5", "000000", "235960", "24", "", "1:30", 10, None, ["10"])
    stored = [
        image_set(
            number,
            DICOMPatientName=name,
            DICOMStudyDescription=f"Contro\u0302le {number}" if number % 3 else number,
            DICOMStudyTime=times[number % len(times)],
            DICOMStudyDate="20240311" if number % 2 else None,
        )
        for number, name in enumerate((*VALUES[BY_NAME["DICOMPatientName"].type], ["Ana"], *range(2_500)))
    ]
    store.load(DATASTORE_ID, stored)
    store.create_datastore("e" * 32)
    store.close()
    new = columns_of(path)
    make_older(path, version)
    assert columns_of(path) != new
    with closing(SQLiteStore(path)) as upgraded:
        assert columns_of(path) == new
        columns = upgraded.fetch_columns(
            Request(DATASTORE_ID, EVERYTHING, (SortKey("imageSetId"),), 3_000), (*sql.WRITTEN, TAGS)
        )
        assert columns.values == {
            "DICOMPatientName": tuple(each.value("DICOMPatientName") for each in stored),
            "DICOMStudyDescription": tuple(each.value("DICOMStudyDescription") for each in stored),
            STUDY_TIME: tuple(map(since_midnight, stored)),
            TAGS: [each.tags for each in stored],
        }
        assert upgraded.count(DATASTORE_ID, Comparison("DICOMStudyDescription", Operator.LIKE, "*TROL*"), 9) == 9
        # Row for row what would be written today.
        assert upgraded.load(DATASTORE_ID, stored) == LoadResult(unchanged=len(stored))
        assert upgraded.watermarks(DATASTORE_ID) == {}
        upgraded.raise_watermark(DATASTORE_ID, "there", START)
        assert upgraded.watermarks(DATASTORE_ID) == {"there": START}


def test_an_older_file_is_brought_up_to_date_without_leaving_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def connect_as_sqlite_comes(*given: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **options)
        connection.execute("PRAGMA secure_delete = OFF")  # some systems build it with another default
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_as_sqlite_comes)
    with closing(SQLiteStore(path, create=True)) as old:
        names = ("DICOMPatientId", "DICOMPatientName", "DICOMStudyDescription")
        secrets = (dict[str, Any](dict.fromkeys(names, f"SECRET{number}")) for number in range(3_000))
        old.load(DATASTORE_ID, (image_set(number, **tags) for number, tags in enumerate(secrets)))
    make_older(path, 3)
    with closing(SQLiteStore(path)) as upgraded:
        upgraded.remove(DATASTORE_ID, [f"{number:032d}" for number in range(3_000)])
    assert b"secret" not in bytes_of(path).lower()


def test_a_damaged_file_is_named(store: SQLiteStore, path: Path) -> None:
    store.load(DATASTORE_ID, map(image_set, range(2_000)))
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: 16_384 * 2] + b"\x5a" * (len(whole) - 16_384 * 2))
    with closing(SQLiteStore(path)) as damaged, pytest.raises(StoreFileError, match=f"{path} is damaged: "):
        damaged.fetch(Request(DATASTORE_ID, Everything(), NEWEST, 50))


def test_datastores_have_times(store: SQLiteStore) -> None:
    made = store.create_datastore(DATASTORE_ID)
    store.load(DATASTORE_ID, [image_set(1)])
    loaded = store.datastore(DATASTORE_ID)
    assert isinstance(loaded, Datastore)
    assert made.created_at == loaded.created_at
    assert made.updated_at is not None
    assert loaded.updated_at is not None
    assert made.updated_at < loaded.updated_at <= datetime.now(UTC)


def test_a_read_is_brief_or_not_done(store: SQLiteStore) -> None:
    store.load(DATASTORE_ID, (image_set(number) for number in range(5_000)))
    request = Request(DATASTORE_ID, EVERYTHING, NEWEST, 50)
    with be_brief():
        assert store.fetch(request).more
        with pytest.raises(NotBrief):
            store.count(DATASTORE_ID, EVERYTHING, 5_000)
        # Nothing is left of what was broken off.
        assert store.fetch(request) == store.fetch(request)
    assert store.count(DATASTORE_ID, EVERYTHING, 5_000) == 5_000


@pytest.mark.parametrize("negated", [False, True])
def test_what_a_pattern_costs_is_not_known_before(store: SQLiteStore, *, negated: bool) -> None:
    store.load(DATASTORE_ID, [image_set(1, DICOMStudyDescription="a" * 200)])
    like = Comparison("DICOMStudyDescription", Operator.LIKE, "*a*a*a*a*b")
    where = And((Comparison("version", Operator.EQ, 1), Not(like) if negated else like))
    request = Request(DATASTORE_ID, where, NEWEST, 50)
    with be_brief(), pytest.raises(NotBrief):
        store.fetch(request)
    assert len(store.fetch(request).image_sets) == negated


def test_many_names_are_not_compiled_where_others_wait(store: SQLiteStore) -> None:
    store.load(DATASTORE_ID, [image_set(1, DICOMPatientName="Ana")])
    for names, brief in ((("Ana", "Bo"), True), (tuple(f"Name{number}^Bo" for number in range(40)), False)):
        request = Request(DATASTORE_ID, Comparison("DICOMPatientName", Operator.IN, names), NEWEST, 50)
        with be_brief(), nullcontext() if brief else pytest.raises(NotBrief):
            assert len(store.fetch(request).image_sets) == 1
        assert len(store.fetch(request).image_sets) == brief


def test_a_brief_read_keeps_its_deadline(store: SQLiteStore) -> None:
    store.load(DATASTORE_ID, (image_set(number) for number in range(500)))
    with limit_time(0), be_brief(), pytest.raises(NotBrief):
        store.fetch(Request(DATASTORE_ID, EVERYTHING, NEWEST, 500))


def test_a_brief_read_waits_for_nobody(store: SQLiteStore, path: Path) -> None:
    store.create_datastore(DATASTORE_ID)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with be_brief(), pytest.raises(NotBrief):
            store.datastores()


def test_what_is_shared_sees_one_state(tmp_path: Path) -> None:
    with closing(SQLiteStore(tmp_path / "store.db", create=True)) as store:
        store.load("first", [])
        with store.sharing():
            before = store.datastores()
            store.create_datastore("second")
            with store.sharing():
                assert store.datastores() == before
            assert store.datastores() == before
        assert len(store.datastores()) == 2


@pytest.mark.parametrize("error", [QueryError("", []), InvalidCursor("another search's")])
def test_what_a_client_does_wrong_costs_no_connection(tmp_path: Path, error: Exception) -> None:
    with closing(SQLiteStore(tmp_path / "store.db", create=True)) as store:
        with store.sharing():
            store.datastores()
        [kept] = store._connections._idle
        failed = STORE_SECONDS.labels("sqlite", "INVALID_CURSOR")._sum.get()
        with pytest.raises(type(error)), store.sharing():
            raise error
        assert STORE_SECONDS.labels("sqlite", "INVALID_CURSOR")._sum.get() == failed
        assert store._connections._idle == [kept]
        assert not kept.connection.in_transaction


def test_a_file_that_a_newer_version_has_taken_over_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    def numbered(numbers: range) -> Iterator[ImageSet]:
        for number in numbers:
            if number == 2_500:
                with closing(sqlite3.connect(path)) as newer:
                    newer.execute(f"PRAGMA user_version = {len(sqlite.MIGRATIONS) + 1}")
            yield ImageSet(DATASTORE_ID, f"{number:032}", 1, None, None, None, None, None, {})

    with closing(SQLiteStore(path, create=True)) as store:
        store.load(DATASTORE_ID, numbered(range(1)))
        with pytest.raises(StoreFileError, match="a newer version of this program"):
            store.load(DATASTORE_ID, numbered(range(1, 3_000)))
        assert store.count(DATASTORE_ID, Everything(), 10_000) == 2_001  # a batch came before
        with pytest.raises(StoreFileError, match="a newer version of this program"):
            store.remove(DATASTORE_ID, [f"{0:032}"])


def test_what_is_not_brief_costs_no_connection(tmp_path: Path) -> None:
    with closing(SQLiteStore(tmp_path / "store.db", create=True)) as store:
        with be_brief():
            store.datastores()
        [kept] = store._connections._idle_brief
        with pytest.raises(NotBrief), be_brief(), store._connections.reading() as connection:
            connection.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n")
        assert store._connections._idle_brief == [kept]
