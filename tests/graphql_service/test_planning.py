from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar.criteria import (
    And,
    Comparison,
    Condition,
    Everything,
    Interval,
    Not,
    Operator,
    Or,
    Range,
    Scalar,
    Search,
    SortKey,
    conjunction,
    disjunction,
    negation,
)
from grammar.printer import canonical
from graphql_service.errors import UnsupportedSearch
from graphql_service.healthimaging.criteria import CAPABILITIES
from graphql_service.image_set import ImageSet
from graphql_service.matching import matches
from graphql_service.planning import Branch, Plan, describe_plan, make_plan, plan_lines
from graphql_service.stores.base import Capabilities

DAY = datetime(2024, 3, 11, tzinfo=UTC)


def eq(field: str, value: Scalar) -> Comparison:
    return Comparison(field, Operator.EQ, value)


def period(field: str, start: datetime | None, end: datetime | None) -> Comparison:
    return Comparison(field, Operator.RANGE, Range(start, end))


PATIENT = eq("DICOMPatientId", "SUBJECT08701")
OTHER_PATIENT = eq("DICOMPatientId", "SUBJECT2")
SERIES = eq("DICOMSeriesInstanceUID", "1.2.3")
STUDY = eq("DICOMStudyInstanceUID", "1.2")
ACCESSION = eq("DICOMAccessionNumber", "A1")
STUDY_ID = eq("DICOMStudyId", "1")
PRIMARY = eq("isPrimary", value=True)
CHEST = Comparison("DICOMStudyDescription", Operator.LIKE, "chest*")
SHORT = period("updatedAt", DAY, DAY + timedelta(days=1))
LONG = period("createdAt", DAY, DAY + timedelta(days=900))
OPEN = period("DICOMStudyDateAndTime", datetime(2024, 3, 11), None)


def branches(where: Condition) -> tuple[tuple[Condition, ...], ...]:
    return tuple(branch.filters for branch in make_plan(Search(where), CAPABILITIES).branches)


COVERS: tuple[tuple[str, Condition, tuple[tuple[Condition, ...], ...]], ...] = (
    ("everything is a scan", Everything(), ((),)),
    ("nothing is no request", Not(Everything()), ()),
    ("one filter", PATIENT, ((PATIENT,),)),
    ("no filter of the service's", CHEST, ((),)),
    ("two combine, the narrowest first", And((PATIENT, SERIES)), ((SERIES, PATIENT),)),
    ("the two narrowest of three", And((SHORT, PATIENT, SERIES)), ((SERIES, PATIENT),)),
    ("what cannot be sent is left out", And((CHEST, PATIENT)), ((PATIENT,),)),
    ("a list is one branch a value", Comparison("DICOMPatientId", Operator.IN, ("b", "a", "b")),
     ((eq("DICOMPatientId", "b"),), (eq("DICOMPatientId", "a"),))),
    ("a list with a second filter", And((SHORT, Comparison("DICOMSeriesInstanceUID", Operator.IN, ("1.1", "1.2")))),
     ((eq("DICOMSeriesInstanceUID", "1.1"), SHORT), (eq("DICOMSeriesInstanceUID", "1.2"), SHORT))),
    ("a long list is worth less than one patient",
     And((PATIENT, Comparison("DICOMSeriesInstanceUID", Operator.IN, tuple(f"1.{n}" for n in range(200))))),
     ((PATIENT,),)),
    ("or is a union", Or((PATIENT, And((SERIES, SHORT)))), ((PATIENT,), (SERIES, SHORT))),
    ("the same branch twice is one", Or((PATIENT, And((PATIENT, CHEST)))), ((PATIENT,),)),
    ("a wider branch absorbs", Or((And((PATIENT, SHORT)), PATIENT)), ((PATIENT,),)),
    ("a scan absorbs", Or((PATIENT, CHEST)), ((),)),
    ("more than a scan is a scan", Or((PRIMARY, eq("isPrimary", value=False))), ((),)),
    ("the narrower of two unions", And((Or((LONG, OPEN)), Or((PATIENT, OTHER_PATIENT)))),
     ((PATIENT,), (OTHER_PATIENT,))),
    ("not is a scan", Not(PATIENT), ((),)),
    ("not is pushed into or", Not(Or((CHEST, Not(PATIENT)))), ((PATIENT,),)),
    ("not is pushed into and", Not(And((Not(PATIENT), Not(SERIES)))), ((PATIENT,), (SERIES,))),
    ("not and, in part", Not(And((CHEST, Not(SERIES)))), ((),)),
    ("ranges on one field are cut down to one",
     And((period("updatedAt", DAY, None), period("updatedAt", None, DAY + timedelta(days=1)))), ((SHORT,),)),
    ("ranges that overlap", And((period("updatedAt", DAY - timedelta(days=1), DAY + timedelta(days=1)),
                                 period("updatedAt", DAY, DAY + timedelta(days=9)))), ((SHORT,),)),
    ("ranges that share nothing", And((period("updatedAt", DAY, None), period("updatedAt", None, DAY))), ()),
    ("an empty range", period("updatedAt", DAY, DAY), ()),
    ("an empty branch leaves the others", Or((period("updatedAt", DAY, DAY), PATIENT)), ((PATIENT,),)),
    ("two values of one attribute are never combined", And((PATIENT, OTHER_PATIENT)), ((PATIENT,),)),
    ("a text of two spellings cannot be sent", eq("DICOMPatientId", "Jos\u00e9"), ((),)),
    ("a text of one spelling can", eq("DICOMPatientId", "患者1"), ((eq("DICOMPatientId", "患者1"),),)),
    ("a text beyond the service's limit", eq("DICOMPatientId", "x" * 513), ((),)),
    ("a list with one such text", Comparison("DICOMPatientId", Operator.IN, ("a", "\u00e9")), ((),)),
    ("like cannot be sent", Comparison("DICOMPatientId", Operator.LIKE, "A*"), ((),)),
)  # fmt: skip


