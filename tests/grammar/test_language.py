"""The language as a whole: tables of accepted and refused queries, and what must hold of any text."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import grammar
from grammar.fields import FIELDS
from grammar.parser import parse, read
from grammar.printer import canonical, meaning, shape
from grammar.problems import MAX_PROBLEMS, QueryError, draw, to_json
from grammar.values import BARE
from tests.grammar.cases import NOW, Case, read_cases

ACCEPTED = list(read_cases("accepted.txt"))
REFUSED = list(read_cases("refused.txt"))


def problems_of(query: str, **arguments: Any) -> list[dict[str, object]]:
    """The problems of a query; none where it is accepted."""
    try:
        parse(query, **arguments)
    except QueryError as error:
        return [to_json(query, problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.query[:60])
def test_accepted_query_has_its_meaning(case: Case) -> None:
    query = parse(case.query, **case.arguments)
    assert (canonical(query.written), meaning(query.search)) == (
        case.expected["canonical"],
        json.loads(case.expected["meaning"]),
    )


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.query[:60])
def test_canonical_text_means_the_same(case: Case) -> None:
    query = parse(case.query, **case.arguments)
    # Variables stand in the canonical text by their values.
    again = parse(canonical(query.written), **(case.arguments | {"variables": None}))
    assert canonical(again.written) == canonical(query.written)
    assert meaning(again.search) == meaning(query.search)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.query[:60])
def test_refused_query_has_its_problems(case: Case) -> None:
    found = [
        {key: problem[key] for key in ("code", "start", "end", "message", "fix")}
        for problem in problems_of(case.query, **case.arguments)
    ]
    assert found == json.loads(case.expected["problems"])


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.query[:60])
def test_every_fix_leaves_one_problem_fewer(case: Case) -> None:
    with pytest.raises(QueryError) as refusal:
        parse(case.query, **case.arguments)
    problems = refusal.value.problems
    for problem in problems:
        if problem.fix is not None:
            left = problems_of(problem.fix.apply(case.query), **case.arguments)
            assert len(left) == len(problems) - 1, problem


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.query[:60])
def test_messages_name_no_terminals(case: Case) -> None:
    for problem in problems_of(case.query, **case.arguments):
        shown = f"{problem['message']} {problem['expected']} {problem['suggestions']}"
        for terminal in ("COMPARATOR", "DOTDOT", "LPAR", "RPAR", "UNTERMINATED", "STRAY", "BROKEN", "__ANON", "$END"):
            assert terminal not in shown


def test_the_tables_hold_every_field_and_enough_cases() -> None:
    assert len(ACCEPTED) >= 150
    assert len(REFUSED) >= 150
    meanings = " ".join(case.expected["meaning"] for case in ACCEPTED)
    assert [field.name for field in FIELDS if f'"{field.name}"' not in meanings] == []


LIMITS = [
    ("patient = " + "x" * 7990, []),
    ("patient = " + "x" * 7991, [("too_long", 8000, 8001)]),
    ("(" * 16 + "version = 1" + ")" * 16, []),
    ("(" * 17 + "version = 1" + ")" * 17, [("too_deep", 16, 17)]),
    (" and ".join(["version = 1"] * 50), []),
    (" or ".join(["version = 1"] * 52), [("too_many_comparisons", 750, 757)]),
    (f"version in ({','.join(['1'] * 200)})", []),
    (f"version in ({','.join(['1'] * 201)})", [("too_many_values", 412, 413)]),
]


@pytest.mark.parametrize(("query", "problems"), LIMITS, ids=lambda value: str(value)[:30])
def test_limits_have_their_own_errors(query: str, problems: list[tuple[str, int, int]]) -> None:
    assert [(found["code"], found["start"], found["end"]) for found in problems_of(query)] == problems


def test_a_problem_is_drawn_with_carets() -> None:
    with pytest.raises(QueryError) as refusal:
        parse("sex = F\nand pateint = SUBJECT08701")
    assert draw(refusal.value.query, refusal.value.problems[0]) == (
        "unknown field 'pateint': did you mean 'patient'?\n  and pateint = SUBJECT08701\n      ^^^^^^^"
    )


def test_a_problem_travels_with_both_kinds_of_positions() -> None:
    query = "name = '🩻🩻' and\n pateint = A"
    assert problems_of(query) == [
        {
            "code": "unknown_field",
            "message": "unknown field 'pateint': did you mean 'patient'?",
            "start": 17,
            "end": 24,
            "utf16Start": 19,
            "utf16End": 26,
            "line": 2,
            "column": 2,
            "expected": ["a field"],
            "suggestions": ["patient"],
            "fix": {"start": 17, "end": 24, "text": "patient"},
        }
    ]


WORDS = {field.name for field in FIELDS} | set("and or not in like between is null sort asc desc".split())


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.query[:60])
def test_a_shape_holds_no_value(case: Case) -> None:
    query = parse(case.query, **case.arguments)
    for search in (query.written, query.search):
        told = shape(search)
        assert set(re.findall(r"[^\s(),?*=!<>.]+", told)) <= WORDS
        assert told.count("?") >= canonical(search).count(" = ")


def test_a_shape_says_what_is_compared() -> None:
    query = (
        "patient = X and updated between 2024-03-11..2024-03-12 and (name like o* or bodyPart not in (A, B)) sort name"
    )
    assert shape(parse(query, now=NOW).written) == (
        "DICOMPatientId = ? and updatedAt between ?..? and"
        " (DICOMPatientName like ? or DICOMSeriesBodyPart not in (?, ?)) sort DICOMPatientName asc"
    )


def test_an_exception_says_no_value() -> None:
    with pytest.raises(QueryError) as refusal:
        parse("patient = SECRET SECRET and pateint = SECRET")
    assert str(refusal.value) == "missing_connective, unknown_field"


def test_relative_dates_are_not_cached() -> None:
    first, second = datetime(2024, 3, 11, 12, tzinfo=UTC), datetime(2024, 3, 12, 12, tzinfo=UTC)
    starts = [meaning(parse("updated >= today", now=now).search)["where"] for now in (first, second)]
    assert starts == [{"field": "updatedAt", "op": "range", "from": f"2024-03-{day}T00:00:00Z"} for day in (11, 12)]


def test_mixed_connectives_are_noticed_where_the_second_kind_stands() -> None:
    notices = read("sex = F or sex = M and modality = CT").notices
    assert [(notice.code, notice.start, notice.end) for notice in notices] == [("mixed_and_or", 19, 22)]
    assert read("sex = F or (sex = M and modality = CT)").notices == ()


def test_a_name_as_lists_show_it_is_noticed_and_mended() -> None:
    query = 'sex = F and name = "García, Ada" sort name'
    [notice] = read(query).notices
    assert (notice.code, query[notice.start : notice.end]) == ("name_with_comma", '"García, Ada"')
    assert notice.fix is not None
    assert notice.fix.apply(query) == 'sex = F and name = "García^Ada" sort name'
    assert read(notice.fix.apply(query)).notices == ()
    unlike = (
        'name = "García^Ada, B"',
        'name = "García,"',
        'name = ", Ada"',
        'name = "Doe, Ann, B"',
        'description = "a, b"',
    )
    assert [notice for query in (*unlike, 'name = "de la Cruz"') for notice in read(query).notices] == []
    assert [each.code for each in read('name in ("A, B", "C, D") or sex = F and sex = M').notices] == [
        "mixed_and_or", "name_with_comma", "name_with_comma",
    ]  # fmt: skip
    assert read("name = $it", {"it": "García, Ada"}).notices == ()
    # Read in one pass: 8,000 characters in which a regular expression could lose itself.
    assert read(f'name = "a{" " * 3_900},b{" " * 3_900}^"').notices == ()


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="Mars/Olympus"):
        parse("updated = 2024", time_zone="Mars/Olympus")


PIECES = st.one_of(
    st.sampled_from(
        "patient name updated modality version sex tier study pateint and or not in like between is null sort by asc "
        "desc = != < <= > >= == <> => ! && || ( ) , .. . : ; [ ] $x $ * ? ' \" \\ “ ” ’ 2024 2024-03-11 today-7d now "
        "11/03/2024 1.2.3 CT 5 -5 true order + \u200b \ufeff \xa0 \n \ud800 \x00 🩻 か\u3099".split(" ")
    ),
    st.text(max_size=5),
)
TEXTS = st.lists(PIECES, max_size=25).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda space: space.join(pieces))
)


@settings(max_examples=600, deadline=None)
@given(TEXTS)
@example("in")
@example("not")
@example("patient in (")
@example("sort sort")
@example("(sex = F) ! sex = M")
@example("(sex=F and sex=M)!")
@example("patient='")
def test_any_text_parses_or_is_refused_inside_itself(text: str) -> None:
    begun = time.process_time()
    try:
        query = parse(text, variables={"x": "A"}, now=NOW)
    except QueryError as error:
        assert 1 <= len(error.problems) <= MAX_PROBLEMS
        for problem in error.problems:
            assert 0 <= problem.start <= problem.end <= len(text)
            found = to_json(text, problem)
            utf16 = text.encode("utf-16-le", "surrogatepass")
            for name, place in (("utf16Start", problem.start), ("utf16End", problem.end)):
                offset = found[name]
                assert isinstance(offset, int)
                assert utf16[: 2 * offset] == text[:place].encode("utf-16-le", "surrogatepass")
            draw(text, problem)
    else:
        again = parse(canonical(query.written), now=NOW)
        assert canonical(again.written) == canonical(query.written)
        assert meaning(again.search) == meaning(query.search)
    assert time.process_time() - begun < 2


def test_a_bare_value_is_what_the_grammar_has_for_a_word() -> None:
    syntax = (Path(grammar.__file__).parent / "imagesets.lark").read_text(encoding="utf-8")
    assert f"\nWORD: /{BARE.pattern}/\n" in syntax
