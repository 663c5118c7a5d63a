"""What may come next: at the place marked by `|`, also in a query that is broken before it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from grammar.completion import LISTED, complete
from grammar.fields import FIELDS
from grammar.parser import parse
from grammar.problems import QueryError
from tests.grammar.cases import NOW
from tests.grammar.test_language import TEXTS

HELD = {"DICOMSeriesModality": ("CT", "MR", "X RAY"), "DICOMSeriesBodyPart": ("CHEST", "HEAD")}

ORDERED = "= != < <= > >= in not_in between not_between is_null is_not_null"
DAYS = "today yesterday today-7d today-1mo today-1y tomorrow"
MOMENTS = f"{DAYS} now now-1h now-24h"
# In what is expected, `_` stands for a space inside a completion.
RANGES = "today-7d..today today-1mo..today today-1y..today"
CONNECTIVES = "and or sort"


CASES = [
    # a field, also in the middle of a word and by any of its names
    ("pat|", "patient birthDate name sex", (0, 3)),
    ("pat|ient = X", "patient birthDate name sex", (0, 7)),
    ("not mod|", "modality", (4, 7)),
    ("DICOMSeriesB|", "bodyPart", (0, 12)),
    ("(upd|", "updated", (1, 4)),
    ("seriesCount = 1 or seriesC|", "seriesCount", (19, 26)),
    # operators that fit
    ("patient |", "= != in not_in like not_like is_null is_not_null", (8, 8)),
    ("seriesNumber |", ORDERED, (13, 13)),
    ("primary |", "= != in not_in is_null is_not_null", (8, 8)),
    ("patient no|", "not_in not_like is_not_null", (8, 10)),
    ("patient not |", "in like between", (12, 12)),
    ("patient is |", "null not_null", (11, 11)),
    ("patient is not |", "null", (15, 15)),
    ("patient in |", "(", (11, 11)),
    # values, where they are few
    ("primary = |", "true false", (10, 10)),
    ("sex = |", "F M O", (6, 6)),
    ("sex = fem|", "F", (6, 9)),
    ("tier = arch|", "archive", (7, 11)),
    ("modality = |", 'CT MR "X_RAY"', (11, 11)),
    ("modality = c|T and sex = F", "CT", (11, 13)),
    ('modality = "C|T" and sex = F', "CT", (11, 15)),
    ('modality = "x r|', '"X_RAY"', (11, 15)),
    ("modality in (CT, |)", 'CT MR "X_RAY"', (17, 17)),
    ("modality in (CT, m|", "MR", (17, 18)),
    ("modality in (CT |", ")", (16, 16)),
    ("bodyPart = h|", "HEAD", (11, 12)),
    ("patient = |", "", (10, 10)),
    # dates
    ("updated > |", MOMENTS, (10, 10)),
    ("updated = |", DAYS, (10, 10)),
    ("dob < |", DAYS, (6, 6)),
    ("updated between |", f"{RANGES} {MOMENTS}", (16, 16)),
    ("updated between today-7d..|", MOMENTS, (26, 26)),
    ("updated between today-7d |", ".. and", (25, 25)),
    ("updated > tod|", "today today-7d today-1mo today-1y", (10, 13)),
    # what joins conditions, and what sorts them
    ("sex = F |", CONNECTIVES, (8, 8)),
    ("sex = F a|", "and", (8, 9)),
    ("(sex = F |", "and or )", (9, 9)),
    ("* |", "sort", (2, 2)),
    ("sort upd|", "updated", (5, 8)),
    ("sort updated |", "asc desc", (13, 13)),
    ("sort updated d|", "desc", (13, 14)),
    # in a query that is broken before
    ("pateint = X and sex = |", "F M O", (22, 22)),
    ("chest CT and modality = |", 'CT MR "X_RAY"', (24, 24)),
    ("patient == X && mod|", "modality", (16, 19)),
    ("updated between and sex |", "= != in not_in is_null is_not_null", (24, 24)),
    # at the beginning of a word, right behind an operator, with underscores, before the end of a range
    ("modality = |CT", 'CT MR "X_RAY"', (11, 13)),
    ("sort updated |asc", "asc desc", (13, 16)),
    ("modality=|", 'CT MR "X_RAY"', (9, 9)),
    ("body_p|", "bodyPart", (0, 6)),
    ("updated between tod|..today", "today today-7d today-1mo today-1y", (16, 19)),
    ("modality like |", "", (14, 14)),
    ("modality : |", 'CT MR "X_RAY"', (11, 11)),
]


@pytest.mark.parametrize(("marked", "expected", "place"), CASES, ids=lambda value: str(value)[:40])
def test_completions(marked: str, expected: str, place: tuple[int, int]) -> None:
    position = marked.index("|")
    found = complete(marked.replace("|", "", 1), position, lambda field: HELD[field])
    assert [one.insert for one in found] == [word.replace("_", " ") for word in expected.split()]
    assert {(one.start, one.end) for one in found} <= {place}


def test_every_field_is_offered_first() -> None:
    offered = complete("", 0)
    assert [one.label for one in offered] == [(*field.aliases, field.name)[0] for field in FIELDS] + [
        "not",
        "(",
        "sort",
    ]
    assert [one.description for one in offered][: len(FIELDS)] == [field.description for field in FIELDS]


def test_a_text_that_is_too_long_has_no_completions() -> None:
    assert complete("sex = F and " * 1_000, 5) == []


def test_without_a_data_store_no_values_are_known() -> None:
    assert complete("modality = ", 11) == []
    assert set(HELD) == set(LISTED)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_completions_stand_inside_any_text(text: str) -> None:
    for position in (0, len(text) // 2, len(text), len(text) + 5):
        for one in complete(text, position, lambda field: HELD[field]):
            assert 0 <= one.start <= one.end <= len(text)


@pytest.mark.parametrize("text", ["sex = ", "tier = ", "primary = ", "modality = ", "updated > ", "updated between "])
def test_what_is_offered_as_a_value_is_accepted(text: str) -> None:
    for one in complete(text, len(text), lambda field: HELD[field]):
        if text.endswith("between ") and ".." not in one.insert:
            continue
        try:
            parse(text + one.insert, now=NOW)
        except QueryError as error:
            pytest.fail(f"{text}{one.insert}: {error}")