@pytest.mark.parametrize(("where", "expected"), [case[1:] for case in COVERS], ids=[case[0] for case in COVERS])
def test_cover(where: Condition, expected: tuple[tuple[Condition, ...], ...]) -> None:
    assert branches(where) == expected


def test_filters_rank_as_the_narrowest_first() -> None:
    ranked = (SERIES, STUDY, ACCESSION, STUDY_ID, PATIENT, SHORT, LONG, PRIMARY)
    for narrower, wider in pairwise(ranked):
        assert branches(And((wider, CHEST, narrower))) == ((narrower, wider),)
    assert branches(And((PRIMARY, OPEN))) == ((OPEN, PRIMARY),)


@pytest.mark.parametrize(
    ("where", "exact"),
    [
        (Everything(), True),
        (PATIENT, True),
        (And((PATIENT, SERIES)), True),
        (Or((PATIENT, SERIES)), True),
        (Comparison("DICOMPatientId", Operator.IN, ("a", "b")), True),
        (And((SHORT, Or((PATIENT, SERIES)))), True),
        (Not(Everything()), True),
        (Or((PATIENT, Everything())), True),
        (CHEST, False),
        (And((PATIENT, CHEST)), False),
        (And((PATIENT, SERIES, STUDY)), False),
        (And((PATIENT, OTHER_PATIENT)), False),
        (And((Or((PATIENT, SERIES)), Or((STUDY, ACCESSION)))), False),
        (Or((PATIENT, And((SERIES, CHEST)))), False),
        (Or((PATIENT, CHEST)), False),
        (Not(PATIENT), False),
        (Or((PRIMARY, eq("isPrimary", value=False))), False),
    ],
    ids=repr,
)
def test_exact(where: Condition, exact: bool) -> None:  # noqa: FBT001 - the expected value
    assert make_plan(Search(where), CAPABILITIES).exact is exact


