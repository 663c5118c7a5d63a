"""Studies: what the schema says of them, and how they are searched.

A study has a global id, by which a client keeps it: so everything it says is of the whole study in its data store, and
never depends on the search that found it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, time

import strawberry
from anyio.to_thread import run_sync

from graphql_service import image_set as records
from graphql_service import searching
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
)
from graphql_service.api.context import RequestInfo
from graphql_service.api.node_ids import NodeId
from graphql_service.api.types import (
    ImageSetConnection,
    Node,
    PageInfo,
    PatientAttributes,
    SearchReport,
    TotalCount,
    once,
    read_count,
    read_image_set,
    read_page,
    read_page_info,
    read_report,
)
from graphql_service.paging import Page, read_page_request
from graphql_service.searching import Inquiry, choose_datastore


async def _search_image_sets(
    root: Study,
    info: RequestInfo,
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
    """A page of the study's own; those of one request's studies are read together."""
    context = info.context
    check_cursors(context, after, before)
    page_request = read_page_request(first, last, after, before, context.max_page)
    inquiry = read_search(info, query, variables, filter, order_by, time_zone)(root.datastore_id)
    inquiry = inquiry.of_study(root.instance_uid)
    page = await context.pages.load((inquiry, page_request))
    context.readings.append(searching.read_of("imageSets", inquiry, page))

    async def count() -> searching.TotalCount:
        return await run_sync(lambda: searching.count(context.store, inquiry, now=page.dated, page=page))

    return read_page(page, inquiry.query, count)


@strawberry.type(
    description="A study: the image sets of a data store that share a Study Instance UID. Everything here is of the"
    " whole study, whatever search found it. Where its image sets disagree about the patient or the study, one speaks"
    " for all: of the primary ones, or else of all, the last updated."
)
class Study(Node):
    """A study as a whole."""

    datastore_id: strawberry.ID = strawberry.field(description="Id of its data store.")
    instance_uid: str = strawberry.field(description="Study Instance UID (0020,000D).")
    patient: PatientAttributes = strawberry.field(description="The patient.")
    study_id: str | None = strawberry.field(description="Study ID (0020,0010), unique in a department at best.")
    accession_number: str | None = strawberry.field(description="Accession Number (0008,0050).")
    description: str | None = strawberry.field(description="Study Description (0008,1030).")
    date: date | None = strawberry.field(description="Study Date (0008,0020).")
    time: time | None = strawberry.field(description="Study Time (0008,0030), on the scanner's clock.")
    series_count: int | None = strawberry.field(
        description="Number of Study Related Series (0020,1206), as it is stored."
    )
    instance_count: int | None = strawberry.field(
        description="Number of Study Related Instances (0020,1208), as it is stored."
    )
    modalities: list[str] = strawberry.field(
        description="The modalities of its image sets in upper case, sorted, each once."
    )
    image_set_count: int = strawberry.field(description="How many image sets it has in the data store.")
    image_sets = strawberry.field(
        resolver=_search_image_sets,
        description="Searches its image sets as `imageSets` does, page by page; without criteria, all of them: also"
        " those that the search for studies does not find.",
    )


def read_study(datastore_id: str, record: records.Study) -> Study:
    """A study of a data store as the schema has it."""
    speaker = read_image_set(record.image_set)
    return Study(
        id=strawberry.ID(NodeId("Study", datastore_id, record.instance_uid).encode()),
        datastore_id=strawberry.ID(datastore_id),
        instance_uid=record.instance_uid,
        patient=speaker.patient,
        study_id=speaker.study.study_id,
        accession_number=speaker.study.accession_number,
        description=speaker.study.description,
        date=speaker.study.date,
        time=speaker.study.time,
        series_count=speaker.study.series_count,
        instance_count=speaker.study.instance_count,
        modalities=list(record.modalities),
        image_set_count=record.image_set_count,
    )


@strawberry.type(description="A study and its place in the order of the search.")
class StudyEdge:
    """A study and its place in the order of the search."""

    cursor: str = strawberry.field(description="Its place; good for this search of studies only.")
    node: Study = strawberry.field(description="The study.")


async def _count(root: StudyConnection) -> TotalCount:
    """Counted when it is asked for: a count may cost far more than a page."""
    return read_count(await root.count())


@strawberry.type(description="One page of the studies that a search finds.")
class StudyConnection:
    """One page of the studies that a search finds."""

    edges: list[StudyEdge] = strawberry.field(description="The studies with their places.")
    nodes: list[Study] = strawberry.field(description="The studies alone.")
    page_info: PageInfo = strawberry.field(description="Where the page begins and ends.")
    total_count = strawberry.field(
        resolver=_count, description="How many studies the search finds; counted only where it is selected."
    )
    search: SearchReport = strawberry.field(description="What it took to find the page.")
    count: strawberry.Private[Callable[[], Awaitable[searching.TotalCount]]]


async def search_studies(
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
) -> StudyConnection:
    """One page; its count is taken only where it is selected."""
    store = info.context.store
    check_cursors(info.context, after, before)
    page_request = read_page_request(first, last, after, before, info.context.max_page)
    ask = read_search(info, query, variables, filter, order_by, time_zone)

    def run() -> tuple[Inquiry, Page, tuple[records.Study, ...]]:
        with store.sharing():
            inquiry = ask(choose_datastore(store, datastore_id).datastore_id)
            return inquiry, *searching.search_studies(store, inquiry, page_request)

    inquiry, page, found = await run_sync(run)
    told = tuple(study.image_set.image_set_id for study in found)
    info.context.readings.append(searching.read_of("studies", inquiry, page, told))

    async def count() -> searching.TotalCount:
        return await run_sync(lambda: searching.count(store, inquiry, now=page.dated, page=page, studies=True))

    nodes = [read_study(inquiry.datastore_id, study) for study in found]
    return StudyConnection(
        edges=[StudyEdge(cursor=cursor, node=node) for cursor, node in zip(page.cursors, nodes, strict=True)],
        nodes=nodes,
        page_info=read_page_info(page),
        search=read_report(page, inquiry.query),
        count=once(count),
    )
