"""Text to search: the only user of lark.

A query that the grammar accepts is parsed in one pass. One that it refuses is read again, token by token: `recovery`
turns every surprise of the parser into a problem and says how to go on, so that independent problems are reported
together. What a comparison means is the business of `reading`; here is only what stands where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias, TypeVar

from lark import Lark, Tree
from lark import Token as LarkToken
from lark.common import LexerConf
from lark.exceptions import UnexpectedToken
from lark.lark import PostLex
from lark.lexer import Lexer, LexerState, PatternStr
from lark.parsers.lalr_analysis import Shift

from grammar.criteria import (
    Condition,
    Everything,
    Search,
    SortKey,
    Span,
    conjunction,
    disjunction,
    negation,
)
from grammar.fields import SPELLINGS, Field, FieldType, find_field
from grammar.periods import date_condition, find_zone, is_moving
from grammar.problems import MAX_PROBLEMS, Fix, Problem, QueryError, Refused, did_you_mean, near_names
from grammar.reading import (
    MAX_LENGTH,
    Literal,
    Style,
    read_bare,
    read_comparison,
    read_list,
    read_quoted,
    read_variable,
)
from grammar.recovery import Surprise, Token, diagnose, straighten

MAX_DEPTH: Final = 16
MAX_COMPARISONS: Final = 50

#: Every fix is tried before it is offered, as far as this many characters can be read again in good time.
MAX_MENDED: Final = 6_000

NO_VARIABLES: Final[Mapping[str, object]] = MappingProxyType({})

_CACHED_QUERIES: Final = 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Node: TypeAlias = Tree[LarkToken]
_Result = TypeVar("_Result")
_Syntax: TypeAlias = tuple[_Node | None, tuple[Problem, ...]]


class Written(NamedTuple):
    """A query as its text says it: undated, with variables in place of their names."""

    search: Search
    notices: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A query that can be answered: as written, and as dated in its zone."""

    written: Search
    search: Search
    notices: tuple[Problem, ...]
    time_zone: str


class _Lexer(Lexer):
    """One regular expression over the grammar's terminals, and keywords looked up: faster than lark's own lexer.

    Lines are left to `problems.place`, which few queries need.
    """

    __future_interface__ = 1

    def __init__(self, configuration: LexerConf) -> None:
        word = re.compile(next(one.pattern.to_regexp() for one in configuration.terminals if one.name == "WORD"))
        texts = {one.pattern.value: one.name for one in configuration.terminals if isinstance(one.pattern, PatternStr)}
        self._keywords = {text: name for text, name in texts.items() if word.fullmatch(text)}
        passed = "|".join(
            one.pattern.to_regexp() for one in configuration.terminals if one.name in configuration.ignore
        )
        unnamed = {*configuration.ignore, *self._keywords.values()}
        patterns = sorted(
            (one for one in configuration.terminals if one.name not in unnamed),
            key=lambda one: (-one.priority, one.name != "WORD", -one.pattern.max_width, one.name),
        )
        named = "|".join(f"(?P<{one.name}>{one.pattern.to_regexp()})" for one in patterns)
        self._pattern = re.compile(f"(?:{passed})?(?:{named})")

    def lex(self, lexer_state: LexerState, _parser_state: object) -> Iterator[LarkToken]:
        """The tokens of the text; every character that is no white space is in one."""
        keywords = self._keywords
        # White space is passed in front of a token: none is left behind the last one.
        for match in self._pattern.finditer(str(lexer_state.text.text).rstrip()):
            kind = match.lastgroup or ""
            text = match[kind]
            if kind == "WORD":
                kind = keywords.get(text.lower(), kind)
            end = match.end()
            yield LarkToken(kind, text, end - len(text), None, None, None, None, end)


class _KeptTerminals(PostLex):
    """Keeps the terminals that no rule mentions, so that the lexer never fails."""

    always_accept = ("WRONG_OPERATOR", "SIGN_OPERATOR", "UNTERMINATED", "STRAY", "BROKEN")

    def process(self, stream: Iterator[LarkToken]) -> Iterator[LarkToken]:
        """The tokens as they are."""
        return stream


_LARK: Final = Lark(
    (Path(__file__).parent / "imagesets.lark").read_text(encoding="utf-8"),
    parser="lalr",
    lexer=_Lexer,
    start="query",
    postlex=_KeptTerminals(),
    maybe_placeholders=False,
)


