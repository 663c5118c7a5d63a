"""The `filter` and `orderBy` inputs, made from the table of fields, and the criteria that they mean.

Everything given must hold. What a forgotten variable leaves behind (null, an empty object or list, a variable without a
value) is refused anywhere inside a filter, because it must never widen a search; only `{}` as the whole filter is every
image set. A value means what the same value means as a `$variable` of the query language.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, EnumType
from keyword import iskeyword
from types import MappingProxyType
from typing import Final

import strawberry
from graphql import ListValueNode, Node, ObjectValueNode, VariableNode

from grammar.criteria import Condition, Everything, SortKey, conjunction, disjunction, negation
from grammar.fields import FIELDS, OPERATORS, Field, FieldType
from grammar.parser import MAX_COMPARISONS, MAX_DEPTH
from grammar.problems import MAX_PROBLEMS, Problem, QueryError
from grammar.reading import MAX_VALUES, compare
from graphql_service.api.types import StorageTier


def input_name(canonical: str) -> str:
    """The field's name in inputs: `DICOMStudyInstanceUID` is `studyInstanceUid`."""
    name = canonical.removeprefix("DICOM").replace("UID", "Uid")
    return name[:1].lower() + name[1:]


def _make_input(name: str, description: str, fields: Mapping[str, tuple[object, str]]) -> type:
    """An input type whose fields (by name: type, description) may all be left out."""
    annotations = {_attribute(field_name): kind for field_name, (kind, _) in fields.items()}
    defaults = {
        _attribute(field_name): strawberry.field(name=field_name, description=text, default=strawberry.UNSET)
        for field_name, (_, text) in fields.items()
    }
    made = type(name, (), {"__module__": __name__, "__doc__": description, "__annotations__": annotations, **defaults})
    return strawberry.input(made, description=description)


def _sentence(description: str) -> str:
    return f"{description[:1].upper()}{description[1:]}."


def _attribute(name: str) -> str:
    """The attribute of an input object that holds this field of it."""
    return f"{name}_" if iskeyword(name) else name


def _given(value: object) -> dict[str, object]:
    """What an input object holds, by the names of its fields."""
    return {name.removesuffix("_"): content for name, content in vars(value).items() if content is not strawberry.UNSET}


_WILDCARDS: Final = r"`*` is any text, `?` any one character; `\*`, `\?` and `\\` are these characters themselves"

#: The operators of the inputs: the language's word for each, what it holds, and its description.
_OPERATORS: Final[dict[str, tuple[str, str]]] = {
    "eq": ("=", "Equal to this."),
    "ne": ("!=", "Anything but this, missing values too."),
    "in": ("in", f"Equal to one of these, {MAX_VALUES} at most."),
    "notIn": ("not in", "Equal to none of these, missing values too."),
    "like": ("like", f"Matches this pattern: {_WILDCARDS}."),
    "notLike": ("not like", f"Does not match this pattern, missing values too: {_WILDCARDS}."),
    "lt": ("<", "Before this, or less."),
    "le": ("<=", "Not after this, or at most this."),
    "gt": (">", "After this, or more."),
    "ge": (">=", "Not before this, or at least this."),
    "between": ("between", "In this range, both ends included."),
    "isNull": ("is", "True: missing or empty. False: present."),
}

_PERIOD: Final = "A date names a period, which `eq` holds as a whole"
_MOMENTS: Final = f"{_PERIOD}: `2024`, `2024-03`, `2024-03-11`, `2024-03-11T10:30`, `today-7d`, `now-90min`"

_PERIOD_RANGE: Final = _make_input(
    "PeriodRange",
    "A range of dates. An end that is left out is open; one of them must be given.",
    {
        "from": (str | None, "From the start of the period that this date names."),
        "to": (str | None, "To the end of the period that this date names, so that a day is in it as a whole."),
    },
)
_INTEGER_RANGE: Final = _make_input(
    "IntegerRange",
    "A range of whole numbers. An end that is left out is open; one of them must be given.",
    {"from": (int | None, "From this number on, itself included."), "to": (int | None, "Up to and including this.")},
)

