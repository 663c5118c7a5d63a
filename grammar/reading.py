"""One comparison: a field, an operator and literals in, a condition out.

Text, `$variables` and the programs' filters all come through `compare`, so that a value is read in one way. The field
decides the type. What is not understood is refused with `Refused`, at the place of the literal or the operator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Final, NamedTuple, TypeVar

from grammar.criteria import (
    NOWHERE,
    Comparison,
    Condition,
    Interval,
    Operator,
    Scalar,
    Span,
    When,
    disjunction,
    negation,
)
from grammar.fields import SEXES, TIERS, Field, FieldType
from grammar.periods import is_point, read_when
from grammar.problems import Fix, Problem, QueryError, Refused, did_you_mean, near_names
from grammar.values import code, has_wildcard, normalise

MAX_VALUES: Final = 200
MAX_LENGTH: Final = 8000

#: Control characters that are no white space, and halves of surrogate pairs: no value holds them, quoted or not.
FORBIDDEN: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")

_COMPARED: Final = {
    "=": Operator.EQ,
    "!=": Operator.EQ,
    "<": Operator.LT,
    "<=": Operator.LE,
    ">": Operator.GT,
    ">=": Operator.GE,
}
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_INTEGER_LIMIT: Final = 1 << 63
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPED: Final = ("'", '"', "\\", "*", "?")
_WILDCARDS: Final = re.compile(r"[*?]")


class Style(Enum):
    """How a literal stands in the query."""

    BARE = "bare"
    QUOTED = "quoted"
    VARIABLE = "variable"


class Literal(NamedTuple):
    r"""One value as it came: its text without quotes and escapes, or what its variable is bound to.

    `pattern` is the same text with wildcards as `like` takes them, where `\*`, `\?` and `\\` are literal.
    """

    value: object
    pattern: str
    style: Style
    span: Span = NOWHERE

    @property
    def text(self) -> str:
        """The value where it is a text; Refused where it is something else."""
        if isinstance(self.value, str):
            return self.value
        raise self.refusal("unknown_value", f"{self.shown} is no text: put it in quotes")

    @property
    def shown(self) -> str:
        """How messages name the value."""
        return f"'{self.value}'"

    @property
    def is_any(self) -> bool:
        """Whether it is a bare `*`, which people mean as "anything"."""
        return self.style is Style.BARE and not self.pattern.strip("*")

    def refusal(
        self,
        problem: str,
        message: str,
        *,
        at: int | None = None,
        expected: Sequence[str] = (),
        suggestions: Sequence[str] = (),
        fix: str | None = None,
    ) -> Refused:
        """The problem with this literal: at the whole of it, or at one character of its text (`at`)."""
        start, end = self.span.start, self.span.end
        whole = Fix(start, end, fix) if fix is not None and self.style is not Style.VARIABLE else None
        if at is not None and self.style is not Style.VARIABLE:
            start = min(start + at + (self.style is Style.QUOTED), end - 1)
            end = start + 1
        return Refused(Problem(problem, message, start, end, tuple(expected), tuple(suggestions), whole))


def read_bare(text: str, start: int) -> Literal:
    """The literal of a bare value."""
    normal = normalise(text)
    return Literal(normal, normal, Style.BARE, Span(start, start + len(text)))


def read_quoted(quoted: str, start: int) -> Literal:
    """The literal of a quoted value, its quotes included. Raises Refused."""
    inner = quoted[1:-1]
    span = Span(start, start + len(quoted))
    if match := FORBIDDEN.search(inner):
        place = start + 1 + match.start()
        raise Refused(Problem("invisible_character", _invisible(match[0]), place, place + 1))
    if "\\" not in inner:
        text = normalise(inner)
        return Literal(text, text, Style.QUOTED, span)
    problems = [
        _bad_escape(match[1], start + 1 + match.start())
        for match in _ESCAPE.finditer(inner)
        if match[1] not in _ESCAPED
    ]
    if problems:
        raise Refused(*problems)
    text = _ESCAPE.sub(r"\1", inner)
    pattern = _ESCAPE.sub(lambda escape: escape[1] if escape[1] in "\"'" else escape[0], inner)
    return Literal(normalise(text), normalise(pattern), Style.QUOTED, span)


def _bad_escape(character: str, place: int) -> Problem:
    message = f"'\\{character}' is no escape: write \\\\ for a backslash"
    return Problem("bad_escape", message, place, place + 1, tuple(_ESCAPED), fix=Fix(place, place + 1, "\\\\"))


def read_variable(value: object, span: Span = NOWHERE) -> Literal:
    """The literal of a variable's value: a JSON text, number or boolean, never parsed again. Raises Refused."""
    literal = Literal(value, "", Style.VARIABLE, span)
    if value is None:
        raise literal.refusal("use_is_null", "a null value compares with nothing: write 'is null'")
    if isinstance(value, list | tuple | dict):
        raise literal.refusal("unknown_value", "one value must stand here: a list goes after 'in'")
    if not isinstance(value, str):
        return literal
    if len(value) > MAX_LENGTH:
        raise literal.refusal("too_long", f"a value has at most {MAX_LENGTH} characters; this one has {len(value)}")
    if match := FORBIDDEN.search(value):
        raise literal.refusal("invisible_character", _invisible(match[0]))
    text = normalise(value)
    return Literal(text, text, Style.VARIABLE, span)


