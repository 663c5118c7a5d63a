"""Problems and notices: what was found in a query, where, and what to write instead.

Positions count code points from 0, columns from 1; `utf16_*` are for browsers, whose strings count UTF-16 units.
A position is data: one function draws it for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_LINE_BREAKS: Final = "\n"

#: A query says this many at most: one that is so far off is better mended from its beginning.
MAX_PROBLEMS: Final = 20

#: Every code that a problem or a notice can have, and when. Codes are stable: clients decide by them.
CODES: Final[dict[str, str]] = {
    "unknown_field": "a word before an operator is no field",
    "bare_value": "a word or value stands alone, without field and operator",
    "missing_operator": "a field is not followed by an operator",
    "use_equals": "`:` or `==` where `=` is meant",
    "bad_operator": "an operator of another language: `<>`, `=>`, `=<`",
    "wrong_operator": "an operator that the field's type has not",
    "missing_value": "nothing where a value must stand",
    "unexpected_end": "the query ends after and, or, not, or inside a list",
    "unexpected_keyword": "a keyword where a condition must start",
    "keyword_as_value": "a keyword where a value must stand",
    "missing_connective": "a second word right after a complete comparison",
    "use_word_operator": "`&&`, `||`, `&` or `|` for and, or",
    "use_not": "`!` or `-` for not",
    "unterminated_quote": "a quote that is not closed",
    "bad_escape": "a backslash before a character that needs none",
    "curly_quote": "a curly quote for a straight one",
    "unclosed_paren": "a parenthesis that is not closed",
    "unmatched_paren": "a closing parenthesis too many",
    "invisible_character": "a character that nobody sees, as pasted text brings it",
    "unexpected_character": "a character that means nothing where it stands",
    "bad_uid": "a UID with anything but digits and single dots between them",
    "expected_range": "`between` without two ends",
    "range_needs_between": "`..` after another operator than `between`",
    "reversed_range": "a range that goes backwards",
    "empty_range": "a range without ends",
    "bad_date": "no such date, or a date in another form",
    "ambiguous_date": "a date that can be read as day-month or month-day",
    "ambiguous_unit": "`m`, which could be minutes or months",
    "zone_not_allowed": "a zone on a field that has none",
    "time_not_allowed": "a time on a field that is a date",
    "bad_number": "no whole number of at most 64 bits",
    "bad_boolean": "neither true nor false",
    "unknown_value": "a value that the field never has",
    "empty_value": "an empty value",
    "use_is_null": "`= null`, for is null",
    "use_is_not_null": "`= *` or `!= null`, for is not null",
    "expected_null": "`is` without null",
    "like_without_wildcard": "`like` with a value that has no wildcard",
    "expected_list": "`in` without a list, or a comma missing in it",
    "empty_list": "a list without values",
    "missing_sort_key": "`sort` or a comma without a field behind it",
    "unknown_sort_key": "a word to sort by that is no field",
    "bad_sort_direction": "a word behind a sort field that is neither asc nor desc",
    "duplicate_sort_key": "a field that is sorted by already",
    "sort_must_be_last": "a condition behind sort",
    "use_sort": "`order by`, for sort",
    "unbound_parameter": "a `$name` without a value",
    "too_deep": "more than 16 levels of parentheses",
    "too_long": "more than 8,000 characters",
    "too_many_comparisons": "more than 50 comparisons",
    "too_many_values": "more than 200 values in a list",
    "mixed_and_or": "a notice: and and or meet without parentheses",
    "name_with_comma": "a notice: a name as in `García, Ada`, stored as `García^Ada`",
}


@dataclass(frozen=True, slots=True)
class Fix:
    """One edit that mends the query: put `text` in place of `[start, end)`."""

    start: int
    end: int
    text: str

    def apply(self, query: str) -> str:
        """The query with the edit made."""
        return query[: self.start] + self.text + query[self.end :]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing in a query that cannot be accepted (or, as a notice, that deserves a second look)."""

    code: str
    message: str
    start: int
    end: int
    expected: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    fix: Fix | None = None


class QueryError(Exception):
    """A query that is refused, with every problem that was found in it, in the order of the text.

    The text of the exception is the codes alone: a message may hold a patient's value, and exceptions reach logs.
    """

    def __init__(self, query: str, problems: Sequence[Problem]) -> None:
        super().__init__(", ".join(problem.code for problem in problems))
        self.query = query
        self.problems = tuple(problems)


def place(query: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a code point offset."""
    before = query[:offset]
    return before.count(_LINE_BREAKS) + 1, offset - before.rfind(_LINE_BREAKS)


def utf16_offset(query: str, offset: int) -> int:
    """The offset in UTF-16 units of a code point offset."""
    return offset + sum(character > "\uffff" for character in query[:offset])


def to_json(query: str, problem: Problem) -> dict[str, object]:
    """The form in which problems and notices travel."""
    line, column = place(query, problem.start)
    fix = problem.fix
    return {
        "code": problem.code,
        "message": problem.message,
        "start": problem.start,
        "end": problem.end,
        "utf16Start": utf16_offset(query, problem.start),
        "utf16End": utf16_offset(query, problem.end),
        "line": line,
        "column": column,
        "expected": list(problem.expected),
        "suggestions": list(problem.suggestions),
        "fix": None if fix is None else {"start": fix.start, "end": fix.end, "text": fix.text},
    }


class Refused(Exception):
    """Problems of one comparison, raised where they are found and collected by the parser into a `QueryError`."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(", ".join(problem.code for problem in problems))
        self.problems = problems


def draw(query: str, problem: Problem) -> str:
    """The message, the line of the query it speaks of, and carets below the place.

    Tabs become single spaces; wide characters count as one column, as everywhere in positions.
    """
    line, column = place(query, problem.start)
    text = query.split(_LINE_BREAKS)[line - 1].expandtabs(1)
    width = max(1, min(problem.end - problem.start, len(text) - column + 1))
    return f"{problem.message}\n  {text}\n  {' ' * (column - 1)}{'^' * width}"


def edit_distance(one: str, other: str) -> int:
    """How many letters to insert, drop, replace or swap with their neighbour to get from one word to the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, target in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != target))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == target:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def near_names(word: str, names: Iterable[str]) -> tuple[str, ...]:
    """At most three of the names that the word may have been meant for, nearest first; case does not count."""
    word = word.lower()
    limit = 1 + len(word) // 6
    distances = ((edit_distance(word, name.lower()), name) for name in names if abs(len(name) - len(word)) <= limit)
    near = sorted((distance, name) for distance, name in distances if distance <= limit and distance < len(word))
    return tuple(name for _, name in near[:3])


def did_you_mean(suggestions: Sequence[str]) -> str:
    """The end of a message that has suggestions: `: did you mean 'patient'?`; nothing without any."""
    if not suggestions:
        return ""
    quoted = [f"'{suggestion}'" for suggestion in suggestions]
    return f": did you mean {' or '.join([', '.join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)}?"
