"""What may come next at a position of a query, also of one that is broken before it.

The grammar says which kinds of words are accepted there; the table of fields says which of them fit. Every completion
replaces a range, so that it is right in the middle of a word, in quotes and in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from grammar.fields import FIELDS, SEXES, TIERS, Field, FieldType, find_field
from grammar.parser import Expectation, expect, lex
from grammar.printer import write_text
from grammar.reading import MAX_LENGTH
from grammar.recovery import WORDS, Token
from grammar.values import KEYWORDS

#: The fields whose values a data store may list, since they are few.
LISTED: Final = ("DICOMSeriesModality", "DICOMSeriesBodyPart")

_OPERATORS: Final = {
    "=": "equal to",
    "!=": "unequal to, or missing",
    "<": "before, or less than",
    "<=": "up to the end of, or at most",
    ">": "after, or greater than",
    ">=": "from the start of, or at least",
    "in": "one of a list: in (A, B)",
    "not in": "none of a list: not in (A, B)",
    "like": "matches a pattern: * any text, ? one character",
    "not like": "does not match a pattern",
    "between": "in a range, both ends inside: A..B",
    "not between": "outside a range",
    "is null": "missing or empty",
    "is not null": "present",
}
_DATES: Final = {
    "today": "the whole of today",
    "yesterday": "the whole of yesterday",
    "today-7d": "the day a week ago",
    "today-1mo": "the day a month ago",
    "today-1y": "the day a year ago",
    "tomorrow": "the whole of tomorrow",
}
_MOMENTS: Final = {"now": "this moment", "now-1h": "an hour ago", "now-24h": "24 hours ago"}
_RANGES: Final = {
    "today-7d..today": "the last 7 days",
    "today-1mo..today": "the last month",
    "today-1y..today": "the last year",
}
_CONNECTIVES: Final = {
    "AND": ("and", "both conditions hold"),
    "OR": ("or", "one of the conditions holds"),
    "SORT": ("sort", "the order of the results"),
}
_DIRECTIONS: Final = {"ASC": ("asc", "lowest first"), "DESC": ("desc", "highest first")}


#: The tokens that are typed letter by letter, and replaced as a whole.
_WORDS: Final = WORDS | KEYWORDS | {"STRING", "UNTERMINATED", "COMPARATOR", "WRONG_OPERATOR"}


@dataclass(frozen=True, slots=True)
class Completion:
    """One thing that may be written: put `insert` in place of `[start, end)`, in code points.

    `kind` is one of field, operator, value, date, keyword and direction.
    """

    label: str
    insert: str
    start: int
    end: int
    kind: str
    description: str


@dataclass(frozen=True, slots=True)
class _Offer:
    """A completion before it has a place; `spellings` are what its beginning may be typed as."""

    label: str
    kind: str
    description: str
    spellings: tuple[str, ...] = ()


def complete(text: str, position: int, values: Callable[[str], Iterable[str]] | None = None) -> list[Completion]:
    """The completions at a position (clamped to the text), best first; none in a text that is too long for a query.

    `values` answers the values that a data store holds of a field of `LISTED`.
    """
    if len(text) > MAX_LENGTH:
        return []
    position = max(0, min(position, len(text)))
    before, word, after = _split(lex(text), position)
    typed = text[word.start : position]
    quoted = typed[:1] in ('"', "'")
    expectation = expect(text[: word.start], before)
    offers = _offers(expectation, values or _no_values, quoted=quoted)
    if after.type in ("DOTDOT", "AND"):
        offers = [offer for offer in offers if offer.label not in _RANGES]
    stem = typed.lstrip("\"'").lower()
    return [
        Completion(offer.label, _insert(offer), word.start, word.end, offer.kind, offer.description)
        for offer in _matching(offers, stem)
    ]


def _no_values(_: str) -> tuple[str, ...]:
    return ()


def _split(tokens: Sequence[Token], position: int) -> tuple[list[Token], Token, Token]:
    """The tokens before the word at the position, that word (empty where none is), and the token behind it.

    A word is at a position that it begins at, too, unless another one ends there.
    """
    nothing = Token("", "", position, position)
    for index, token in enumerate(tokens):
        inside = token.start < position <= token.end or (token.start == position and token.type in _WORDS)
        if inside and token.type in _WORDS and (token.type != "COMPARATOR" or position < token.end):
            return list(tokens[:index]), token, (*tokens[index + 1 : index + 2], nothing)[0]
        if token.start >= position:
            return list(tokens[:index]), nothing, token
    return list(tokens), nothing, nothing


def _matching(offers: Iterable[_Offer], stem: str) -> list[_Offer]:
    """Those that begin with what is typed, then those that hold it."""
    ranked: list[tuple[int, _Offer]] = []
    for offer in offers:
        spellings = [spelling.lower() for spelling in (offer.label, *offer.spellings)]
        if offer.kind == "field":
            stem = stem.replace("_", "")
        if any(spelling.startswith(stem) for spelling in spellings):
            ranked.append((0, offer))
        elif len(stem) > 1 and any(stem in spelling for spelling in spellings):
            ranked.append((1, offer))
    return [offer for _, offer in sorted(ranked, key=lambda pair: pair[0])]


def _insert(offer: _Offer) -> str:
    return write_text(offer.label) if offer.kind == "value" else offer.label


def _offers(expectation: Expectation, values: Callable[[str], Iterable[str]], *, quoted: bool) -> list[_Offer]:
    accepted, begun = expectation.accepted, expectation.begun
    field = find_field(begun[0].text) if begun else None
    if "STRING" in accepted:
        return _value_offers(field, begun, values)
    if quoted:
        return []
    offers = _state_offers(accepted, field)
    if "DOTDOT" not in accepted:
        words = [(terminal, "keyword", *entry) for terminal, entry in _CONNECTIVES.items()]
        # Where a field may stand, "asc" and "desc" are words like any other.
        directions = {} if "NOT" in accepted else _DIRECTIONS
        words += [(terminal, "direction", *entry) for terminal, entry in directions.items()]
        offers += [_Offer(word, kind, text) for terminal, kind, word, text in words if terminal in accepted]
    if "RPAR" in accepted:
        offers.append(_Offer(")", "keyword", "the end of the list or group"))
    return offers


def _state_offers(accepted: frozenset[str], field: Field | None) -> list[_Offer]:
    """What fits the place, by the terminals that only this kind of place accepts."""
    if {"NOT", "LPAR"} <= accepted:
        not_ = _Offer("not", "keyword", "the condition does not hold")
        return [*_field_offers(), not_, _Offer("(", "keyword", "a group of conditions")]
    if "COMPARATOR" in accepted:
        return _operator_offers(field) if field else []
    if "LIKE" in accepted:
        return [_Offer(word, "operator", _OPERATORS[f"not {word}"]) for word in ("in", "like", "between")]
    if "NULL" in accepted:
        present = [_Offer("not null", "keyword", "present")] if "NOT" in accepted else []
        return [_Offer("null", "keyword", "missing or empty"), *present]
    if "WORD" in accepted:
        return _field_offers()
    if "DOTDOT" in accepted:
        return [_Offer("..", "operator", "up to"), _Offer("and", "keyword", "up to")]
    return [_Offer("(", "operator", "a list of values")] if "VARIABLE" in accepted else []


def _field_offers() -> list[_Offer]:
    return [
        _Offer((*field.aliases, field.name)[0], "field", field.description, (*field.aliases, field.name))
        for field in FIELDS
    ]


def _operator_offers(field: Field) -> list[_Offer]:
    return [
        _Offer(word, "operator", description)
        for word, description in _OPERATORS.items()
        if ("is" if word.startswith("is") else word.removeprefix("not ")) in field.operators
    ]


def _value_offers(field: Field | None, begun: Sequence[Token], values: Callable[[str], Iterable[str]]) -> list[_Offer]:
    if field is None:
        return []
    match field.type:
        case FieldType.BOOLEAN:
            return [_Offer(word, "value", field.description) for word in ("true", "false")]
        case FieldType.SEX:
            words = {"F": "female", "M": "male", "O": "other"}
            return [_Offer(sex, "value", words[sex], (words[sex],)) for sex in SEXES]
        case FieldType.TIER:
            return [_Offer(short, "value", name, (name,)) for short, name in TIERS.items()]
        case FieldType.INSTANT | FieldType.WALL_CLOCK | FieldType.DATE:
            return _date_offers(field, begun)
        case _ if field.name in LISTED and begun[-1].type != "LIKE":
            return [_Offer(value, "value", field.description) for value in values(field.name)]
        case _:
            return []


def _date_offers(field: Field, begun: Sequence[Token]) -> list[_Offer]:
    types = [token.type for token in begun]
    dates = dict(_DATES)
    if types[-1] == "BETWEEN":
        dates = _RANGES | dates
    comparator = next((token.text for token in begun if token.type == "COMPARATOR"), "")
    if field.type is not FieldType.DATE and comparator not in ("=", "!=") and "IN" not in types:
        dates |= _MOMENTS
    return [_Offer(date, "date", description) for date, description in dates.items()]