#: Per type of field the name of its filter input, the type of a value in it, and what it says of values.
_FILTERS: Final[dict[FieldType, tuple[str, type, str]]] = {
    FieldType.ID: ("IdFilter", str, "Compares an identifier, as written; case counts."),
    FieldType.UID: ("UidFilter", str, "Compares a DICOM UID: digits and single dots between them."),
    FieldType.PERSON_NAME: (
        "PersonNameFilter",
        str,
        "Compares a person's name without case and accents: any one component of it, or `^`-parted ones in place.",
    ),
    FieldType.TEXT: ("TextFilter", str, "Compares a text without case and accents."),
    FieldType.CODE: ("CodeFilter", str, "Compares a DICOM code string in upper case."),
    FieldType.SEX: ("SexFilter", str, "Compares the patient's sex: M, F or O, or what odd data holds."),
    FieldType.TIER: ("StorageTierFilter", StorageTier, "Compares the storage tier."),
    FieldType.BOOLEAN: ("BooleanFilter", bool, "Compares true and false; a missing value is neither."),
    FieldType.INSTANT: ("InstantFilter", str, f"Compares an instant. {_MOMENTS}; without a zone, in the search's."),
    FieldType.WALL_CLOCK: (
        "DateAndTimeFilter",
        str,
        f"Compares a date and time on the scanner's clock. {_MOMENTS}; zones are refused.",
    ),
    FieldType.DATE: (
        "DateFilter",
        str,
        f"Compares a calendar day. {_PERIOD}: `1999`, `1999-11`, `1999-11-22`, `today-18y`; a time is refused.",
    ),
    FieldType.INTEGER: ("IntegerFilter", int, "Compares a whole number."),
}


def _make_filter(kind: FieldType) -> type:
    name, value, description = _FILTERS[kind]
    shapes: dict[str, object] = {
        "in": list[value] | None,  # type: ignore[valid-type]  # the type is data here
        "between": (_INTEGER_RANGE if kind is FieldType.INTEGER else _PERIOD_RANGE) | None,
        "is": bool | None,
    }
    operators = {
        operator: (shapes.get(word.removeprefix("not "), value | None), text)
        for operator, (word, text) in _OPERATORS.items()
        if word.removeprefix("not ") in OPERATORS[kind]
    }
    return _make_input(name, f"{description} What is given together must all hold.", operators)


_TYPE_FILTERS: Final = {kind: _make_filter(kind) for kind in FieldType}
_FIELD_BY_INPUT: Final[Mapping[str, Field]] = MappingProxyType({input_name(known.name): known for known in FIELDS})

ImageSetFilter: Final = _make_input(
    "ImageSetFilter",
    "Which image sets: everything given must hold. `{}` as the whole filter is every image set; anywhere inside it"
    " null, an empty object or list and a variable without a value are refused: nothing forgotten may widen a search."
    f" At most {MAX_DEPTH} levels of `and`, `or` and `not`, and {MAX_COMPARISONS} comparisons.",
    {name: (_TYPE_FILTERS[known.type] | None, _sentence(known.description)) for name, known in _FIELD_BY_INPUT.items()}
    | {
        "and": ("list[ImageSetFilter] | None", "All of these."),
        "or": ("list[ImageSetFilter] | None", "At least one of these."),
        "not": ("ImageSetFilter | None", "Everything but this: the exact complement, missing values too."),
    },
)


def read_filter(
    given: object, written: Node | None = None, variables: Mapping[str, object] = MappingProxyType({})
) -> Condition:
    """The condition that an `ImageSetFilter` means; None is every image set.

    `written` is the argument as it stands in the document and `variables` are those that have a value: one without
    leaves no trace in `given`. Raises QueryError, whose problems name the place in the filter.
    """
    reader = _FilterReader()
    for path, name in _variables_within(written, "filter"):
        if name not in variables:
            reader.refuse("unbound_parameter", path, f"the variable ${name} has no value")
    condition = Everything() if given is None else reader.read(given, "filter", 0)
    if reader.problems:
        raise QueryError("", reader.problems)
    return condition


def _variables_within(node: Node | None, path: str) -> Iterator[tuple[str, str]]:
    """Each variable inside an object or a list of the document, with its place. The whole may well be a variable."""
    match node:
        case ObjectValueNode(fields=fields):
            children = [(f"{path}.{child.name.value}", child.value) for child in fields]
        case ListValueNode(values=values):
            children = [(f"{path}[{index}]", child) for index, child in enumerate(values)]
        case _:
            children = []
    for place, child in children:
        if isinstance(child, VariableNode):
            yield place, child.name.value
        else:
            yield from _variables_within(child, place)


