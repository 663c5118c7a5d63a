"""What a person meant where the grammar goes no further: a problem, and how to read on.

`straighten` mends what comes with pasted text, character by character. `diagnose` looks at one token that the parser
does not accept and at the tokens around it. Neither parses: the grammar alone says what is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from grammar.fields import SPELLINGS, Field, FieldType, find_field
from grammar.problems import MAX_PROBLEMS, Fix, Problem, Refused, did_you_mean, near_names
from grammar.reading import read_bare, read_comparison, read_quoted
from grammar.values import CURLY_QUOTES, INVISIBLE, KEYWORDS

CONNECTIVES: Final = frozenset({"AND", "OR"})
WORDS: Final = frozenset({"WORD", "STAR", "BY", "ASC", "DESC"})
VALUES: Final = WORDS | {"STRING", "VARIABLE"}
OPERATORS: Final = frozenset({"COMPARATOR", "WRONG_OPERATOR", "NOT", "IN", "LIKE", "BETWEEN", "IS"})

_DOUBLE: Final = "\u201c\u201d\u201e\u201f"
_SINGLE: Final = "\u2018\u2019\u201a\u201b"
_PASTED: Final = re.compile(
    r"""(?P<quoted>(?<![^\s()\[\]{},"=<>!\\;|&])'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
    rf"|(?P<curly>[{CURLY_QUOTES}])|(?P<invisible>[{INVISIBLE}])",
    re.DOTALL,
)
_WORD_CHARACTER: Final = re.compile(r"""[^\s()\[\]{},"=<>!\\;|&]""")
_DOUBLE_END: Final = re.compile(rf'[{_DOUBLE}"]')
_SINGLE_END: Final = re.compile(rf"""[{_SINGLE}'](?![^\s()\[\]{{}},"=<>!\\;|&])""")
_SPACED_OFFSET: Final = re.compile(r"(?:today|yesterday|tomorrow|now)\s*[+-]\s*\d+\s*[a-z]+", re.IGNORECASE)
_MEANT_OPERATORS: Final = {"<>": "!=", "=>": ">=", "=<": "<=", "=!": "!=", "!==": "!=", "><": "!="}
_MEANT_DIRECTIONS: Final = {"ascending": "asc", "up": "asc", "descending": "desc", "down": "desc"}
_COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=", "in", "like", "between", "is")


class Token(NamedTuple):
    """A token of the query with its place."""

    type: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Repair:
    """The problems at a token and how to go on: drop the comparison begun or not, feed tokens, read from `resume`."""

    problems: tuple[Problem, ...]
    resume: int
    instead: tuple[Token, ...] = ()
    abandon: bool = False


@dataclass(frozen=True, slots=True)
class Surprise:
    """A token that the parser does not accept: where it stands, what would be accepted, and what is open.

    `begun` is the index of the first token of the comparison at hand; `parens` are the open parentheses' indices.
    """

    text: str
    tokens: Sequence[Token]
    index: int
    accepted: Collection[str]
    begun: int
    parens: Sequence[int]

    @property
    def token(self) -> Token:
        """The token itself."""
        return self.tokens[self.index]

    @property
    def before(self) -> Token:
        """The token before it; an empty one at the beginning."""
        return self.tokens[self.index - 1] if self.index else Token("", "", 0, 0)

    @property
    def after(self) -> Token:
        """The token after it; the end stays the end."""
        return self.tokens[min(self.index + 1, len(self.tokens) - 1)]

    @property
    def at_end(self) -> bool:
        """Whether the query ends here."""
        return self.token.type == "$END"

    @property
    def is_complete(self) -> bool:
        """Whether a condition is complete right before the token."""
        return {"AND", "OR"} <= set(self.accepted)

    @property
    def name(self) -> Token:
        """The first token of the comparison at hand."""
        return self.tokens[self.begun]

    def problem(
        self,
        code: str,
        message: str,
        *,
        at: Token | None = None,
        expected: Sequence[str] = (),
        suggestions: Sequence[str] = (),
        fix: Fix | None = None,
    ) -> Problem:
        """A problem at the token, or at another one."""
        token = at or self.token
        return Problem(code, message, token.start, token.end, tuple(expected), tuple(suggestions), fix)

    def edit(self, start: int, end: int, words: str) -> Fix:
        """The edit that puts words in a place, with spaces where it touches other words."""
        before = " " if self.text[max(start - 1, 0) : start].strip(" (") else ""
        after = " " if self.text[end : end + 1].strip(" ),") else ""
        return Fix(start, end, f"{before}{words}{after}")

    def boundary(self, index: int) -> int:
        """The first token from `index` on at which a condition surely ends, past balanced parentheses."""
        depth = 0
        while True:
            kind = self.tokens[index].type
            if kind == "$END" or (depth == 0 and kind in ("AND", "OR", "SORT", "RPAR")):
                return index
            depth += (kind == "LPAR") - (kind == "RPAR")
            index += 1

    def ends_at(self, index: int) -> bool:
        """Whether a comparison could end before this token."""
        return self.tokens[index].type in ("$END", "AND", "OR", "SORT", "RPAR")

    def abandon(self, *problems: Problem, resume: int | None = None) -> Repair:
        """Give up the comparison at hand and go on where the next one may begin."""
        return Repair(problems, self.boundary(self.index if resume is None else resume), abandon=True)

    def skip(self, *problems: Problem, count: int = 1) -> Repair:
        """Go on as if the token were not there."""
        return Repair(problems, min(self.index + count, len(self.tokens) - 1))

    def replace(self, *problems: Problem, by: Sequence[tuple[str, str]], count: int = 1) -> Repair:
        """Go on as if other tokens (type and text) stood in its place."""
        instead = tuple(Token(kind, text, self.token.start, self.token.end) for kind, text in by)
        return Repair(problems, self.index + count, instead)


def straighten(text: str) -> tuple[str, list[int], list[Problem]]:
    """The text with curly quotes made straight and invisible characters taken out, outside straight quotes.

    Also the place in the text of every character that is left (and of the end), and the problems found.
    """
    problems: list[Problem] = []
    edits: list[Fix] = []
    position = 0
    while len(problems) < MAX_PROBLEMS and (match := _PASTED.search(text, position)):
        start, position = match.span()
        if match["invisible"]:
            edit = Fix(start, position, "")
            message = f"invisible character U+{ord(match[0]):04X}: remove it, or put the value in quotes if it is meant"
            problems.append(Problem("invisible_character", message, start, position, fix=edit))
            edits.append(edit)
        elif match["curly"]:
            fix, changes = _straighten_quote(text, start)
            problems.append(
                Problem("curly_quote", f"curly quote {match[0]}: write a straight one", start, start + 1, fix=fix)
            )
            edits.extend(changes)
            position = fix.end
    pieces: list[str] = []
    places: list[int] = []
    position = 0
    for edit in [*edits, Fix(len(text), len(text), "")]:
        pieces += (text[position : edit.start], edit.text)
        places += (*range(position, edit.start), *[edit.start] * len(edit.text))
        position = edit.end
    return "".join(pieces), [*places, len(text)], problems


def _straighten_quote(text: str, start: int) -> tuple[Fix, list[Fix]]:
    """The one edit that mends a curly quote (with its partner), and the same as edits of single characters."""
    if text[start] in _SINGLE and start and _WORD_CHARACTER.match(text[start - 1]):
        apostrophe = Fix(start, start + 1, "'")
        return apostrophe, [apostrophe]
    partner = (_DOUBLE_END if text[start] in _DOUBLE else _SINGLE_END).search(text, start + 1)
    inner = text[start + 1 : partner.start()] if partner else ""
    if partner is None or '"' in inner or "\\" in inner:
        gone = Fix(start, start + 1, "")
        return gone, [gone]
    end = partner.end()
    return Fix(start, end, f'"{inner}"'), [Fix(start, start + 1, '"'), Fix(end - 1, end, '"')]


def diagnose(surprise: Surprise) -> Repair:
    """The problem at a token that is not accepted, and how to read on."""
    accepted, kind = surprise.accepted, surprise.token.type
    if kind in _JUNK:
        return _JUNK[kind](surprise)
    for terminals, diagnosis in _STATES:
        if terminals <= set(accepted):
            return diagnosis(surprise)
    if surprise.before.type == "STAR":
        star = surprise.before
        message = "'*' alone is every image set: leave it out, or write a field and an operator before it"
        return surprise.abandon(surprise.problem("bare_value", message, at=star))
    return _after_sort_key(surprise)


def _at_sign(surprise: Surprise) -> Repair:
    sign = surprise.token
    kind, word = ("AND", "and") if sign.text[0] == "&" else ("OR", "or")
    spaces = [" " if side and not side.isspace() else "" for side in _sides(surprise)]
    fix = Fix(sign.start, sign.end, word.join(spaces))
    problem = surprise.problem("use_word_operator", f"write '{word}' for '{sign.text}'", expected=(word,), fix=fix)
    if kind in surprise.accepted:
        return surprise.replace(problem, by=[(kind, word)])
    return surprise.skip(problem)


def _sides(surprise: Surprise) -> tuple[str, str]:
    """The characters right before and right after the token."""
    start, end = surprise.token.start, surprise.token.end
    return surprise.text[max(start - 1, 0) : start], surprise.text[end : end + 1]


def _at_wrong_operator(surprise: Surprise) -> Repair:
    token = surprise.token
    if not token.text.strip("!"):
        return _at_exclamation(surprise)
    meant = "=" if not token.text.strip("=") else _MEANT_OPERATORS.get(token.text)
    written = f"write '{meant}'" if meant else "write =, !=, <, <=, > or >="
    problem = surprise.problem(
        "use_equals" if meant == "=" else "bad_operator",
        f"'{token.text}' is no operator: {written}",
        expected=(meant,) if meant else _COMPARISONS,
        fix=Fix(token.start, token.end, meant) if meant else None,
    )
    if "COMPARATOR" in surprise.accepted:
        return surprise.replace(problem, by=[("COMPARATOR", meant or "=")])
    if surprise.is_complete or _sorting(surprise):
        return surprise.skip(problem)
    return surprise.abandon(problem, resume=surprise.index + 1)


def _at_exclamation(surprise: Surprise) -> Repair:
    """A `!` that belongs to no operator: for `not` before a condition, for itself within a word."""
    token, after = surprise.token, surprise.after
    word = "not" if len(token.text) % 2 else ""
    space = " " if word and _sides(surprise)[1].strip() else ""
    problem = surprise.problem(
        "use_not", f"write 'not' for '{token.text}'", expected=("not",), fix=Fix(token.start, token.end, word + space)
    )
    if {"NOT", "LPAR"} <= set(surprise.accepted):
        return surprise.replace(problem, by=[("NOT", "not")])
    if after.type == "COMPARATOR" and "COMPARATOR" in surprise.accepted:
        joined = Fix(token.start, after.end, token.text[0] + after.text)
        problem = surprise.problem("bad_operator", f"write '!=' for '{token.text} ='", fix=joined)
        return surprise.replace(problem, by=[("COMPARATOR", "!=")], count=2)
    if surprise.is_complete and surprise.before.type in WORDS and surprise.before.end == token.start:
        message = f"unexpected character '{token.text}': put the value in quotes if it is meant"
        return _quote_run(surprise, surprise.problem("unexpected_character", message))
    if surprise.is_complete or _sorting(surprise):
        rest = [one.type for one in surprise.tokens[surprise.index + 1 :]]
        if surprise.is_complete and (rest[0] in ("LPAR", "NOT") or (rest[0] in WORDS and rest[1] in OPERATORS)):
            joined = Fix(token.start, token.end, f"and {word}{space}")
            return surprise.replace(replace(problem, fix=joined), by=[("AND", "and"), ("NOT", "not")])
        return surprise.skip(replace(problem, fix=Fix(token.start, token.end, "")))
    return surprise.abandon(problem)


def _sorting(surprise: Surprise) -> bool:
    return any(token.type == "SORT" for token in surprise.tokens[: surprise.index])


def _at_open_quote(surprise: Surprise) -> Repair:
    """A quote that is not closed holds all the rest: what is open before it is taken as closed at the end."""
    token = surprise.token
    in_list = "STRING" in surprise.accepted and surprise.before.type in ("LPAR", "COMMA")
    opened = len(surprise.parens) + in_list
    closing = re.search(r"[\s)]*$", token.text)
    tail = closing[0] if closing and closing[0].count(")") == opened else ""
    inner = token.text.removesuffix(tail)
    end = token.end - len(tail)
    escaped = (len(inner) - len(inner.rstrip("\\"))) % 2
    problem = Problem(
        "unterminated_quote",
        f"the quote {token.text[0]} is not closed: add one where the value ends",
        token.start,
        token.start + 1,
        (token.text[0],),
        fix=None if escaped else Fix(end, end, token.text[0]),
    )
    parens = tuple(Token("RPAR", ")", token.end, token.end) for _ in range(opened))
    if "STRING" in surprise.accepted and not escaped:
        string = Token("STRING", inner + token.text[0], token.start, end)
        return Repair((problem,), surprise.index + 1, (string, *parens))
    if {"AND", "OR"} <= set(surprise.accepted) or _sorting(surprise):
        return Repair((problem,), surprise.index + 1, parens)
    broken = Token("BROKEN", "", token.start, token.start)
    return Repair((problem,), surprise.index + 1, (broken, *parens[in_list:]), abandon=True)


def _at_stray(surprise: Surprise) -> Repair:
    token = surprise.token
    closing = {"[": "]", "{": "}"}.get(token.text)
    ends = (index for index, one in enumerate(surprise.tokens) if index > surprise.index and one.text == closing)
    end = next(ends, None)
    if end is not None:
        return _at_bracket(surprise, end)
    hints = {
        "[": "lists stand in ( )",
        "]": "lists stand in ( )",
        "{": "conditions are grouped with ( )",
        "}": "conditions are grouped with ( )",
        "\\": "a backslash stands only in quotes",
        "$": "a variable is a $ and a name, as in $patient",
    }
    hint = hints.get(token.text, "remove it, or put the value in quotes")
    in_list = {"COMMA", "RPAR"} <= set(surprise.accepted) and token.text == ";"
    fix = Fix(token.start, token.end, "," if in_list else "")
    problem = surprise.problem("unexpected_character", f"unexpected character '{token.text}': {hint}", fix=fix)
    if in_list:
        return surprise.replace(problem, by=[("COMMA", ",")])
    if surprise.is_complete and surprise.before.end == token.start:
        return _quote_run(surprise, problem)
    return surprise.skip(problem)


def _at_bracket(surprise: Surprise, end: int) -> Repair:
    """A bracket or brace with its partner, for parentheses."""
    token, partner = surprise.token, surprise.tokens[end]
    inner = surprise.text[token.end : partner.start]
    problem = surprise.problem(
        "unexpected_character",
        f"unexpected character '{token.text}': lists and groups stand in ( )",
        expected=("(",),
        fix=Fix(token.start, partner.end, f"({inner})"),
    )
    left, right = Token("LPAR", "(", token.start, token.end), Token("RPAR", ")", partner.start, partner.end)
    return Repair((problem,), end + 1, (left, *surprise.tokens[surprise.index + 1 : end], right))


def _quote_run(surprise: Surprise, problem: Problem) -> Repair:
    """A character that no bare value holds, in the middle of one: quotes mend it."""
    last = surprise.index
    while surprise.tokens[last + 1].start == surprise.tokens[last].end and surprise.tokens[last + 1].type not in (
        "$END",
        "RPAR",
    ):
        last += 1
    if last == surprise.index and surprise.token.text == ";":
        return surprise.skip(problem)
    start, end = surprise.before.start, surprise.tokens[last].end
    fix = Fix(start, end, _quote(surprise.text[start:end])) if surprise.before.type in WORDS else None
    return Repair((replace(problem, fix=fix),), surprise.boundary(last + 1))


def _at_condition(surprise: Surprise) -> Repair:
    token = surprise.token
    broken = ("BROKEN", "")
    if surprise.at_end:
        return _end_at_condition(surprise)
    if token.type in KEYWORDS:
        return _keyword_at_condition(surprise)
    if token.type == "RPAR":
        if not surprise.parens:
            return _unmatched(surprise)
        message = "a condition must stand before ')'"
        problem = surprise.problem("unexpected_character", message, expected=("a condition",))
        return Repair((problem,), surprise.index, (Token(*broken, token.start, token.end),))
    if token.type in VALUES and surprise.after.type in OPERATORS:
        inner = token.text.strip("\"'$")
        field = find_field(inner)
        fix_name = Fix(token.start, token.end, inner) if field else None
        message = f"{token.text} is no field: a field stands without quotes and without $"
        return surprise.abandon(
            surprise.problem("unknown_field", message, suggestions=(inner,) if field else (), fix=fix_name)
        )
    if token.type in VALUES:
        return surprise.abandon(_bare_value(surprise, token))
    message = f"'{token.text}' needs a field before it" if token.type == "COMPARATOR" else f"unexpected '{token.text}'"
    if token.type == "COMMA":
        gone = Fix(token.start, token.end, "")
        return surprise.skip(surprise.problem("unexpected_character", message, expected=("a field",), fix=gone))
    return surprise.abandon(surprise.problem("unexpected_character", message, expected=("a field",)))


def _keyword_at_condition(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    broken = ("BROKEN", "")
    if token.type in CONNECTIVES:
        fix = Fix(token.start, surprise.after.start, "")
        message = f"'{token.text}' stands between two conditions: write one before it, or leave it out"
        problem = surprise.problem("unexpected_keyword", message, expected=("a condition",), fix=fix)
        if surprise.after.type == "$END":
            return Repair((problem,), surprise.index + 1, (Token(*broken, token.start, token.end),))
        return surprise.skip(problem)
    if token.type == "SORT":
        gone = Fix(before.start, token.start, "") if before.type in ("AND", "OR", "NOT") else None
        message = f"'sort' cannot follow '{before.text}': write a condition before it, or leave '{before.text}' out"
        problem = surprise.problem("unexpected_keyword", message, expected=("a condition",), fix=gone)
        return Repair((problem,), surprise.index, (Token(*broken, token.start, token.end),))
    message = f"'{token.text}' needs a field before it, as in: patient {token.text.lower()} …"
    return surprise.abandon(surprise.problem("unexpected_keyword", message, expected=("a field",)))


def _end_at_condition(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    broken = ("BROKEN", "")
    if before.type == "LPAR":
        fix = Fix(before.start, before.end, "")
        return Repair((_unclosed(surprise, before, fix),), surprise.index, (Token(*broken, token.start, token.end),))
    first = surprise.index
    while first and surprise.tokens[first - 1].type in ("AND", "OR", "NOT"):
        first -= 1
    fix_end = Fix(surprise.tokens[first - 1].end, token.end, "") if first else None
    message = f"the query ends after '{before.text}': write a condition after it, or leave '{before.text}' out"
    problem = surprise.problem("unexpected_end", message, expected=("a condition",), fix=fix_end)
    return Repair((problem,), surprise.index, (Token(*broken, token.start, token.end),))


def _meant_again(surprise: Surprise, token: Token) -> str:
    """In `modality = CT or MR`, the field and the operator that are meant again; "" elsewhere."""
    match surprise.tokens[max(surprise.begun - 4, 0) : surprise.begun]:
        case [name, Token("COMPARATOR") as operator, _, Token("AND" | "OR")] if _fits(
            find_field(name.text), token.text, token.type
        ):
            return f"{name.text} {operator.text} "
        case _:
            return ""


def _bare_value(surprise: Surprise, token: Token) -> Problem:
    if meant := _meant_again(surprise, token):
        message = f"'{token.text}' stands alone: write {meant}{token.text}"
        fix = Fix(token.start, token.start, meant)
        return surprise.problem("bare_value", message, at=token, expected=("a field",), fix=fix)
    suggestions = near_names(token.text, SPELLINGS)
    message = f"'{token.text}' stands alone: write a field and an operator before it, as in patient = {token.text}"
    if suggestions:
        message = f"'{token.text}' is no field{did_you_mean(suggestions)}"
    return surprise.problem("bare_value", message, at=token, expected=("a field",), suggestions=suggestions)


def _at_operator(surprise: Surprise) -> Repair:
    token, name = surprise.token, surprise.name
    if name.text.lower() == "order" and token.type == "BY":
        return _use_sort(surprise, name, surprise.index + 1, surprise.begun)
    colon = name.text.find(":")
    prefix = name.text[: max(colon, 0)]
    field = find_field(name.text)
    if colon > 0 and (find_field(prefix.removeprefix("-")) or prefix.replace("_", "").isalpha()):
        return _use_equals_in_name(surprise, name, colon, prefix)
    if name.text.startswith("-") and (len(name.text) == 1 or find_field(name.text[1:])):
        return surprise.abandon(_use_not(surprise.text, name))
    if field is None:
        return surprise.abandon(_bare_value(surprise, name))
    if token.text.startswith(":") and token.type == "WORD":
        colon_token = Token("COMPARATOR", "=", token.start, token.start + 1)
        problem = surprise.problem(
            "use_equals",
            "write '=' for ':'",
            at=colon_token,
            expected=("=",),
            fix=Fix(token.start, token.start + 1, "="),
        )
        rest = Token("WORD", token.text[1:], token.start + 1, token.end)
        return Repair((problem,), surprise.index + 1, (colon_token, rest) if rest.text else (colon_token,))
    message = f"'{name.text}' needs an operator: write {name.text} = …, or one of {', '.join(field.operators[1:])}"
    fix = None
    if token.type in VALUES and surprise.ends_at(surprise.index + 1) and _fits(field, token.text, token.type):
        fix = Fix(token.start, token.start, "= ")
    elif token.type == "NULL":
        fix = Fix(token.start, token.start, "is ")
    return surprise.abandon(surprise.problem("missing_operator", message, expected=field.operators, fix=fix))


def _fits(field: Field | None, text: str, kind: str) -> bool:
    """Whether a value is one that the field's type takes after `=`."""
    if field is None or kind == "VARIABLE":
        return field is not None
    try:
        read_comparison(field, "=", [read_quoted(text, 0) if kind == "STRING" else read_bare(text, 0)])
    except Refused:
        return False
    return True


def _use_not(text: str, name: Token) -> Problem:
    fix = Fix(name.start, name.start + 1, "not " if text[name.start + 1 : name.start + 2].strip() else "not")
    return Problem("use_not", "write 'not' for '-'", name.start, name.start + 1, ("not",), (), fix)


def _use_equals_in_name(surprise: Surprise, name: Token, colon: int, prefix: str) -> Repair:
    """A word such as `modality:CT` or `-sex:F`, as other languages write a comparison."""
    place = name.start + colon
    problems = [Problem("use_equals", "write '=' for ':'", place, place + 1, ("=",), (), Fix(place, place + 1, "="))]
    instead = [Token("COMPARATOR", "=", place, place + 1)]
    minus = prefix.startswith("-")
    if minus:
        problems.append(_use_not(surprise.text, name))
    instead.insert(0, Token("WORD", prefix.removeprefix("-"), name.start + minus, place))
    if name.text[colon + 1 :]:
        instead.append(Token("WORD", name.text[colon + 1 :], place + 1, name.end))
    return Repair(tuple(problems), surprise.index, tuple(instead), abandon=True)


def _use_sort(surprise: Surprise, order: Token, resume: int, begun: int) -> Repair:
    last = surprise.tokens[resume - 1]
    fix = Fix(order.start, order.end, "sort")
    problem = surprise.problem("use_sort", f"write 'sort' for '{order.text} by'", at=order, expected=("sort",), fix=fix)
    sort = Token("SORT", "sort", order.start, last.end)
    before = surprise.tokens[begun - 1].type if begun else ""
    needs_condition = order is surprise.name and before in ("AND", "OR", "NOT", "LPAR")
    broken = (Token("BROKEN", "", order.start, order.start),) if needs_condition else ()
    return Repair((problem,), resume, (*broken, sort), abandon=order is surprise.name)


def _after_field_not(surprise: Surprise) -> Repair:
    token, no = surprise.token, surprise.before
    fix = None
    if token.type == "COMPARATOR" and token.text == "=":
        fix = Fix(no.start, token.end, "!=")
    elif token.type == "NULL":
        fix = Fix(no.start, no.start, "is ")
    message = "after a field, 'not' goes with in, like or between: write != for unequal, 'is not null' for any value"
    return surprise.abandon(surprise.problem("missing_operator", message, expected=("in", "like", "between"), fix=fix))


def _after_is(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    words = surprise.tokens[surprise.begun + 1 : surprise.index]
    fix = None
    if surprise.at_end:
        fix = Fix(before.end, token.end, " null")
    elif token.type in VALUES and near_names(token.text, ("null",)):
        fix = Fix(token.start, token.end, "null")
    elif token.type in VALUES and surprise.ends_at(surprise.index + 1):
        fix = Fix(words[0].start, words[-1].end, "=" if len(words) == 1 else "!=")
    elif surprise.ends_at(surprise.index):
        fix = Fix(before.end, before.end, " null")
    message = "after 'is' stands null or not null; write = to compare with a value"
    return surprise.abandon(surprise.problem("expected_null", message, expected=("null", "not null"), fix=fix))


def _at_value(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    in_list = before.type in ("LPAR", "COMMA")
    operator = surprise.tokens[surprise.begun + 1]
    if token.type == "NULL" and (in_list or before.type == "COMPARATOR"):
        return _use_is(surprise, operator, in_list=in_list)
    if before.type == "DOTDOT" and surprise.tokens[surprise.index - 2].type == "BETWEEN":
        message = "the range is empty: write a date or a number on at least one side of '..'"
        return surprise.abandon(surprise.problem("empty_range", message, at=before, expected=("a value",)))
    if token.type in KEYWORDS:
        fix = None
        field = find_field(surprise.name.text)
        ends = surprise.after.type in ("$END", "AND", "OR", "SORT", "RPAR", "COMMA")
        if ends and _fits(field, f'"{token.text}"', "STRING"):
            fix = Fix(token.start, token.end, f'"{token.text}"')
        message = f"'{token.text}' is a keyword: put it in quotes if it is the value, or write a value before it"
        problem = surprise.problem("keyword_as_value", message, expected=("a value",), fix=fix)
        if fix:
            return surprise.replace(problem, by=[("STRING", f'"{token.text}"')])
        return _abandon_value(surprise, problem)
    if surprise.at_end and (in_list or before.type == "AND"):
        where = "inside the list" if in_list else f"after '{before.text}'"
        return surprise.abandon(
            surprise.problem("unexpected_end", f"the query ends {where}: write a value", expected=("a value",))
        )
    if token.type == "DOTDOT":
        return _abandon_value(surprise, _range_needs_between(surprise))
    if token.type == "RPAR" and before.type == "LPAR":
        return surprise.abandon(
            surprise.problem("empty_list", "the list is empty: write at least one value", expected=("a value",)),
            resume=surprise.index + 1,
        )
    if before.type == "BETWEEN":
        message = "'between' needs a range: write two values, as in 2024-03-11..2024-03-12"
        code = "missing_value" if surprise.at_end else "expected_range"
        return surprise.abandon(surprise.problem(code, message, expected=("a range",)))
    return _missing_value(surprise, operator, in_list=in_list)


def _missing_value(surprise: Surprise, operator: Token, *, in_list: bool) -> Repair:
    token, before = surprise.token, surprise.before
    fix = None
    if token.type in ("RPAR", "COMMA") and before.type == "COMMA":
        fix = Fix(before.start, before.end, "") if token.type == "RPAR" else Fix(token.start, token.end, "")
    elif token.type == "COMMA" and before.type == "LPAR":
        fix = Fix(token.start, token.end, "")
    elif token.type == "LPAR" and operator.text == "=":
        fix = Fix(operator.start, operator.end, "in")
    elif token.type == "COMPARATOR" and before.text + token.text in ("<=", ">="):
        fix = Fix(before.start, token.end, before.text + token.text)
    message = f"a value must stand after '{before.text}'"
    problem = surprise.problem("missing_value", message, expected=("a value",), fix=fix)
    if in_list and token.type == "COMMA":
        return surprise.skip(problem)
    return _abandon_value(surprise, problem)


def _abandon_value(surprise: Surprise, problem: Problem) -> Repair:
    """Give up a comparison at one of its values, past the end of the list if it stands in one."""
    if "COMMA" in surprise.accepted or surprise.before.type in ("LPAR", "COMMA"):
        for index in range(surprise.index, len(surprise.tokens)):
            if surprise.tokens[index].type == "RPAR":
                return surprise.abandon(problem, resume=index + 1)
    return surprise.abandon(problem)


def _use_is(surprise: Surprise, operator: Token, *, in_list: bool) -> Repair:
    null = surprise.token
    negated = operator.text == "!="
    written = "is not null" if negated else "is null"
    fix = None if in_list or operator.text not in ("=", "!=") else surprise.edit(operator.start, null.end, written)
    code = "use_is_not_null" if negated else "use_is_null"
    problem = surprise.problem(code, f"nothing compares with null: write '{written}'", expected=(written,), fix=fix)
    return _abandon_value(surprise, problem) if in_list else surprise.abandon(problem, resume=surprise.index + 1)


def _unexpected_range(surprise: Surprise) -> Problem:
    """A `..` right after a value."""
    field = find_field(surprise.name.text)
    if field and field.type is FieldType.UID:
        message = "a UID holds digits and single dots between them: a '.' stands at an end or beside another one"
        place = surprise.token.start + 1
        return Problem("bad_uid", message, place, place + 1)
    return _range_needs_between(surprise)


def _range_needs_between(surprise: Surprise) -> Problem:
    """A `..` without `between`: another operator mends it on dates and numbers, quotes on texts."""
    operator = surprise.tokens[surprise.begun + 1]
    field = find_field(surprise.name.text)
    before, after = surprise.before, surprise.after
    fix = None
    if field and "between" in field.operators and operator.text in ("=", "!="):
        fix = surprise.edit(operator.start, operator.end, "between" if operator.text == "=" else "not between")
    elif (
        field
        and "between" not in field.operators
        and before.type == after.type == "WORD"
        and before.end == surprise.token.start
    ):
        fix = Fix(before.start, after.end, _quote(surprise.text[before.start : after.end]))
    message = "a range goes with 'between', as in: updated between 2024-03-11..2024-03-12"
    return surprise.problem("range_needs_between", message, expected=("between",), fix=fix)


def _after_range_start(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    message = "'between' needs two ends: write A..B or A and B"
    fix = None
    joined = _SPACED_OFFSET.match(surprise.text, before.start)
    if joined:
        written = re.sub(r"\s+", "", joined[0])
        problem = surprise.problem(
            "expected_range",
            f"write the date without spaces: {written}",
            expected=("..", "and"),
            fix=Fix(before.start, joined.end(), written),
        )
        return surprise.abandon(problem)
    if token.type in VALUES and surprise.ends_at(surprise.index + 1):
        fix = Fix(before.end, token.start, "..")
    elif token.type == "COMMA" and surprise.after.type in VALUES:
        fix = Fix(token.start, token.end, " and")
    elif token.type == "WORD" and token.text.lower() in ("to", "-", "until") and surprise.after.type in VALUES:
        fix = Fix(token.start, token.end, "and")
    return surprise.abandon(surprise.problem("expected_range", message, expected=("..", "and"), fix=fix))


def _at_list(surprise: Surprise) -> Repair:
    fix = None
    last = surprise.index
    if surprise.at_end:
        message = "a list must stand after 'in': write (A, B, C)"
        return surprise.abandon(surprise.problem("expected_list", message, expected=("(", "$name")))
    if surprise.token.type in VALUES:
        while surprise.tokens[last + 1].type == "COMMA" and surprise.tokens[last + 2].type in VALUES:
            last += 2
        if surprise.ends_at(last + 1):
            values = surprise.text[surprise.token.start : surprise.tokens[last].end]
            fix = Fix(surprise.token.start, surprise.tokens[last].end, f"({values})")
    message = "after 'in' stands a list: write (A, B, C)"
    return surprise.abandon(surprise.problem("expected_list", message, expected=("(", "$name"), fix=fix), resume=last)


def _in_list(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    if surprise.at_end:
        fix = Fix(token.start, token.end, ")")
        return surprise.abandon(
            surprise.problem("unexpected_end", "the list is not closed: write ')'", expected=(",", ")"), fix=fix)
        )
    if token.type == "DOTDOT":
        return _abandon_value(surprise, _unexpected_range(surprise))
    message = "values of a list are parted by commas"
    if token.type in VALUES:
        fix = Fix(before.end, token.start, ", ")
        problem = surprise.problem("expected_list", message, expected=(",", ")"), fix=fix)
        return Repair((problem,), surprise.index, (Token("COMMA", ",", before.end, token.start),))
    return _abandon_value(surprise, surprise.problem("expected_list", message, expected=(",", ")")))


def _after_condition(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    kind = token.type
    if surprise.at_end or kind == "SORT":
        paren = surprise.tokens[surprise.parens[-1]]
        last = surprise.tokens[-2]
        if kind == "SORT" and last.type == "RPAR" and len(surprise.parens) == 1:
            clause = surprise.text[token.start : last.start].rstrip()
            moved = _unclosed(surprise, paren, Fix(before.end, last.end, f") {clause}"))
            rest = surprise.tokens[surprise.index : -2]
            return Repair((moved,), len(surprise.tokens) - 1, (Token("RPAR", ")", token.start, token.start), *rest))
        fix = Fix(token.start, token.start, ")" if surprise.at_end else ") ")
        return Repair(
            (_unclosed(surprise, paren, fix),), surprise.index, (Token("RPAR", ")", token.start, token.start),)
        )
    if kind == "RPAR":
        return _unmatched(surprise)
    if kind == "WORD" and token.text.lower() == "order":
        by = surprise.after.type == "BY"
        return _use_sort(surprise, token, surprise.index + 1 + by, surprise.index)
    if kind == "DOTDOT" and before.type in VALUES:
        return Repair((_unexpected_range(surprise),), surprise.boundary(surprise.index))
    if kind in VALUES or kind in ("NOT", "LPAR"):
        return _missing_connective(surprise)
    if kind in KEYWORDS:
        message = f"'{token.text}' needs a field before it: a complete condition stands there"
        problem = surprise.problem("unexpected_keyword", message, expected=("and", "or", "sort"))
    else:
        hint = "; a list goes after 'in', as in (A, B)" if kind == "COMMA" else ""
        problem = surprise.problem(
            "unexpected_character",
            f"unexpected '{token.text}' after a complete condition{hint}",
            expected=("and", "or", "sort"),
            fix=_list_after_equals(surprise) if kind == "COMMA" else None,
        )
    return Repair((problem,), surprise.boundary(surprise.index + 1))


def _list_after_equals(surprise: Surprise) -> Fix | None:
    """The edit that makes `modality = CT, MR` a list, and `name = Smith, John` one value."""
    tokens, operator = surprise.tokens, surprise.tokens[surprise.begun + 1]
    field, end = find_field(surprise.name.text), surprise.boundary(surprise.index)
    values = tokens[surprise.begun + 2 : end]
    if field is None or operator.text != "=" or any(one.type not in VALUES | {"COMMA"} for one in values):
        return None
    written = surprise.text[values[0].start : values[-1].end]
    if field.type in (FieldType.PERSON_NAME, FieldType.TEXT):
        return Fix(values[0].start, values[-1].end, _quote(written)) if '"' not in written else None
    return Fix(operator.start, values[-1].end, f"in ({written})")


def _missing_connective(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    expected = ("and", "or", "sort")
    field_part = token.text.partition(":")[0].removeprefix("-")
    is_field = ":" in token.text and find_field(field_part) is not None
    follows = token.type in WORDS and (surprise.after.type in OPERATORS or is_field)
    if token.type in ("NOT", "LPAR") or follows:
        message = f"'and' or 'or' must stand before '{token.text}'"
        fix: Fix | None = Fix(token.start, token.start, "and " if token.start > before.end else " and ")
        problem = surprise.problem("missing_connective", message, expected=expected, fix=fix)
        return Repair((problem,), surprise.index, (Token("AND", "and", token.start, token.start),))
    resume = surprise.boundary(surprise.index)
    written = surprise.text[before.start : surprise.tokens[resume - 1].end]
    fix = None
    message = f"'{token.text}' follows a complete condition: write 'and' or 'or', or put the value in quotes"
    if re.fullmatch(r"\d\d:\d\d", token.text, re.ASCII) and ":" in before.text:
        fix = Fix(before.end, token.start, "+")
        message = f"'{token.text}': was a '+' lost in a link?"
    elif _SPACED_OFFSET.fullmatch(written):
        fix = Fix(before.start, before.start + len(written), re.sub(r"\s+", "", written))
        message = f"write the date without spaces: {fix.text}"
    elif before.type == "STRING":
        if token.start == before.end:
            inner = written[1:].removesuffix(written[0])
            fix = Fix(before.start, before.start + len(written), _quote(inner))
            message = f"the value ends before '{token.text}': put one that holds a quote sign in the other quotes"
    elif before.type in WORDS and all(one.type in WORDS for one in surprise.tokens[surprise.index : resume]):
        field = find_field(surprise.name.text)
        if _fits(field, _quote(written), "STRING"):
            fix = Fix(before.start, before.start + len(written), _quote(written))
    problem = surprise.problem("missing_connective", message, expected=expected, fix=fix)
    return Repair((problem,), resume)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unclosed(surprise: Surprise, paren: Token, fix: Fix) -> Problem:
    return surprise.problem(
        "unclosed_paren", "the parenthesis is not closed: write ')' where it ends", at=paren, expected=(")",), fix=fix
    )


def _unmatched(surprise: Surprise) -> Repair:
    token = surprise.token
    message = "no parenthesis is open here: remove this one, or open one before"
    return surprise.skip(surprise.problem("unmatched_paren", message, fix=Fix(token.start, token.end, "")))


def _at_sort_key(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    fix = None
    if surprise.at_end:
        sort = next(one for one in surprise.tokens if one.type == "SORT")
        fix = Fix((before if before.type == "COMMA" else sort).start, token.end, "")
    elif token.type == "COMMA":
        fix = Fix(token.start, token.end, "")
    elif token.type == "STRING" and find_field(token.text[1:-1]):
        fix = Fix(token.start, token.end, token.text[1:-1])
    message = f"a field must stand after '{before.text}', as in: sort updated desc"
    problem = surprise.problem("missing_sort_key", message, expected=("a field",), fix=fix)
    key = Token("WORD", "", token.start, token.start)
    if token.type in ("COMMA", "$END", "ASC", "DESC"):
        return Repair((problem,), surprise.index, (key,))
    return Repair((problem,), len(surprise.tokens) - 1, (key,))


def _after_sort_key(surprise: Surprise) -> Repair:
    token, before = surprise.token, surprise.before
    end = len(surprise.tokens) - 1
    if token.type in CONNECTIVES:
        first = next(one for one in surprise.tokens if one.type == "SORT")
        moved = surprise.text[token.start : surprise.tokens[end - 1].end]
        if first is surprise.tokens[0]:
            moved = surprise.text[surprise.after.start : surprise.tokens[end - 1].end]
        clause = surprise.text[first.start : before.end]
        fix = Fix(first.start, surprise.tokens[end - 1].end, f"{moved} {clause}") if moved else None
        message = "'sort' stands at the end: write all conditions before it"
        return Repair((surprise.problem("sort_must_be_last", message, fix=fix),), end)
    if token.type == "RPAR":
        return _unmatched(surprise)
    if token.type in VALUES:
        if token.type == "WORD" and find_field(token.text) and surprise.after.type not in OPERATORS:
            fix = Fix(before.end, token.start, ", ")
            message = f"'{token.text}' is no direction: write asc or desc, or a comma before another field"
            problem = surprise.problem("bad_sort_direction", message, expected=("asc", "desc", ","), fix=fix)
            return Repair((problem,), surprise.index, (Token("COMMA", ",", before.end, token.start),))
        meant = _MEANT_DIRECTIONS.get(token.text.lower())
        suggestions = (meant,) if meant else near_names(token.text, ("asc", "desc"))
        if token.type in ("ASC", "DESC"):
            suggestions = ()
        fix_word = Fix(token.start, token.end, suggestions[0]) if suggestions else None
        message = f"'{token.text}' is no direction: write asc or desc"
        problem = surprise.problem(
            "bad_sort_direction", message, expected=("asc", "desc"), suggestions=suggestions, fix=fix_word
        )
        return surprise.skip(problem) if surprise.after.type in ("COMMA", "$END") else Repair((problem,), end)
    code = "unexpected_keyword" if token.type in KEYWORDS else "unexpected_character"
    problem = surprise.problem(code, f"'{token.text}' cannot follow a sort key", expected=("asc", "desc", ","))
    return Repair((problem,), end)


_JUNK: Final[dict[str, Callable[[Surprise], Repair]]] = {
    "SIGN_OPERATOR": _at_sign,
    "WRONG_OPERATOR": _at_wrong_operator,
    "UNTERMINATED": _at_open_quote,
    "STRAY": _at_stray,
}

#: By what is accepted: the state in which the parser is, the most telling terminals first.
_STATES: Final[tuple[tuple[frozenset[str], Callable[[Surprise], Repair]], ...]] = (
    (frozenset({"NOT", "LPAR"}), _at_condition),
    (frozenset({"COMPARATOR"}), _at_operator),
    (frozenset({"AND", "OR"}), _after_condition),
    (frozenset({"LIKE"}), _after_field_not),
    (frozenset({"NULL"}), _after_is),
    (frozenset({"STRING"}), _at_value),
    (frozenset({"DOTDOT"}), _after_range_start),
    (frozenset({"RPAR"}), _in_list),
    (frozenset({"VARIABLE"}), _at_list),
    (frozenset({"WORD"}), _at_sort_key),
)
