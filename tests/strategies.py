"""What property tests are made of: image sets as untidy as real ones, and dated conditions and sorts over every field.

The values come from small pools, so that equal ones, and ones that differ by case or an accent alone, are common.
"""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from grammar.criteria import (
    Comparison,
    Condition,
    Everything,
    Interval,
    Operator,
    Range,
    SortKey,
    conjunction,
    disjunction,
    negation,
)
from grammar.fields import BY_NAME, FIELDS, TEMPORAL, Field, FieldType
from grammar.values import code
from graphql_service.image_set import ImageSet

DATASTORE_ID = "d" * 32

_START = datetime(2024, 3, 10, 23, 59, 59, 999_999, tzinfo=UTC)
_INSTANTS = (*(_START + timedelta(microseconds=step) for step in range(4)), datetime(1969, 12, 31, 12, tzinfo=UTC))
_MOMENTS = (
    datetime(2024, 2, 29),
    datetime(2024, 2, 29, 8, 30),
    datetime(2024, 2, 29, 8, 30, 0, 500_000),
    datetime(1920, 11, 20),
    datetime(1, 1, 1),
)
_DATES = ("20240229", "20230229", "2024-02-29", "19201120", "00010101", "", 20240229, None, ["20240229"])
_TIMES: tuple[object, ...] = ("08", "0830", "083000.5", "083000.500000", "24", "8", "08:30", 830, None, {})
_IDS = ("A1", "a1", "A12", "x*y", "b?[c]", "\\", "é", "ÿz", "\ud7ff", "\U0010ffff", "", "\0", 12, None, ["A1"])
_UIDS = ("1.2.3", "1.2.34", "1.2", "2.25.1", "", None)
_NAMES = (
    "García^Ana",
    "GARCIA^ANA MARIA^^Dr",
    "garcia",
    "O'Brien^Łukasz",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "山か",
    "山が",
    "^Ana",
    "^^",
    "=",
    "\u0301",
    "a*^b?",
    "＊＾＝",
    "straße",
    "İstanbul^\U00020bb7野家\U0010ffff",
    "",
    7,
    None,
)
_TEXTS = (
    "CT Chest",
    "ct chest with",
    "Contrôle",
    "contro\u0302le 2",
    "100%_[x]*",
    "ﬁnding",
    "\u0301",
    "a\nb",
    "Großer İst ĳ",
    "山田か検査山",
    "山田が検査",
    "\U00020bb7\u0301\U0001d538\U00020bb7野\U0010ffff",
    "chchch",
    "",
    5,
    None,
)
_CODES = ("CT", "ct", "MR", "été", "ß", "", None, 4)
_INTEGERS = (0, 1, 2, -3, 2**63 - 1, -(2**63), 2**63, True, "1", 1.0, None)
VALUES: dict[FieldType, tuple[object, ...]] = {
    FieldType.ID: _IDS,
    FieldType.UID: _UIDS,
    FieldType.PERSON_NAME: _NAMES,
    FieldType.TEXT: _TEXTS,
    FieldType.CODE: _CODES,
    FieldType.SEX: ("F", "f", "M", "", None),
    FieldType.DATE: _DATES,
    FieldType.INTEGER: _INTEGERS,
}
_TAGS = {
    field.name: st.sampled_from(VALUES[field.type])
    for field in FIELDS
    if field.name.startswith("DICOM") and field.type in VALUES
} | {
    "DICOMStudyDate": st.sampled_from(_DATES),
    "DICOMStudyTime": st.sampled_from(_TIMES),
    "PrivateTag": st.just({"nested": [1, 1.5, "é", None]}),
}

image_set_ids = st.integers(0, 40).map(lambda number: f"{number * 7919 % 41:032d}")

image_sets = st.builds(
    ImageSet,
    st.just(DATASTORE_ID),
    image_set_ids,
    version=st.sampled_from((1, 2, 10, None)),
    created_at=st.sampled_from((*_INSTANTS, None)),
    updated_at=st.sampled_from((*_INSTANTS[:2], None)),
    last_accessed_at=st.sampled_from((*_INSTANTS, None)),
    storage_tier=st.sampled_from(("FREQUENT_ACCESS", "ARCHIVE_INSTANT_ACCESS", None)),
    is_primary=st.sampled_from((True, False, None)),
    tags=st.fixed_dictionaries({}, optional=_TAGS),
)

#: Many image sets, each id once.
collections = st.lists(image_sets, max_size=25, unique_by=lambda image_set: image_set.image_set_id)


