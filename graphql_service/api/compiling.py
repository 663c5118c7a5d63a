"""Compiled searches: a query for `imageSets` alone as one function, from rows of the selected columns to the answer.

GraphQL's executor completes each field of each row by itself, which costs ten times what the store does. What a
document selects is known once it is read, so that here it becomes a plan, kept with the document: which columns to
read, and how a column of values becomes the rows' fields. An answer, its errors too, is that of the executor, word for
word; whatever a plan does not cover (directives, other fields, a page between two cursors, a store that answers with
whole image sets) is left to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, cast

from anyio.to_thread import run_sync
from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLList,
    GraphQLObjectType,
    GraphQLOutputType,
    InlineFragmentNode,
    IntValueNode,
    NamedTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    StringValueNode,
    VariableNode,
    get_argument_values,
    get_named_type,
    get_nullable_type,
    get_variable_values,
    is_abstract_type,
    located_error,
)
from strawberry.types import get_object_definition
from strawberry.types.arguments import convert_arguments

from graphql_service import searching
from graphql_service.api.arguments import check_cursors, make_search, written_argument
from graphql_service.api.columns import COLUMNS, keep
from graphql_service.api.context import Context
from graphql_service.api.errors import describe_error
from graphql_service.api.resolvers import Query
from graphql_service.api.schema import schema
from graphql_service.api.types import INT_LIMIT, read_count, read_report
from graphql_service.deadlines import do_briefly
from graphql_service.paging import ColumnPage, read_page_request
from graphql_service.stores.base import ColumnStore

_FIELD: Final = "imageSets"
#: A longer query is not read where other requests wait.
_LONG_QUERY: Final = 1_000
#: As many faults of variables as the executor tells: they are told by it.
_FAULTS: Final = 50

_QUERY: Final = cast("GraphQLObjectType", schema.graphql_schema.query_type)
_DEFINITION: Final = _QUERY.fields[_FIELD]
_ARGUMENTS: Final = next(
    field.arguments for field in get_object_definition(Query, strict=True).fields if field.python_name == "image_sets"
)

_NAMES: Final = {schema.config.name_converter.from_argument(each): each.python_name for each in _ARGUMENTS}


class _Found(NamedTuple):
    """What the parts of an answer are made of; `query` is the text that notices point into."""

    page: ColumnPage
    datastore_id: str
    query: str


_Read: TypeAlias = Callable[[Any], object]
_Rows: TypeAlias = Callable[[ColumnPage, Mapping[str, Sequence[Any]], str], list[dict[str, object]]]
#: A part of a connection; the count has none, since it is waited for.
_Part: TypeAlias = Callable[[_Found], object] | None


class _NotCovered(Exception):
    """A selection that is left to the executor."""


@dataclass(frozen=True, slots=True)
class _PlainArguments:
    """Arguments that need no coercion as long as each variable has a value of exactly its type: nearly all there are.

    `variables` are the operation's, with what fits them; `literals` and `given` the arguments by their Python names, as
    values and as names of variables.
    """

    variables: Mapping[str, Callable[[object], bool]]
    literals: Mapping[str, object]
    given: Mapping[str, str]

    def read(self, values: Mapping[str, object]) -> dict[str, Any] | None:
        """The arguments; None where a variable's value is not plainly right."""
        for name, fits in self.variables.items():
            value = values.get(name)
            if value is not None and not fits(value):
                return None
        return {**self.literals, **{name: values[given] for name, given in self.given.items() if given in values}}


def _read_plainly(operation: OperationDefinitionNode, field: FieldNode) -> _PlainArguments | None:
    """The arguments of a field if all are texts or numbers, or variables without a default; else None."""
    variables = {}
    for definition in operation.variable_definitions or ():
        kind = definition.type
        fits = _FITTING.get(kind.name.value) if isinstance(kind, NamedTypeNode) else None
        if fits is None or definition.default_value is not None:
            return None
        variables[definition.variable.name.value] = fits
    literals: dict[str, object] = {}
    given = {}
    for node in field.arguments or ():
        argument, kind = _NAMES[node.name.value], get_named_type(_DEFINITION.args[node.name.value].type)
        match node.value:
            case VariableNode(name=name):
                given[argument] = name.value
            case StringValueNode(value=text) if kind.name in ("String", "ID"):
                literals[argument] = text
            case IntValueNode(value=digits) if kind.name == "Int" and _fits_int(int(digits)):
                literals[argument] = int(digits)
            case _:
                return None
    return _PlainArguments(variables, literals, given)


def _fits_int(value: object) -> bool:
    return type(value) is int and -INT_LIMIT <= value < INT_LIMIT


def _fits_text(value: object) -> bool:
    return type(value) is str


#: By type of a variable, which values are what the executor would make of them.
_FITTING: Final[Mapping[str, Callable[[object], bool]]] = {
    "Int": _fits_int,
    "String": _fits_text,
    "ID": _fits_text,
    "JSON": lambda _: True,
}