def read(text: str, variables: Mapping[str, object] | None = None) -> Written:
    """The search that a query writes, undated. Raises QueryError with every problem that was found."""
    return _answer(text, partial(_read, variables=variables))


def parse(
    text: str,
    *,
    variables: Mapping[str, object] | None = None,
    time_zone: str = "UTC",
    now: datetime | None = None,
) -> Query:
    """The query that a text writes, dated at the aware instant `now` in an IANA zone.

    Raises QueryError with every problem that was found, and ValueError where the zone is unknown.
    """
    return _answer(text, partial(_parse, variables=variables, time_zone=time_zone, now=now or datetime.now(UTC)))


def _answer(text: str, understand: Callable[[str], _Result]) -> _Result:
    """What the text is understood as. A fix stays with a problem only where it leaves exactly one problem fewer.

    Where there are so many problems that they are not all told, it stays untried.
    """
    try:
        return understand(text)
    except QueryError as error:
        problems = error.problems

    def count(mended: str) -> int:
        try:
            understand(mended)
        except QueryError as left:
            return len(left.problems)
        return 0

    kept: list[Problem] = []
    reading = 0
    for problem in problems:
        mended = problem.fix.apply(text) if problem.fix else ""
        reading += len(mended)
        mends = reading <= MAX_MENDED and (len(problems) == MAX_PROBLEMS or count(mended) == len(problems) - 1)
        kept.append(problem if mends else replace(problem, fix=None))
    raise QueryError(text, kept)


def _read(text: str, variables: Mapping[str, object] | None) -> Written:
    draft = _draft(text, variables)
    if draft.problems:
        raise QueryError(text, draft.problems)
    return draft.written


def _parse(text: str, variables: Mapping[str, object] | None, time_zone: str, now: datetime) -> Query:
    draft = _draft(text, variables)
    if not draft.problems and not draft.moving and draft.cached:
        return _unmoving(text, time_zone)
    return _date(text, draft, time_zone, now)


@lru_cache(maxsize=_CACHED_QUERIES)
def _unmoving(text: str, time_zone: str) -> Query:
    """A query without variables and relative dates: it means the same at any time."""
    return _date(text, _draft(text, None), time_zone, _EPOCH)


class _Draft(NamedTuple):
    """What reading found: the search (with holes where there are problems), and whether its meaning moves with time."""

    written: Written
    problems: tuple[Problem, ...]
    moving: bool
    cached: bool


def _date(text: str, draft: _Draft, time_zone: str, now: datetime) -> Query:
    problems = list(draft.problems)
    search = draft.written.search
    where = date_condition(search.where, find_zone(time_zone), now, problems)
    if problems:
        raise QueryError(text, sorted(problems, key=_place_of))
    return Query(search, Search(where, search.sort), draft.written.notices, time_zone)


def _place_of(problem: Problem) -> tuple[int, int]:
    return problem.start, problem.end


def _draft(text: str, variables: Mapping[str, object] | None) -> _Draft:
    return _build(_cached_syntax(text), variables) if variables else _draft_without_variables(text)


@lru_cache(maxsize=_CACHED_QUERIES)
def _draft_without_variables(text: str) -> _Draft:
    return _build(_syntax(text), NO_VARIABLES)


def _build(syntax: _Syntax, variables: Mapping[str, object]) -> _Draft:
    tree, problems = syntax
    builder = _Builder(variables)
    search = builder.search(tree) if tree else Search()
    if problems or builder.problems:
        # Two findings with one code at one place are one problem.
        found = {(problem.start, problem.code): problem for problem in (*builder.problems, *problems)}
        problems = tuple(sorted(found.values(), key=_place_of)[:MAX_PROBLEMS])
    return _Draft(Written(search, tuple(builder.notices)), problems, is_moving(search.where), variables is NO_VARIABLES)


def _syntax(text: str) -> _Syntax:
    """The syntax tree, and the problems that were mended on the way to it; None where there is no tree."""
    if len(text) > MAX_LENGTH:
        message = f"a query has at most {MAX_LENGTH} characters; this one has {len(text)}"
        return None, (Problem("too_long", message, MAX_LENGTH, len(text)),)
    try:
        return _LARK.parse(text), ()
    except UnexpectedToken as error:
        return _recover(text, error.token.start_pos or 0)


@lru_cache(maxsize=_CACHED_QUERIES)
def _cached_syntax(text: str) -> _Syntax:
    """For queries with variables, which are built anew for every value; trees are too large to keep of all queries."""
    return _syntax(text)


