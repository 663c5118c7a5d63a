"""The arguments that several fields of the schema take, and the search that they mean together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

import strawberry
from graphql import FieldNode
from graphql import Node as SyntaxNode

from graphql_service.api.context import Context, RequestInfo
from graphql_service.api.inputs import ImageSetFilter, ImageSetOrder, read_filter, read_order
from graphql_service.api.scalars import JSON
from graphql_service.errors import InvalidArgument, LimitExceeded
from graphql_service.searching import Inquiry

_LANGUAGE: Final = """\
The search as text; nothing, or `*`, is every image set.

    patient = SUBJECT08701 and updated between 2024-03-11..2024-03-12 sort updatedAt asc

- Comparisons: `= != < <= > >=`, `in (a, b)`, `like "chest*"`, `between A..B`, `is null`, each but the signs also with
  `not`; joined with `and`, `or`, `not` and parentheses. `searchFields` lists the fields and what fits them.
- Values: bare (`CT`, `1.2.840.1`), or in single or double quotes where they hold spaces or signs. Bare `*` and `?` are
  wildcards. `$name` is a value from `variables`: the safe way to put user input into a query.
- Dates: `2024`, `2024-03`, `2024-03-11`, `2024-03-11T10:30`, `today`, `today-7d`, `now-90min`; each names a period.
- `!=` and `not` are exact complements: `modality != CT` finds image sets without a modality too.
- Order: `sort name, studyDate desc`, at the end; without it the last updated come first."""

DatastoreArgument: TypeAlias = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="Id of the data store, 32 of `0-9a-z`; may be left out where there is exactly one.",
    ),
]
FirstArgument: TypeAlias = Annotated[
    int | None,
    strawberry.argument(description="How many from the start, 500 at most; 50 where `last` is not given either."),
]
LastArgument: TypeAlias = Annotated[
    int | None, strawberry.argument(description="How many from the end, 500 at most; not together with `first`.")
]
AfterArgument: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Only what follows this cursor of the same search.")
]
BeforeArgument: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Only what precedes this cursor of the same search.")
]
VariablesArgument: TypeAlias = Annotated[
    JSON | None,
    strawberry.argument(
        description="Values of the `$name`s in `query`, as one JSON object: texts, numbers, booleans, and lists after"
        " `in`. They are never read as query text."
    ),
]
TimeZoneArgument: TypeAlias = Annotated[
    str | None,
    strawberry.argument(description="IANA name of the time zone in which dates are read; UTC where none is given."),
]
QueryArgument: TypeAlias = Annotated[str | None, strawberry.argument(description=_LANGUAGE)]
FilterArgument: TypeAlias = Annotated[
    object,
    strawberry.argument(
        description="The search as an object; both `query` and `filter` must hold.", graphql_type=ImageSetFilter | None
    ),
]
OrderArgument: TypeAlias = Annotated[
    list[ImageSetOrder] | None,
    strawberry.argument(
        description="The order, first key first; not together with a `sort` in `query`. Without either the last"
        " updated come first."
    ),
]


def check_cursors(context: Context, *cursors: str | None) -> None:
    """Refuse a cursor that is longer than any of ours before it is read. Raises LimitExceeded."""
    maximum = context.limits.cursor_length
    for cursor in cursors:
        if cursor is not None and len(cursor) > maximum:
            raise LimitExceeded("cursor_length", maximum, len(cursor), "characters in the cursor")


def read_search(
    info: RequestInfo,
    query: str | None,
    variables: JSON | None,
    filter: object,  # noqa: A002  # the argument's name in the schema
    order_by: list[ImageSetOrder] | None,
    time_zone: str | None,
) -> Callable[[str], Inquiry]:
    """What the arguments of the field that is resolved ask of a data store, by its id.

    Raises InvalidArgument, and QueryError for the filter; the query is read when it is run.
    """
    # Strawberry keeps graphql-core's info to itself.
    written = written_argument(info._raw_info.field_nodes[0], "filter")
    return make_search(written, info.variable_values, query, variables, filter, order_by, time_zone)


def make_search(
    written: SyntaxNode | None,
    values: Mapping[str, object],
    query: str | None = None,
    variables: JSON | None = None,
    filter: object = None,  # noqa: A002  # the argument's name in the schema
    order_by: list[ImageSetOrder] | None = None,
    time_zone: str | None = None,
) -> Callable[[str], Inquiry]:
    """The same, of a filter as it stands in the document, with the values of the document's variables."""
    condition = read_filter(filter, written, values)
    bound, order = read_variables(variables), read_order(order_by)
    return lambda datastore_id: Inquiry(
        datastore_id, query or "", bound, condition, order, "UTC" if time_zone is None else time_zone
    )


def read_variables(variables: JSON | None) -> Mapping[str, object]:
    """The values of a query's parameters by name. Raises InvalidArgument."""
    if variables is None:
        return {}
    if not isinstance(variables, dict):
        raise InvalidArgument("'variables' must be a JSON object: a value for each $name in the query")
    return variables


def written_argument(field: FieldNode, argument: str) -> SyntaxNode | None:
    """An argument of a field as it stands in the document."""
    for node in field.arguments or ():
        if node.name.value == argument:
            return node.value
    return None