def _texts(field: Field) -> st.SearchStrategy[str]:
    """Values as a dated search has them: codes and sex in upper case already."""
    pool = [value for value in VALUES[field.type] if isinstance(value, str) and value]
    if field.name == "imageSetId":
        return image_set_ids
    if field.type in (FieldType.CODE, FieldType.SEX):
        pool = [code(value) for value in pool]
    extra = st.text("AaéÉ1.^=*?[]か\u0301\0", min_size=1, max_size=4)
    return st.sampled_from(pool) | (extra.map(code) if field.type in (FieldType.CODE, FieldType.SEX) else extra)


def _patterns(field: Field) -> st.SearchStrategy[str]:
    pieces = st.one_of(
        st.sampled_from(("*", "?", r"\*", r"\?", r"\\", "^", "0", "00")), _texts(field).map(lambda text: text[:2])
    )
    joined = st.lists(pieces, min_size=1, max_size=5).map("".join)
    # Of one value what stands somewhere in it, with wildcards for the rest: long enough to be found by that.
    wild = st.sampled_from(("*", "?", "*?", ""))
    inner = st.tuples(_texts(field), st.integers(0, 5), st.integers(1, 8), wild, wild).map(
        lambda cut: cut[3] + cut[0][cut[1] : cut[1] + cut[2]] + cut[4]
    )
    return joined | inner


def _periods(field: Field) -> st.SearchStrategy[Range]:
    pool = _INSTANTS if field.type is FieldType.INSTANT else _MOMENTS
    ends = st.sampled_from((*pool, None))
    return st.builds(Range, ends, ends)


def comparisons_of(field: Field) -> st.SearchStrategy[Comparison]:
    """Every comparison that a dated search may hold on the field."""
    exists = st.just(Comparison(field.name, Operator.EXISTS, None))
    if field.type in TEMPORAL:
        return exists | st.builds(Comparison, st.just(field.name), st.just(Operator.RANGE), _periods(field))
    if field.type is FieldType.INTEGER:
        whole = st.sampled_from((0, 1, 2, 10, -3, 2**63 - 1, 2**63, -(2**63), -(2**70)))
        orders = (Operator.EQ, Operator.LT, Operator.LE, Operator.GT, Operator.GE)
        return st.one_of(
            exists,
            st.builds(Comparison, st.just(field.name), st.sampled_from(orders), whole),
            st.builds(Comparison, st.just(field.name), st.just(Operator.BETWEEN), st.builds(Interval, whole, whole)),
            _lists(field, whole),
        )
    if field.type is FieldType.BOOLEAN:
        return st.one_of(exists, _equal(field, st.booleans()), _lists(field, st.booleans()))
    if field.type is FieldType.TIER:
        tiers = st.sampled_from(("FREQUENT_ACCESS", "ARCHIVE_INSTANT_ACCESS"))
        return st.one_of(exists, _equal(field, tiers), _lists(field, tiers))
    texts = st.one_of(exists, _equal(field, _texts(field)), _lists(field, _texts(field)))
    if field.type is FieldType.SEX:
        return texts
    return texts | st.builds(Comparison, st.just(field.name), st.just(Operator.LIKE), _patterns(field))


def _equal(field: Field, values: st.SearchStrategy[str] | st.SearchStrategy[bool]) -> st.SearchStrategy[Comparison]:
    return st.builds(Comparison, st.just(field.name), st.just(Operator.EQ), values)


def _lists(
    field: Field, values: st.SearchStrategy[str] | st.SearchStrategy[int] | st.SearchStrategy[bool]
) -> st.SearchStrategy[Comparison]:
    lists = st.lists(values, min_size=1, max_size=4).map(tuple)
    return st.builds(Comparison, st.just(field.name), st.just(Operator.IN), lists)


comparisons = st.sampled_from(FIELDS).flatmap(comparisons_of)

conditions: st.SearchStrategy[Condition] = st.recursive(
    comparisons | st.just(Everything()),
    lambda children: st.one_of(
        st.lists(children, min_size=1, max_size=3).map(conjunction),
        st.lists(children, min_size=1, max_size=3).map(disjunction),
        children.map(negation),
    ),
    max_leaves=6,
)

#: Names that sort together with updatedAt come often: the order there depends on the most.
sorts = st.lists(
    st.builds(
        SortKey,
        st.sampled_from([field.name for field in FIELDS]) | st.sampled_from(("updatedAt", "DICOMPatientName")),
        st.booleans(),
    ),
    max_size=3,
    unique_by=lambda key: BY_NAME[key.field],
).map(tuple)