def _recover(text: str, accepted: int) -> _Syntax:
    """The tree of a query that the grammar accepts up to a place, mended behind it, and what is wrong with it."""
    straight, places, problems = straighten(text)
    tokens = [token._replace(start=places[token.start], end=places[token.end - 1] + 1) for token in lex(straight)]
    recovery = _Recovery(text, [*tokens, Token("$END", "", len(text), len(text))], problems)
    return recovery.run(accepted=0 if problems else accepted), tuple(recovery.problems)


def lex(text: str) -> list[Token]:
    """The tokens of a text; every character that is no white space is in one."""
    session = _LARK.parse_interactive(text)
    tokens = session.lexer_thread.lex(session.parser_state)  # type: ignore[no-untyped-call]
    return [Token(token.type, str(token), token.start_pos, token.end_pos) for token in tokens]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What may come after a text: the terminals that are accepted, and the words of the comparison that is begun."""

    accepted: frozenset[str]
    begun: tuple[Token, ...]


def expect(text: str, tokens: list[Token]) -> Expectation:
    """What may follow these tokens of a text, mended where they are broken."""
    recovery = _Recovery(text, [*tokens, Token("$END", "", len(text), len(text))], [])
    recovery.run(to_end=False)
    return Expectation(recovery.accepted(), tuple(recovery.tokens[recovery.begun : recovery.index]))


class _Recovery:
    """Feeds tokens to the parser one by one, and mends them where it stops."""

    def __init__(self, text: str, tokens: list[Token], problems: list[Problem]) -> None:
        self.text = text
        self.tokens = tokens
        self.problems = problems
        self.index = 0
        self.begun = 0
        self._depth = 0
        self._parens: list[int] = []
        self._in_list = False
        self._session = _LARK.parse_interactive("")
        self._state = self._session.parser_state
        self._silent = copy(self._state.parse_conf)
        self._silent.callbacks = {}

    def accepted(self) -> frozenset[str]:
        """The terminals that the parser takes next."""
        return frozenset(self._session.accepts())  # type: ignore[no-untyped-call]

    def run(self, *, to_end: bool = True, accepted: int = 0) -> _Node | None:
        """The tree; None where there are too many problems, or where the end of the text is not to be read.

        Up to the place `accepted` the tokens are known to be as they should.
        """
        while len(self.problems) < MAX_PROBLEMS:
            token = self.tokens[self.index]
            choices = self._session.choices()  # type: ignore[no-untyped-call]
            at_condition = "NOT" in choices and "LPAR" in choices
            if at_condition:
                self.begun, self._depth = self.index, len(self._state.state_stack)
            if token.type == "$END" and not to_end:
                return None
            lark_token = LarkToken(token.type, token.text, token.start, end_pos=token.end)
            if (self.problems or token.start >= accepted) and not self._accepts(lark_token, choices):
                self._mend()
                continue
            tree: _Node | None = self._session.feed_token(lark_token)
            if token.type == "$END":
                return tree
            self._count_parens(token, at_condition=at_condition)
            if len(self._parens) > MAX_DEPTH:
                self.problems.append(_too_deep(lark_token))
                return None
            self.index += 1
        return None

    def _accepts(self, token: LarkToken, choices: Mapping[str, tuple[object, object]]) -> bool:
        """Whether the parser takes the token. Tried on a copy: LALR may reduce too far before it notices a surprise."""
        action, _ = choices.get(token.type, (None, None))
        if action is None or action is Shift:
            return action is Shift
        trial = self._state.copy(deepcopy_values=False)
        trial.parse_conf = self._silent
        try:
            trial.feed_token(token, is_end=token.type == "$END")
        except UnexpectedToken:
            return False
        return True

    def _mend(self) -> None:
        surprise = Surprise(self.text, self.tokens, self.index, self.accepted(), self.begun, self._parens)
        repair = diagnose(surprise)
        self.problems.extend(repair.problems)
        instead = repair.instead
        if repair.abandon and not surprise.is_complete:
            # The parser never reduces below the state in which an open comparison began: cutting its stacks forgets it.
            del self._state.state_stack[self._depth :], self._state.value_stack[self._depth - 1 :]
            start = self.tokens[self.begun].start
            instead = instead or (Token("BROKEN", "", start, start),)
            self.index, self._in_list = self.begun, False
        self.tokens[self.index : repair.resume] = instead

    def _count_parens(self, token: Token, *, at_condition: bool) -> None:
        if token.type == "LPAR":
            self._in_list = not at_condition
            if at_condition:
                self._parens.append(self.index)
        elif token.type == "RPAR":
            if not self._in_list:
                self._parens.pop()
            self._in_list = False


def _too_deep(paren: LarkToken) -> Problem:
    span = _span(paren)
    return Problem("too_deep", f"parentheses go at most {MAX_DEPTH} levels deep", span.start, span.end)


class _Builder:
    """Makes the search of a syntax tree; collects problems, and leaves holes where they are."""

    def __init__(self, variables: Mapping[str, object]) -> None:
        self.problems: list[Problem] = []
        self.notices: list[Problem] = []
        self._variables = variables
        self._comparisons = 0
        self._depth = 0

    def search(self, query: _Node) -> Search:
        """The whole query."""
        where: Condition = Everything()
        sort: tuple[SortKey, ...] = ()
        for part in query.children:
            if isinstance(part, Tree):
                if part.data == "sort":
                    sort = self._sort(part)
                else:
                    where = self._condition(part)
        return Search(where, sort)

    def _condition(self, tree: _Node) -> Condition:
        rule = str(tree.data)
        if rule in ("conjunction", "disjunction"):
            return self._joined(rule, tree)
        if rule == "negation":
            positive = self._condition(_tree(tree.children[-1]))
            return negation(positive) if len(tree.children) % 2 == 0 else positive
        if rule == "group":
            return self._grouped(tree)
        return self._comparison(rule, tree.children)

    def _joined(self, rule: str, tree: _Node) -> Condition:
        parts = [child for child in tree.children if isinstance(child, Tree)]
        mixed = next((part for part in parts if rule == "disjunction" and part.data == "conjunction"), None)
        if mixed is not None and all(notice.code != "mixed_and_or" for notice in self.notices):
            # The connective that comes second is where the eye stumbles.
            connective = _token((tree if mixed is parts[0] else mixed).children[1])
            span = _span(connective)
            message = "'and' binds tighter than 'or': parentheses would show what is meant"
            self.notices.append(Problem("mixed_and_or", message, span.start, span.end))
        conditions = [self._condition(part) for part in parts]
        return conjunction(conditions) if rule == "conjunction" else disjunction(conditions)

    def _grouped(self, tree: _Node) -> Condition:
        self._depth += 1
        if self._depth == MAX_DEPTH + 1:
            self.problems.append(_too_deep(_token(tree.children[0])))
        condition = self._condition(_tree(tree.children[1]))
        self._depth -= 1
        return condition

    def _comparison(self, rule: str, parts: list[_Node | LarkToken]) -> Condition:
        if rule == "broken":
            return Everything()
        name, *rest = [part for part in parts if isinstance(part, LarkToken)]
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            if self._comparisons == MAX_COMPARISONS + 1:
                message = f"a query has at most {MAX_COMPARISONS} comparisons"
                self.problems.append(Problem("too_many_comparisons", message, name.start_pos or 0, name.end_pos or 0))
            return Everything()
        field = self._field(name)
        word, operator, values = _operation(rule, rest)
        whole_list = rule == "listed" and rest[-1].type != "RPAR"
        literals = self._literals(values, whole_list=whole_list)
        if field is None or literals is None:
            return Everything()
        if field.type is FieldType.PERSON_NAME:
            self.notices += filter(None, map(_notice_comma, literals))
        try:
            return read_comparison(field, word, literals, operator)
        except Refused as refused:
            self.problems.extend(refused.problems)
            return Everything()

    def _field(self, name: LarkToken) -> Field | None:
        field = find_field(name)
        if field is None:
            span = _span(name)
            if name.startswith("-") and find_field(name[1:]):
                fix = Fix(span.start, span.start + 1, "not ")
                self.problems.append(
                    Problem("use_not", "write 'not' for '-'", span.start, span.start + 1, ("not",), (), fix)
                )
                return find_field(name[1:])
            self.problems.append(_unknown("unknown_field", f"unknown field '{name}'", name))
        return field

    def _literals(self, values: list[LarkToken | None], *, whole_list: bool) -> list[Literal | None] | None:
        """The literals of the value tokens (of a variable that may be a whole list); None where one is refused."""
        literals: list[Literal | None] = []
        refused = False
        for value in values:
            try:
                if value is not None and value.type == "VARIABLE":
                    bound, span = self._bound(value), _span(value)
                    literals.extend(read_list(bound, span) if whole_list else [read_variable(bound, span)])
                else:
                    literals.append(None if value is None else _literal(value))
            except Refused as refusal:
                self.problems.extend(refusal.problems)
                refused = True
        return None if refused else literals

    def _bound(self, name: LarkToken) -> object:
        if name[1:] in self._variables:
            return self._variables[name[1:]]
        span = _span(name)
        suggestions = tuple(f"${near}" for near in near_names(name[1:], self._variables))
        message = f"no variable is given for '{name}'{did_you_mean(suggestions)}"
        fix = Fix(span.start, span.end, suggestions[0]) if suggestions else None
        raise Refused(Problem("unbound_parameter", message, span.start, span.end, (), suggestions, fix))

    def _sort(self, sort: _Node) -> tuple[SortKey, ...]:
        keys: list[SortKey] = []
        end = 0
        for key in sort.children:
            if not isinstance(key, Tree) or len(self.problems) >= MAX_PROBLEMS:
                continue
            word, *directions = map(_token, key.children)
            if not word:
                continue
            begin, end = end, _span((word, *directions)[-1]).end
            field = find_field(word)
            if field is None:
                self.problems.append(_unknown("unknown_sort_key", f"cannot sort by '{word}', which is no field", word))
            elif any(field.name == earlier.field for earlier in keys):
                span = _span(word)
                message = f"'{word}' is sorted by already: name each field once"
                fix = Fix(begin, end, "")
                self.problems.append(Problem("duplicate_sort_key", message, span.start, span.end, fix=fix))
            else:
                keys.append(SortKey(field.name, descending=any(one.type == "DESC" for one in directions)))
        return tuple(keys)


def _operation(rule: str, parts: list[LarkToken]) -> tuple[str, Span, list[LarkToken | None]]:
    """The operator word of a comparison, its place, and its value tokens (None for an open end of a range)."""
    if rule == "compared":
        return str(parts[0]), _span(parts[0]), [parts[1]]
    count = next((index for index, part in enumerate(parts) if part.type not in _OPERATOR_WORDS), len(parts))
    words, rest = parts[:count], parts[count:]
    values: list[LarkToken | None] = [part for part in rest if part.type in _VALUE_TOKENS]
    if rule == "ranged" and len(values) == 1:
        values = [values[0], None] if rest[0] is values[0] else [None, values[0]]
    word = " ".join(part.type.lower() for part in words)
    return word, Span(words[0].start_pos or 0, words[-1].end_pos or 0), values


_OPERATOR_WORDS: Final = frozenset({"NOT", "IN", "LIKE", "BETWEEN", "IS", "NULL"})
_VALUE_TOKENS: Final = frozenset({"WORD", "STAR", "BY", "ASC", "DESC", "STRING", "VARIABLE"})


def _literal(token: LarkToken) -> Literal:
    # A plain str: lark's tokens compare slowly, and criteria outlive them.
    text, start = str(token), token.start_pos or 0
    if token.type != "STRING":
        return read_bare(text, start)
    # A quote that was put where one is missing stands nowhere.
    return read_quoted(text, start)._replace(span=_span(token))


def _notice_comma(literal: Literal | None) -> Problem | None:
    """That a name stands there as lists show it, `García, Ada`, which is one part of a stored name."""
    if literal is None or literal.style is not Style.QUOTED or not isinstance(literal.value, str):
        return None
    family, _, given = (part.strip() for part in literal.value.partition(","))
    if not (family and given) or "," in given or any(sign in literal.value for sign in '^"\\'):
        return None
    stored, (start, end) = f'"{family}^{given}"', literal.span
    message = f"a comma is part of a name here; family and given name are parted by ^, as in {stored}"
    return Problem("name_with_comma", message, start, end, (), (stored,), Fix(start, end, stored))


def _unknown(code: str, message: str, name: LarkToken) -> Problem:
    span = _span(name)
    suggestions = near_names(name, SPELLINGS)
    fix = Fix(span.start, span.end, suggestions[0]) if suggestions else None
    return Problem(code, message + did_you_mean(suggestions), span.start, span.end, ("a field",), suggestions, fix)


def _tree(child: _Node | LarkToken) -> _Node:
    assert isinstance(child, Tree)
    return child


def _token(child: _Node | LarkToken) -> LarkToken:
    assert isinstance(child, LarkToken)
    return child


def _span(token: LarkToken) -> Span:
    return Span(token.start_pos or 0, token.end_pos or 0)
