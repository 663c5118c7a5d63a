"""What an operation may cost: how many fields its answer may hold, by the page sizes that it asks for.

A field counts 1, or its weight, and what is selected below a list once for each row that it may answer with: `first` or
`last` for the lists of a connection, 50 where it has neither, as many as there are `ids` for `nodes`, 10 for any other
list. Where a fragment is spread twice in one place it is answered once; `@skip` and `@include` change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    value_from_ast_untyped,
)

from graphql_service.paging import DEFAULT_PAGE
from graphql_service.settings import PAGE_LIMIT

#: What a field is worth that is not answered by a value at hand: a search of its own, a document, a row's every tag.
WEIGHTS: Final[Mapping[str, int]] = {"totalCount": 100, "metadata": 500, "versions": 10, "dicomTags": 10}
#: How many rows a list is taken to have that says nothing of it.
_LISTED: Final = 10

Variables: TypeAlias = Mapping[str, object]
#: How many rows a field asks for; by the variables, where their values say so.
Rows: TypeAlias = int | Callable[[Variables], int]


@dataclass(frozen=True, slots=True)
class Cost:
    """So many fields whatever the variables are, and for each term so many times another cost."""

    fixed: int
    terms: tuple[tuple[Callable[[Variables], int], Cost], ...] = ()

    def of(self, variables: Variables) -> int:
        """The cost with these variables, as they were sent: one of a wrong type counts as left out."""
        return self.fixed + sum(rows(variables) * cost.of(variables) for rows, cost in self.terms)

    def plus(self, other: Cost) -> Cost:
        """Both."""
        return Cost(self.fixed + other.fixed, self.terms + other.terms)

    def times(self, rows: Rows) -> Cost:
        """For so many rows."""
        if callable(rows):
            return Cost(0, ((rows, self),))
        return Cost(rows * self.fixed, tuple((_times(rows, each), cost) for each, cost in self.terms))


def _times(rows: int, each: Callable[[Variables], int]) -> Callable[[Variables], int]:
    return lambda variables: rows * each(variables)


def measure_cost(
    schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Cost:
    """The cost of an operation in a valid document."""
    root = schema.get_root_type(operation.operation)
    assert root is not None
    defaults = {
        definition.variable.name.value: value_from_ast_untyped(definition.default_value)
        for definition in operation.variable_definitions or ()
        if definition.default_value is not None
    }
    return _Costs(schema, fragments, defaults).of(root, operation.selection_set).once


@dataclass(frozen=True, slots=True)
class _Shares:
    """What selections of a type cost: `once` for an object and, of a connection's lists, `each` for every row."""

    once: Cost = Cost(0)
    each: Cost = Cost(0)

    def plus(self, other: _Shares) -> _Shares:
        return _Shares(self.once.plus(other.once), self.each.plus(other.each))


class _Costs:
    """Measures the selection sets of one operation; each fragment once, however often it is spread."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], defaults: Variables
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._defaults = defaults
        self._known: dict[str, _Shares] = {}

    def of(self, parent: GraphQLCompositeType, selection_set: SelectionSetNode) -> _Shares:
        """What the selections of a type cost."""
        shares = _Shares()
        spread: set[str] = set()
        for selection in selection_set.selections:
            match selection:
                case FieldNode():
                    shares = shares.plus(self._of_field(parent, selection))
                case InlineFragmentNode():
                    condition = selection.type_condition
                    kind = parent if condition is None else self._type(condition.name.value)
                    shares = shares.plus(self.of(kind, selection.selection_set))
                case FragmentSpreadNode() if selection.name.value not in spread:
                    spread.add(selection.name.value)
                    shares = shares.plus(self._of_fragment(selection.name.value))
                case _:
                    pass
        return shares

    def _of_fragment(self, name: str) -> _Shares:
        if name not in self._known:
            fragment = self._fragments[name]
            self._known[name] = self.of(self._type(fragment.type_condition.name.value), fragment.selection_set)
        return self._known[name]

    def _of_field(self, parent: GraphQLCompositeType, node: FieldNode) -> _Shares:
        own = Cost(WEIGHTS.get(node.name.value, 1))
        if node.selection_set is None:
            return _Shares(own)
        field = self._schema.get_field(parent, node.name.value)
        assert field is not None
        below = self.of(cast("GraphQLCompositeType", get_named_type(field.type)), node.selection_set)
        is_list = is_list_type(get_nullable_type(field.type))
        if is_list and parent.name.endswith("Connection"):
            return _Shares(each=own.plus(below.once))
        if is_list:
            return _Shares(own.plus(below.once.times(self._rows(node, _LISTED))))
        return _Shares(own.plus(below.once).plus(below.each.times(self._rows(node, DEFAULT_PAGE))))

    def _rows(self, node: FieldNode, default: int) -> Rows:
        """How many rows a field may answer with; `default` where its arguments do not say."""
        given = [each.value for each in node.arguments or () if each.name.value in ("first", "last", "ids")]
        if not any(isinstance(value, VariableNode) for value in given):
            return _count(map(value_from_ast_untyped, given), default)
        readers = [self._reader(value) for value in given]
        return lambda variables: _count((read(variables) for read in readers), default)

    def _reader(self, value: ValueNode) -> Callable[[Variables], object]:
        if isinstance(value, VariableNode):
            name, default = value.name.value, self._defaults.get(value.name.value)
            return lambda variables: variables.get(name, default)
        written = value_from_ast_untyped(value)
        return lambda _: written

    def _type(self, name: str) -> GraphQLCompositeType:
        return cast("GraphQLCompositeType", self._schema.type_map[name])


def _count(given: Iterable[object], default: int) -> int:
    """The largest count among the values, or `default`. A page that is larger than any may be is refused elsewhere.

    GraphQL takes 5.0 for 5 as the value of a variable.
    """
    values = tuple(given)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    counts = [int(min(value, PAGE_LIMIT)) for value in numbers]
    counts += [len(value) for value in values if isinstance(value, list)]
    return max(0, *counts) if counts else default