def _invisible(character: str) -> str:
    return f"the value holds the invisible character U+{ord(character):04X}: remove it"


def compare(field: Field, word: str, value: object) -> Condition:
    """The condition of a program's filter: `value` is JSON, read as a `$variable`'s would be.

    `word` is as in `read_comparison`; after `in` stands a list, after `between` a pair that may hold one None, after
    `is null` and `is not null` anything. Raises QueryError, whose problems have no place.
    """
    try:
        match word.removeprefix("not "):
            case "in":
                literals = read_list(value)
            case "between":
                low, high = value if isinstance(value, list | tuple) and len(value) == 2 else (None, None)
                literals = [None if end is None else read_variable(end) for end in (low, high)]
                if literals == [None, None]:
                    raise Refused(Problem("empty_range", "a range needs at least one end", 0, 0))
            case "is null" | "is not null":
                literals = []
            case _:
                literals = [read_variable(value)]
        return read_comparison(field, word, literals)
    except Refused as refused:
        raise QueryError("", refused.problems) from None


def read_list(value: object, span: Span = NOWHERE) -> list[Literal | None]:
    """The literals of a variable after `in`: a list of values, or one value. Raises Refused."""
    if not isinstance(value, list | tuple):
        return [read_variable(value, span)]
    if not value:
        raise Refused(Problem("empty_list", "the list is empty: it must hold at least one value", span.start, span.end))
    return list(_each(lambda item: read_variable(item, span), value))


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def _each(read: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Reads every item; Refused with the problems of all of them."""
    results: list[_Result] = []
    problems: list[Problem] = []
    for item in items:
        try:
            results.append(read(item))
        except Refused as refused:
            problems.extend(refused.problems)
    if problems:
        raise Refused(*problems)
    return results


def read_comparison(
    field: Field,
    word: str,
    literals: Sequence[Literal | None],
    operator: Span = NOWHERE,
) -> Condition:
    """The condition that a comparison means.

    `word` is one of `=`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`, `like`, `not like`, `between`, `not between`,
    `is null`, `is not null`; `between` has two literals, one of which may be None. Raises Refused.
    """
    negated = word.startswith("not ") or word in ("!=", "is null")
    plain = "is" if word.startswith("is") else word.removeprefix("not ")
    if plain not in field.operators:
        raise Refused(_wrong_operator(field, plain, operator))
    condition = _compare(field, plain, literals, operator)
    return negation(condition) if negated else condition


def _compare(field: Field, word: str, literals: Sequence[Literal | None], operator: Span) -> Condition:
    if word == "is":
        return Comparison(field.name, Operator.EXISTS, None)
    if word == "between":
        low, high = literals
        return _between(field, low, high)
    given = [literal for literal in literals if literal is not None]
    if word == "in":
        return _any_of(field, given, operator)
    if word == "like":
        return Comparison(field.name, Operator.LIKE, _read_pattern(field, given[0], operator))
    if word in ("=", "!="):
        return _equal(field, given[0], operator, word)
    value = _read_value(field, given[0])
    assert isinstance(value, int | When)
    return Comparison(field.name, _COMPARED[word], value)


def _equal(field: Field, literal: Literal, operator: Span, word: str) -> Comparison:
    if literal.is_any:
        null = "is null" if word == "!=" else "is not null"
        problem = "use_is_null" if word == "!=" else "use_is_not_null"
        fix = Fix(operator.start, literal.span.end, null) if word != "in" else None
        message = f"'*' is any value: write '{field.aliases[0] if field.aliases else field.name} {null}'"
        raise Refused(Problem(problem, message, literal.span.start, literal.span.end, (null,), (), fix))
    if literal.style is Style.BARE and "like" in field.operators and _WILDCARDS.search(literal.text):
        return Comparison(field.name, Operator.LIKE, _read_pattern(field, literal, operator))
    if literal.value == "" and word != "in":
        raise _empty(field, literal, operator, word)
    value = _read_value(field, literal)
    if isinstance(value, When) and is_point(value):
        message = f"'{value.text}' is a moment, which nothing equals: write <, <=, >, >= or between"
        raise Refused(
            Problem("wrong_operator", message, operator.start, operator.end, ("<", "<=", ">", ">=", "between"))
        )
    return Comparison(field.name, Operator.EQ, value)


def _any_of(field: Field, literals: Sequence[Literal], operator: Span) -> Condition:
    if len(literals) > MAX_VALUES:
        extra = literals[MAX_VALUES]
        raise extra.refusal("too_many_values", f"a list has at most {MAX_VALUES} values; this one has {len(literals)}")
    equals = _each(lambda literal: _equal(field, literal, operator, "in"), literals)
    if any(equal.operator is Operator.LIKE or isinstance(equal.operand, When) for equal in equals):
        return disjunction(equals)
    values = tuple(equal.operand for equal in equals if isinstance(equal.operand, str | int))
    return Comparison(field.name, Operator.IN, values)


def _between(field: Field, low: Literal | None, high: Literal | None) -> Condition:
    first, last = _each(lambda end: None if end is None else _read_value(field, end), (low, high))
    assert not isinstance(first, str)
    assert not isinstance(last, str)
    if first is None or last is None:
        end, operator = (last, Operator.LE) if first is None else (first, Operator.GE)
        return Comparison(field.name, operator, end)
    if isinstance(first, int) and isinstance(last, int) and first > last:
        assert low is not None
        assert high is not None
        fix = Fix(low.span.start, high.span.end, f"{last}..{first}") if high.span.end > low.span.start else None
        message = f"the range goes backwards: write {last}..{first}"
        raise Refused(Problem("reversed_range", message, low.span.start, low.span.end, fix=fix))
    return Comparison(field.name, Operator.BETWEEN, Interval(first, last))


def _read_pattern(field: Field, literal: Literal, operator: Span) -> str:
    text, pattern = literal.text, literal.pattern
    if not text:
        raise _empty(field, literal)
    if literal.style is Style.VARIABLE and (match := re.search(r"\\(?![*?\\])", re.sub(r"\\[*?\\]", "", pattern))):
        raise literal.refusal("bad_escape", f"'{match[0]}' is no escape in a pattern: write \\\\ for a backslash")
    if not has_wildcard(pattern):
        message = f"'like' needs a wildcard: write {text}* for what begins with it, or = for exactly it"
        fix = None
        if operator.end > operator.start:
            fix = Fix(operator.start, operator.end, "!=" if operator.end - operator.start > len("like") else "=")
        problem = Problem(
            "like_without_wildcard", message, literal.span.start, literal.span.end, ("*", "?"), (f"{text}*",), fix
        )
        raise Refused(problem)
    if field.type is FieldType.UID:
        _check_uid(literal, pattern, "*?")
    return code(pattern) if field.type is FieldType.CODE else pattern


def _read_value(field: Field, literal: Literal) -> Scalar | When:
    """The literal as a value of the field's type."""
    if literal.value == "":
        raise _empty(field, literal)
    match field.type:
        case FieldType.ID | FieldType.PERSON_NAME | FieldType.TEXT:
            return literal.text
        case FieldType.UID:
            _check_uid(literal, literal.text)
            return literal.text
        case FieldType.CODE:
            return code(literal.text)
        case FieldType.SEX:
            return _read_sex(literal)
        case FieldType.TIER:
            return _read_tier(literal)
        case FieldType.BOOLEAN:
            return _read_boolean(literal)
        case FieldType.INTEGER:
            return _read_integer(literal)
        case _:
            if not isinstance(literal.value, str):
                raise literal.refusal("bad_date", f"{literal.shown} is no date: write one such as 2024-03-11")
            return _read_date(field, literal)


def _read_date(field: Field, literal: Literal) -> When:
    try:
        return read_when(field, literal.text, literal.span, spaced=literal.style is not Style.BARE)
    except Refused as refused:
        # A fix edits the query, and a variable's value does not stand there.
        fixed = literal.style is not Style.VARIABLE
        raise Refused(*(problem if fixed else replace(problem, fix=None) for problem in refused.problems)) from None


def _empty(field: Field, literal: Literal, operator: Span = NOWHERE, word: str = "") -> Refused:
    name = field.aliases[0] if field.aliases else field.name
    null = "is not null" if word == "!=" else "is null"
    span = literal.span
    fix = Fix(operator.start, span.end, null) if operator.end and literal.style is Style.QUOTED else None
    message = f"the value is empty: write '{name} {null}'"
    return Refused(Problem("empty_value", message, span.start, span.end, (null,), (), fix))


def _check_uid(literal: Literal, text: str, wildcards: str = "") -> None:
    """UIDs hold digits and single dots between them, at least one; a wildcard may stand for any of these."""
    name = "a UID holds digits and single dots between them"
    for index, character in enumerate(text):
        if character in wildcards or (character.isascii() and character.isdigit()):
            continue
        # Of two dots in a row the second is the wrong one.
        if character == "." and 0 < index < len(text) - 1 and text[index - 1] != ".":
            continue
        found = "a '.' stands at an end or beside another one" if character == "." else f"found '{character}'"
        trimmed = text.strip(". \t\n")
        mends = re.fullmatch(r"[0-9]+(\.[0-9]+)+", trimmed)
        raise literal.refusal("bad_uid", f"{name}: {found}", at=index, fix=trimmed if mends else None)
    if "." not in text and not (wildcards and _WILDCARDS.search(text)):
        raise literal.refusal("bad_uid", f"{name}: {literal.shown} has no dot")


def _read_sex(literal: Literal) -> str:
    value = code(literal.text)
    # Data that is not as DICOM wants it can be found all the same: quotes say that the value is meant.
    if value not in SEXES and literal.style is Style.BARE:
        suggestions = tuple(sex for sex in SEXES if sex == value[:1] and value.isalpha())
        raise literal.refusal(
            "unknown_value",
            f"{literal.shown} is no sex: write F, M or O (in quotes, any text)",
            expected=SEXES,
            suggestions=suggestions,
            fix=suggestions[0] if suggestions else None,
        )
    return value


def _read_tier(literal: Literal) -> str:
    word = literal.text.lower()
    for short, name in TIERS.items():
        if word in (short, name.lower()):
            return name
    suggestions = near_names(word, (*TIERS, *TIERS.values()))
    raise literal.refusal(
        "unknown_value",
        f"{literal.shown} is no storage tier: write frequent or archive",
        expected=tuple(TIERS),
        suggestions=suggestions,
        fix=suggestions[0] if len(suggestions) == 1 else None,
    )


def _read_boolean(literal: Literal) -> bool:
    if isinstance(literal.value, bool):
        return literal.value
    word = str(literal.value).lower()
    if word in ("true", "false"):
        return word == "true"
    meant = {"yes": "true", "y": "true", "1": "true", "no": "false", "n": "false", "0": "false"}.get(word)
    suggestions = (meant,) if meant else near_names(word, ("true", "false"))
    raise literal.refusal(
        "bad_boolean",
        f"{literal.shown} is neither true nor false{did_you_mean(suggestions)}",
        expected=("true", "false"),
        suggestions=suggestions,
        fix=suggestions[0] if suggestions else None,
    )


def _read_integer(literal: Literal) -> int:
    value = literal.value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        raise literal.refusal("bad_number", f"{literal.shown} is no whole number of at most 64 bits")
    return value


def _wrong_operator(field: Field, word: str, operator: Span) -> Problem:
    name = field.aliases[0] if field.aliases else field.name
    *most, last = field.operators
    needs = {
        "like": "text",
        "between": "a date or a number",
        **dict.fromkeys(("<", "<=", ">", ">="), "a date or a number"),
    }
    kind = "text" if "like" in field.operators else f"a {field.type.value}".replace("a i", "an i")
    message = f"'{name}' is {kind}; '{word}' needs {needs[word]}. Use {', '.join(most)} or {last}."
    # Of `not like`, the operator that does not fit is `like`.
    start = max(operator.start, operator.end - len(word))
    return Problem("wrong_operator", message, start, operator.end, field.operators)