@dataclass(slots=True)
class _FilterReader:
    """Reads one filter, gathering the problems in it, as many as a query may have."""

    problems: list[Problem] = field(default_factory=list)
    comparisons: int = 0

    def refuse(self, code: str, path: str, message: str) -> None:
        self.gather([Problem(code, f"{path}: {message}", 0, 0)])

    def gather(self, problems: Iterable[Problem]) -> None:
        """Add problems. Raises QueryError where no more are gathered: what is far too large is read no further."""
        self.problems += problems
        if len(self.problems) >= MAX_PROBLEMS or self.comparisons > MAX_COMPARISONS:
            raise QueryError("", self.problems[:MAX_PROBLEMS])

    def read(self, value: object, path: str, depth: int) -> Condition:
        given = _given(value)
        if depth > MAX_DEPTH:
            self.refuse("too_deep", path, f"a filter has at most {MAX_DEPTH} levels of 'and', 'or' and 'not'")
            return Everything()
        if depth and not given:
            self.refuse("missing_value", path, "it is empty: was a variable forgotten?")
        return conjunction([self._read_entry(name, value, f"{path}.{name}", depth) for name, value in given.items()])

    def _read_entry(self, name: str, value: object, path: str, depth: int) -> Condition:
        if value is None:
            self._refuse_null(path)
            return Everything()
        if name == "not":
            return negation(self.read(value, path, depth + 1))
        if name in ("and", "or"):
            assert isinstance(value, list)
            if not value:
                self.refuse("empty_list", path, "the list is empty: it must hold at least one filter")
                return Everything()
            children = [self.read(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
            return conjunction(children) if name == "and" else disjunction(children)
        return self._read_comparisons(_FIELD_BY_INPUT[name], value, path)

    def _read_comparisons(self, known: Field, value: object, path: str) -> Condition:
        given = _given(value)
        if not given:
            self.refuse("missing_value", path, "it is empty: was a variable forgotten?")
        return conjunction([self._compare(known, name, operand, f"{path}.{name}") for name, operand in given.items()])

    def _compare(self, known: Field, operator: str, value: object, path: str) -> Condition:
        self.comparisons += 1
        if self.comparisons == MAX_COMPARISONS + 1:
            self.refuse("too_many_comparisons", path, f"a filter has at most {MAX_COMPARISONS} comparisons")
        word = _OPERATORS[operator][0]
        if word == "is":
            word = "is null" if value else "is not null"
        if value is None:
            self._refuse_null(path)
            return Everything()
        try:
            return compare(known, word, self._literal(word, value, path))
        except QueryError as error:
            self.gather(
                replace(problem, message=f"{path}: {problem.message}", start=0, end=0, fix=None)
                for problem in error.problems
            )
            return Everything()

    def _literal(self, word: str, value: object, path: str) -> object:
        """The operand as the language's `compare` takes it."""
        if word == "between":
            ends = _given(value)
            for name, end in ends.items():
                if end is None:
                    self._refuse_null(f"{path}.{name}")
            return ends.get("from"), ends.get("to")
        if isinstance(value, list):
            return [item.value if isinstance(item, Enum) else item for item in value]
        return value.value if isinstance(value, Enum) else value

    def _refuse_null(self, path: str) -> None:
        self.refuse("use_is_null", path, "null compares with nothing: leave it out, or use isNull")


@strawberry.enum(description="The direction of an order.")
class OrderDirection(Enum):
    """The direction of an order."""

    ASC = strawberry.enum_value("ASC", description="Upwards; missing values come first.")
    DESC = strawberry.enum_value("DESC", description="Downwards; missing values come last.")


def field_value(known: Field) -> tuple[str, object]:
    """A field as a value of an enum, with its name there: `DICOMStudyInstanceUID` is `STUDY_INSTANCE_UID`."""
    name = re.sub(r"(?=[A-Z])", "_", input_name(known.name)).upper()
    return name, strawberry.enum_value(known.name, description=_sentence(known.description))


def _make_order_field() -> EnumType:
    """An enum of the fields; written as a call, since its members are data."""
    members = EnumType.__prepare__("ImageSetOrderField", (Enum,))
    for known in FIELDS:
        name, value = field_value(known)
        members[name] = value
    return EnumType("ImageSetOrderField", (Enum,), members)


ImageSetOrderField: Final = strawberry.enum(
    _make_order_field(), description="What image sets can be ordered by: every field of the query language."
)


@strawberry.input(description="One key of an order. Ties go by the image set's id, in the last key's direction.")
class ImageSetOrder:
    """One key of an order."""

    field: Enum = strawberry.field(description="What to order by.", graphql_type=ImageSetOrderField)
    direction: OrderDirection = strawberry.field(description="In which direction.", default=OrderDirection.ASC)


def read_order(order_by: Sequence[ImageSetOrder] | None) -> tuple[SortKey, ...]:
    """The sort keys that `orderBy` means."""
    return tuple(SortKey(key.field.value, key.direction is OrderDirection.DESC) for key in order_by or ())