def test_a_limited_store_leaves_the_whole_condition() -> None:
    where = And((PATIENT, CHEST))
    sort = (SortKey("createdAt", descending=True),)
    assert make_plan(Search(where, sort), CAPABILITIES) == Plan((Branch((PATIENT,)),), where, sort, exact=False)
    assert make_plan(Search(), CAPABILITIES) == Plan((Branch(()),), None, (), exact=True)


def test_a_store_without_limits_gets_the_whole_condition() -> None:
    where = Or((PATIENT, Not(CHEST)))
    sort = (SortKey("DICOMPatientName"), SortKey("version"))
    plan = make_plan(Search(where, sort), Capabilities())
    assert plan == Plan((Branch((where,)),), None, sort, exact=True)
    assert plan.branches[0].where == where
    assert make_plan(Search(), Capabilities()) == Plan((Branch(()),), None, (), exact=True)


def test_a_branch_is_one_condition() -> None:
    assert Branch(()).where == Everything()
    assert Branch((PATIENT,)).where == PATIENT
    assert Branch((SERIES, PATIENT)).where == And((SERIES, PATIENT))


ABLE = "it sorts by one of updatedAt, createdAt, DICOMStudyDateAndTime."


@pytest.mark.parametrize(
    ("sort", "message"),
    [
        (
            (SortKey("DICOMPatientName"),),
            f"This store cannot sort by DICOMPatientName: {ABLE}",
        ),
        (
            (SortKey("version"), SortKey("createdAt"), SortKey("imageSetId")),
            f"This store cannot sort by version, imageSetId: {ABLE}",
        ),
        (
            (SortKey("createdAt"), SortKey("updatedAt")),
            f"This store cannot sort by more than one field: {ABLE}",
        ),
    ],
    ids=["a field", "fields", "two keys"],
)
def test_an_order_that_the_store_has_not(sort: tuple[SortKey, ...], message: str) -> None:
    with pytest.raises(UnsupportedSearch) as refusal:
        make_plan(Search(PATIENT, sort), CAPABILITIES)
    assert str(refusal.value) == message


def text(where: Condition) -> str:
    return canonical(Search(where))


def test_description() -> None:
    plan = make_plan(Search(And((CHEST, Or((PATIENT, SERIES))))), CAPABILITIES)
    assert describe_plan(plan, "HealthImaging") == {
        "store": "HealthImaging",
        "branches": [text(PATIENT), text(SERIES)],
        "residual": text(And((CHEST, Or((PATIENT, SERIES))))),
    }
    assert plan_lines(plan, "HealthImaging") == [
        "Asked of HealthImaging, 2 searches merged without duplicates:",
        f"  {text(PATIENT)}",
        f"  {text(SERIES)}",
        f"Filtered here, row by row: {text(And((CHEST, Or((PATIENT, SERIES)))))}",
    ]
    scan = make_plan(Search(CHEST), CAPABILITIES)
    assert describe_plan(scan, "HealthImaging")["branches"] == [text(Everything())]
    assert plan_lines(scan, "HealthImaging") == [
        "Asked of HealthImaging: every image set of the data store",
        f"Filtered here, row by row: {text(CHEST)}",
    ]
    whole = make_plan(Search(CHEST), Capabilities())
    assert describe_plan(whole, "SQLite") == {"store": "SQLite", "branches": [text(CHEST)], "residual": None}
    assert plan_lines(whole, "SQLite") == [
        f"Asked of SQLite: {text(CHEST)}",
        "Filtered here: nothing, the store answers the whole search.",
    ]
    nothing = make_plan(Search(Not(Everything())), CAPABILITIES)
    assert plan_lines(nothing, "HealthImaging") == ["Nothing is sent: no image set can meet this search."]


# Few values for each field, so that conditions and rows meet often.
TEXTS = ("A", "a", "Jos\u00e9", "Jose\u0301")
UIDS = ("1.2", "1.3")
MOMENTS = tuple(datetime(2024, 3, 11) + timedelta(hours=hours) for hours in (0, 1, 24, 2000))


