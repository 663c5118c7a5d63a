"""The schema's root: how each field of Query is answered. Work that blocks runs in a worker thread."""

from __future__ import annotations

from asyncio import gather
from datetime import datetime
from typing import Annotated, cast

import strawberry
from anyio.to_thread import run_sync
from strawberry.types import get_object_definition

from grammar.completion import complete
from graphql_service import searching
from graphql_service.analysis import analyse, describe_analysis, describe_as_code
from graphql_service.api.arguments import (
    AfterArgument,
    BeforeArgument,
    DatastoreArgument,
    FilterArgument,
    FirstArgument,
    LastArgument,
    OrderArgument,
    QueryArgument,
    TimeZoneArgument,
    VariablesArgument,
    check_cursors,
    read_search,
    read_variables,
)
from graphql_service.api.context import Context, RequestInfo
from graphql_service.api.histogram import count_image_sets
from graphql_service.api.node_ids import read_node_id
from graphql_service.api.scalars import JSON
from graphql_service.api.studies import read_study, search_studies
from graphql_service.api.types import (
    Completion,
    Datastore,
    DatastoreConnection,
    DatastoreEdge,
    ImageSet,
    ImageSetConnection,
    Node,
    PageInfo,
    SearchAnalysis,
    SearchField,
    read_completion,
    read_datastore,
    read_fields,
    read_image_set,
    read_page,
    read_problem,
)
from graphql_service.errors import InvalidArgument, InvalidCursor, LimitExceeded
from graphql_service.histogram import BUCKET_LIMIT
from graphql_service.image_set import is_id
from graphql_service.metrics import QUERY_PROBLEMS
from graphql_service.paging import Page, read_page_request, read_page_size
from graphql_service.searching import Inquiry, choose_datastore, read_zone


async def search_image_sets(
    info: RequestInfo,
    datastore_id: DatastoreArgument = None,
    query: QueryArgument = None,
    variables: VariablesArgument = None,
    filter: FilterArgument = None,  # noqa: A002  # the argument's name in the schema
    order_by: OrderArgument = None,
    time_zone: TimeZoneArgument = None,
    first: FirstArgument = None,
    after: AfterArgument = None,
    last: LastArgument = None,
    before: BeforeArgument = None,
) -> ImageSetConnection:
    """One page; its count is taken only where it is selected."""
    store = info.context.store
    check_cursors(info.context, after, before)
    page_request = read_page_request(first, last, after, before, info.context.max_page)
    ask = read_search(info, query, variables, filter, order_by, time_zone)

    def run() -> tuple[Inquiry, Page]:
        with store.sharing():
            inquiry = ask(choose_datastore(store, datastore_id).datastore_id)
            return inquiry, searching.search(store, inquiry, page_request)

    inquiry, page = await run_sync(run)
    info.context.readings.append(searching.read_of("imageSets", inquiry, page))

    async def count() -> searching.TotalCount:
        return await run_sync(lambda: searching.count(store, inquiry, now=page.dated, page=page))

    return read_page(page, inquiry.query, count)


async def find_image_set(
    info: RequestInfo,
    *,
    datastore_id: DatastoreArgument = None,
    image_set_id: Annotated[strawberry.ID, strawberry.argument(description="Id of the image set in its data store.")],
) -> ImageSet | None:
    """Found by its id in a data store."""
    datastore = await run_sync(choose_datastore, info.context.store, datastore_id)
    record = await info.context.image_sets.load((datastore.datastore_id, image_set_id))
    return None if record is None else read_image_set(record)


async def find_node(
    info: RequestInfo,
    id: Annotated[strawberry.ID, strawberry.argument(description="Global id.")],  # noqa: A002
) -> Node | None:
    """Relay's node."""
    return await _load_node(info.context, id)


async def find_nodes(
    info: RequestInfo,
    ids: Annotated[list[strawberry.ID], strawberry.argument(description="Global ids, 500 at most.")],
) -> list[Node | None]:
    """Relay's plural node; a malformed id is an error in its own place alone."""
    context = info.context
    if len(ids) > context.limits.node_ids:
        raise LimitExceeded("node_ids", context.limits.node_ids, len(ids), "ids that 'nodes' is asked for")
    found = await gather(*[_load_node(context, text) for text in ids], return_exceptions=True)
    # GraphQL takes an exception among the items for the error of that item.
    return cast("list[Node | None]", found)


async def list_datastores(
    info: RequestInfo,
    first: FirstArgument = None,
    after: AfterArgument = None,
    last: LastArgument = None,
    before: BeforeArgument = None,
) -> DatastoreConnection:
    """A page of a short list."""
    first, last = read_page_size(first, last, info.context.max_page)
    check_cursors(info.context, after, before)
    low, high = _read_datastore_cursor(after), _read_datastore_cursor(before)
    records = await run_sync(info.context.store.datastores)
    between = [
        record
        for record in records
        if (low is None or record.datastore_id > low) and (high is None or record.datastore_id < high)
    ]
    page = between[:first] if last is None else between[max(len(between) - last, 0) :]
    more = len(page) < len(between)
    nodes = [read_datastore(record) for record in page]
    return DatastoreConnection(
        edges=[DatastoreEdge(cursor=node.id, node=node) for node in nodes],
        nodes=nodes,
        page_info=PageInfo(
            has_next_page=more if last is None else before is not None,
            has_previous_page=after is not None if last is None else more,
            start_cursor=nodes[0].id if nodes else None,
            end_cursor=nodes[-1].id if nodes else None,
        ),
    )