@dataclass(frozen=True, slots=True)
class CompiledSearch:
    """A plan: the field's nodes under its name in the answer, the fields to read, and the parts of the connection.

    Each part comes with its nodes; `read_count` makes a count what is selected of it.
    """

    operation: OperationDefinitionNode
    key: str
    nodes: list[FieldNode]
    arguments: _PlainArguments | None
    fields: tuple[str, ...]
    parts: Mapping[str, tuple[list[FieldNode], _Part]]
    read_counts: Mapping[str, _Read]

    async def answer(self, context: Context, variables: Mapping[str, object]) -> ExecutionResult | None:
        """The executor's result, its errors with their codes; None where the executor has to find it."""
        if not context.store.capabilities.columns:
            return None
        plain = self.arguments.read(variables) if self.arguments is not None else None
        coerced = (plain, {}) if plain is not None else self._coerce(variables)
        if coerced is None:
            return None
        given, values = coerced
        if given.get("before" if given.get("last") is None else "after") is not None:
            return None
        path: list[str | int] = [self.key]
        nodes = self.nodes
        try:
            found, inquiry = await self._search(context, values, **given)
            data = {}
            count: searching.TotalCount | None = None
            for key, (part_nodes, part) in self.parts.items():
                if part is not None:
                    data[key] = part(found)
                    continue
                path, nodes = [self.key, key], part_nodes
                if count is None:  # it costs the same each time it is selected
                    count = await run_sync(partial(searching.count, context.store, inquiry, now=found.page.dated))
                data[key] = self.read_counts[key](read_count(count))
        except Exception as error:  # noqa: BLE001 - as the executor does: whatever it is, it is told of this field
            return ExecutionResult(None, [describe_error(located_error(error, nodes, path), executing=True)])
        return ExecutionResult({self.key: data})

    def _coerce(self, variables: Mapping[str, object]) -> tuple[dict[str, Any], Mapping[str, object]] | None:
        """The field's arguments and the variables, as GraphQL and Strawberry make them; None where they refuse them."""
        values = get_variable_values(
            schema.graphql_schema, self.operation.variable_definitions or (), dict(variables), _FAULTS
        )
        if isinstance(values, list):
            return None
        try:
            arguments = get_argument_values(_DEFINITION, self.nodes[0], values)
        except GraphQLError:
            return None
        registry = schema.schema_converter.scalar_registry
        return convert_arguments(arguments, _ARGUMENTS, registry, schema.config), values.coerced

    async def _search(
        self,
        context: Context,
        values: Mapping[str, object],
        datastore_id: str | None = None,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        **search: Any,  # noqa: ANN401 - what Strawberry has made of the arguments
    ) -> tuple[_Found, searching.Inquiry]:
        """As `resolvers.search_image_sets` does."""
        store = cast("ColumnStore", context.store)
        check_cursors(context, after, before)
        page_request = read_page_request(first, last, after, before, context.max_page)
        ask = make_search(written_argument(self.nodes[0], "filter"), values, **search)

        def find() -> tuple[ColumnPage, searching.Inquiry]:
            with store.sharing():
                inquiry = ask(searching.choose_datastore(store, datastore_id).datastore_id)
                return searching.search_columns(store, inquiry, page_request, self.fields), inquiry

        page, inquiry = await (do_briefly(find) if len(search.get("query") or "") <= _LONG_QUERY else run_sync(find))
        context.readings.append(searching.read_of(_FIELD, inquiry, page))
        return _Found(page, inquiry.datastore_id, inquiry.query), inquiry