def comparisons_on(field: str, values: tuple[str, ...] | tuple[bool, ...]) -> st.SearchStrategy[Condition]:
    value = st.sampled_from(values)
    return st.one_of(
        st.builds(Comparison, st.just(field), st.just(Operator.EQ), value),
        st.builds(Comparison, st.just(field), st.just(Operator.IN), st.lists(value, min_size=1).map(tuple)),
        st.just(Comparison(field, Operator.EXISTS, None)),
    )


def ranges_on(field: str, moments: tuple[datetime, ...]) -> st.SearchStrategy[Condition]:
    end = st.sampled_from((None, *moments))
    return st.builds(Comparison, st.just(field), st.just(Operator.RANGE), st.builds(Range, end, end))


INSTANTS = tuple(moment.replace(tzinfo=UTC) for moment in MOMENTS)
NFC_TEXTS = TEXTS[:3]
COMPARISONS = st.one_of(
    comparisons_on("DICOMPatientId", NFC_TEXTS),
    comparisons_on("DICOMStudyId", NFC_TEXTS),
    comparisons_on("DICOMSeriesInstanceUID", UIDS),
    comparisons_on("isPrimary", (True, False)),
    ranges_on("updatedAt", INSTANTS),
    ranges_on("createdAt", INSTANTS),
    ranges_on("DICOMStudyDateAndTime", MOMENTS),
    st.just(Comparison("DICOMPatientId", Operator.LIKE, "J*")),
    st.just(Comparison("version", Operator.BETWEEN, Interval(1, 2))),
)
CONDITIONS = st.recursive(
    COMPARISONS | st.just(Everything()),
    lambda inner: st.one_of(
        inner.map(negation),
        st.lists(inner, min_size=2, max_size=4).map(conjunction),
        st.lists(inner, min_size=2, max_size=4).map(disjunction),
    ),
    max_leaves=12,
)
ROWS = st.builds(
    ImageSet,
    st.just("1" * 32),
    st.just("a" * 32),
    st.sampled_from((1, 2, 3, None)),
    st.sampled_from((None, *INSTANTS)),
    st.sampled_from((None, *INSTANTS)),
    st.none(),
    st.none(),
    st.sampled_from((True, False, None)),
    st.fixed_dictionaries(
        {},
        optional={
            "DICOMPatientId": st.sampled_from(TEXTS),
            "DICOMStudyId": st.sampled_from(TEXTS),
            "DICOMSeriesInstanceUID": st.sampled_from(UIDS),
            "DICOMStudyDate": st.sampled_from(("20240311", "20240312", "2024")),
            "DICOMStudyTime": st.sampled_from(("", "010000", "99")),
        },
    ),
)


@settings(max_examples=400, deadline=None)
@given(CONDITIONS, ROWS)
def test_every_match_is_in_a_branch(where: Condition, row: ImageSet) -> None:
    plan = make_plan(Search(where), CAPABILITIES)
    covered = any(matches(branch.where, row) for branch in plan.branches)
    assert covered or not matches(where, row)
    if plan.exact:
        assert covered == matches(where, row)


@settings(max_examples=300, deadline=None)
@given(CONDITIONS)
def test_branches_stay_within_the_capabilities(where: Condition) -> None:
    plan = make_plan(Search(where), CAPABILITIES)
    assert len(set(plan.branches)) == len(plan.branches)
    for branch in plan.branches:
        fields = []
        for part in branch.filters:
            assert isinstance(part, Comparison)
            assert CAPABILITIES.operators is not None
            assert part.operator in CAPABILITIES.operators[part.field]
            fields.append(part.field)
        assert len(fields) <= 2
        assert len(set(fields)) == len(fields)
    assert plan.residual == (None if where == Everything() else where)


def test_the_work_grows_with_the_search_only() -> None:
    lists = [
        Comparison("DICOMPatientId", Operator.IN, tuple(f"P{part}-{number}" for number in range(200)))
        for part in range(50)
    ]
    assert len(branches(disjunction(lists[:10]))) == 2000
    assert branches(disjunction(lists)) == ((),)
    assert len(branches(conjunction(lists))) == 200