async def find_datastore(
    info: RequestInfo,
    id: Annotated[  # noqa: A002
        strawberry.ID, strawberry.argument(description="Its id of 32 characters, or its global id.")
    ],
) -> Datastore | None:
    """Found by either of its ids."""
    datastore_id: str = id
    if not is_id(datastore_id):
        node_id = read_node_id(datastore_id)
        if node_id.type != "Datastore":
            return None
        datastore_id = node_id.datastore_id
    record = await run_sync(info.context.store.datastore, datastore_id)
    return None if record is None else read_datastore(record)


def list_search_fields(info: RequestInfo) -> list[SearchField]:
    """The language's table of fields."""
    return read_fields(info.context.store.capabilities)


async def analyse_search(
    info: RequestInfo,
    query: Annotated[str, strawberry.argument(description="The search as text, as `imageSets` takes it.")],
    variables: VariablesArgument = None,
    time_zone: TimeZoneArgument = None,
    now: Annotated[
        datetime | None,
        strawberry.argument(description="The instant that relative dates are counted from; now where none is given."),
    ] = None,
    datastore_id: DatastoreArgument = None,
) -> SearchAnalysis:
    """Parsed and planned, but not run."""
    if datastore_id is not None:
        await run_sync(choose_datastore, info.context.store, datastore_id)
    zone = read_zone("UTC" if time_zone is None else time_zone).key
    bound = read_variables(variables)
    analysis = await run_sync(lambda: analyse(query, bound, zone, now))
    for problem in analysis.problems:
        QUERY_PROBLEMS.labels(problem.code).inc()
    described = await run_sync(describe_analysis, analysis)

    async def write_sample(language: str) -> str | None:
        datastore = await run_sync(choose_datastore, info.context.store, datastore_id)
        return describe_as_code(analysis, datastore.datastore_id, language)

    return SearchAnalysis(
        canonical=analysis.canonical,
        meaning=JSON(described["meaning"]),
        time_zone=zone,
        notices=[read_problem(query, notice) for notice in analysis.notices],
        problems=[read_problem(query, problem) for problem in analysis.problems],
        search_criteria=cast("list[JSON]", described["searchCriteria"]),
        plan=JSON(described["plan"]),
        write_sample=write_sample,
    )


async def complete_search(
    info: RequestInfo,
    query: Annotated[str, strawberry.argument(description="The search as text, whole or begun.")],
    position: Annotated[int, strawberry.argument(description="Where in the query, in code points from 0.")],
    datastore_id: DatastoreArgument = None,
) -> list[Completion]:
    """Completions, with the values of a data store where it is named or the only one."""
    store = info.context.store

    def run() -> list[Completion]:
        def values(field: str) -> tuple[str, ...]:
            if datastore_id is None and len(store.datastores()) != 1:
                return ()
            return store.values(choose_datastore(store, datastore_id).datastore_id, field)

        return [read_completion(query, completion) for completion in complete(query, position, values)]

    return await run_sync(run)


async def _load_node(context: Context, text: str) -> Node | None:
    """The object with this global id; None for one that is gone or of no type known here. Raises InvalidArgument."""
    node_id = read_node_id(text)
    if node_id.type == "ImageSet":
        image_set = await context.image_sets.load((node_id.datastore_id, node_id.key))
        return None if image_set is None else read_image_set(image_set)
    if node_id.type == "Study":
        study = await context.studies.load((node_id.datastore_id, node_id.key))
        return None if study is None else read_study(node_id.datastore_id, study)
    if node_id.type == "Datastore":
        datastore = await run_sync(context.store.datastore, node_id.datastore_id)
        return None if datastore is None else read_datastore(datastore)
    return None


def _read_datastore_cursor(cursor: str | None) -> str | None:
    """The id of the data store whose place this cursor is: its global id serves as one. Raises InvalidCursor."""
    if cursor is None:
        return None
    try:
        node_id = read_node_id(cursor)
    except InvalidArgument:
        node_id = None
    if node_id is None or node_id.type != "Datastore":
        raise InvalidCursor("the cursor is malformed: use one that a page of 'datastores' has given")
    return node_id.datastore_id


@strawberry.type(description="Where every query starts.")
class Query:
    """The root of the schema."""

    image_sets = strawberry.field(
        resolver=search_image_sets,
        description="Searches a data store's image sets, page by page; without criteria, all of them.",
    )
    image_set = strawberry.field(
        resolver=find_image_set, description="One image set; null where its data store has none of this id."
    )
    studies = strawberry.field(
        resolver=search_studies,
        description="Searches a data store's studies, page by page: those of which the search finds an image set. Each"
        " stands once, where the first of these stands in the order. Image sets without a Study Instance UID belong to"
        " no study.",
    )
    image_set_histogram = strawberry.field(
        resolver=count_image_sets,
        description="How many image sets a search finds by day, month or year: the buckets that hold any, in the order"
        f" of time, {BUCKET_LIMIT:,} at most. Image sets without a value of the field are in none.",
    )
    node = strawberry.field(resolver=find_node, description="The object with this global id; null where it is gone.")
    nodes = strawberry.field(
        resolver=find_nodes, description="The objects with these global ids, in their order; null for one that is gone."
    )
    datastores = strawberry.field(resolver=list_datastores, description="The data stores that can be searched, by id.")
    datastore = strawberry.field(
        resolver=find_datastore, description="One data store; null where there is none of this id."
    )
    search_fields = strawberry.field(resolver=list_search_fields, description="The fields of the query language.")
    search_analysis = strawberry.field(
        resolver=analyse_search,
        description="What a query means, without running it; a bad query is answered with its problems.",
    )
    search_completions = strawberry.field(
        resolver=complete_search,
        description="What may be written at a position of a query, also of one with problems before it; best first.",
    )


# An argument that may be left out has no default in the schema, where Strawberry would print Python's None as `= null`.
for _field in get_object_definition(Query, strict=True).fields:
    for _argument in _field.arguments:
        if _argument.default is None:
            _argument.default = strawberry.UNSET