def compile_search(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> CompiledSearch | None:
    """The plan of an operation of a valid document; None where there is none."""
    try:
        return _Compiler(fragments).compile(operation)
    except _NotCovered:
        return None


class _Compiler:
    """Compiles one operation, gathering the fields that it reads."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._fields: dict[str, None] = {}

    def compile(self, operation: OperationDefinitionNode) -> CompiledSearch:
        if operation.operation is not OperationType.QUERY or operation.directives:
            raise _NotCovered
        [(key, nodes), *others] = self._collect(_QUERY, [operation.selection_set]).items()
        if others or nodes[0].name.value != _FIELD:
            raise _NotCovered
        kind = cast("GraphQLObjectType", get_named_type(_DEFINITION.type))
        parts: dict[str, tuple[list[FieldNode], _Part]] = {}
        counts = {}
        for name, below in self._collect(kind, _inner(nodes)).items():
            if below[0].name.value == "totalCount":
                parts[name] = below, None
                counts[name] = self._value(kind.fields["totalCount"].type, below)
            else:
                parts[name] = below, self._part(kind, below)
        arguments = _read_plainly(operation, nodes[0])
        return CompiledSearch(operation, key, nodes, arguments, tuple(self._fields), parts, counts)

    def _collect(self, kind: GraphQLObjectType, sets: Iterable[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        """The fields of an object, at least one, by their names in the answer."""
        found = self._find_fields(kind, sets)
        if not found:  # graphql-core lets braces be empty
            raise _NotCovered
        return found

    def _find_fields(self, kind: GraphQLObjectType, sets: Iterable[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        """In the order in which each name first appears."""
        found: dict[str, list[FieldNode]] = {}
        spread: set[str] = set()

        def collect(selection_set: SelectionSetNode) -> None:
            for selection in selection_set.selections:
                if selection.directives:
                    raise _NotCovered
                match selection:
                    case FieldNode():
                        key = selection.alias or selection.name
                        found.setdefault(key.value, []).append(selection)
                    case InlineFragmentNode(type_condition=condition):
                        if condition is None or _holds(condition.name.value, kind):
                            collect(selection.selection_set)
                    case FragmentSpreadNode() if selection.name.value not in spread:
                        spread.add(selection.name.value)
                        fragment = self._fragments[selection.name.value]
                        if _holds(fragment.type_condition.name.value, kind):
                            collect(fragment.selection_set)
                    case _:
                        pass

        for each in sets:
            collect(each)
        return found

    def _part(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> Callable[[_Found], object]:
        match nodes[0].name.value:
            case "__typename":
                return lambda _: kind.name
            case "pageInfo":
                page_info = self._value(kind.fields["pageInfo"].type, nodes)
                return lambda found: page_info(found.page)
            case "search":
                report = self._value(kind.fields["search"].type, nodes)
                return lambda found: report(read_report(found.page, found.query))
            case name:
                return self._rows(cast("GraphQLObjectType", get_named_type(kind.fields[name].type)), nodes)

    def _rows(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> Callable[[_Found], object]:
        """The objects of one type that the rows hold, all made by one expression out of the columns they need."""
        columns: list[str] = []
        makers: dict[str, object] = {"repeat": repeat, "zip": zip, "range": range}
        written = self._write_object(kind, nodes, columns, makers)
        names = "".join(f"value{number}, " for number in range(len(columns)))
        rows = f"lambda page, columns, datastore_id: [{written} for {names}in zip({', '.join(columns)}, strict=True)]"
        # Of our own words, and names of the document, which are letters and digits.
        make_rows = cast("_Rows", eval(rows, {"__builtins__": makers}))  # noqa: S307
        return lambda found: make_rows(found.page, found.page.columns.values, found.datastore_id)

    def _write_object(
        self, kind: GraphQLObjectType, nodes: list[FieldNode], columns: list[str], makers: dict[str, object]
    ) -> str:
        """A row's object as Python's text for it; the columns that it has values of are added to the others."""
        members = []
        for key, below in self._collect(kind, _inner(nodes)).items():
            name = below[0].name.value
            inner = None if name == "__typename" else get_named_type(kind.fields[name].type)
            if inner is not None and inner.name in COLUMNS:
                value = self._write_object(cast("GraphQLObjectType", inner), below, columns, makers)
            else:
                value = f"value{len(columns)}"
                columns.append(self._write_column(kind, name, makers))
            members.append(f"{key!r}: {value}")
        return f"{{{', '.join(members)}}}"

    def _write_column(self, kind: GraphQLObjectType, name: str, makers: dict[str, object]) -> str:
        """The values of one field for every row, as Python's text; what makes them is added to the others."""
        if name == "__typename":
            return f"repeat({kind.name!r}, page.columns.count)"
        if (kind.name, name) == ("ImageSetEdge", "cursor"):
            return "page.cursors.encode(range(page.columns.count))"
        if name not in COLUMNS.get(kind.name, {}):
            raise _NotCovered
        field, make = COLUMNS[kind.name][name]
        self._fields[field] = None
        if make is keep:
            return f"columns[{field!r}]"
        maker = f"make_{kind.name}_{name}"
        makers[maker] = make
        return f"{maker}(columns[{field!r}], datastore_id)"

    def _object(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> _Read:
        """What is selected of an object of the schema's own types, read from its attributes."""
        readers = [(key, self._attribute(kind, below)) for key, below in self._collect(kind, _inner(nodes)).items()]
        return lambda value: {key: read(value) for key, read in readers}

    def _attribute(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> _Read:
        name = nodes[0].name.value
        if name == "__typename":
            return lambda _: kind.name
        attribute = attrgetter(re.sub("(?=[A-Z])", "_", name).lower())
        read = self._value(kind.fields[name].type, nodes)
        return lambda value: read(attribute(value))

    def _value(self, kind: GraphQLOutputType, nodes: list[FieldNode]) -> _Read:
        match get_nullable_type(kind):
            case GraphQLList(of_type=each):
                read = self._value(each, nodes)
                return lambda values: [read(value) for value in values]
            case GraphQLObjectType() as below:
                read_object = self._object(below, nodes)
                return lambda value: None if value is None else read_object(value)
            case GraphQLEnumType():
                return attrgetter("name")
        return lambda value: value


def _inner(nodes: Iterable[FieldNode]) -> list[SelectionSetNode]:
    return [node.selection_set for node in nodes if node.selection_set is not None]


def _holds(condition: str, kind: GraphQLObjectType) -> bool:
    """Whether a fragment on the type of this name is one on objects of this kind."""
    other = schema.graphql_schema.type_map[condition]
    return other is kind or (is_abstract_type(other) and schema.graphql_schema.is_sub_type(other, kind))
