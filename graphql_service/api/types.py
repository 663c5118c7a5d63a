"""The objects that the schema answers with, made whole from the service's own records."""

from __future__ import annotations

from asyncio import Future, ensure_future
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime, time
from enum import Enum
from typing import Annotated, Final, TypeVar

import strawberry

from grammar.completion import Completion as QueryCompletion
from grammar.fields import FIELDS
from grammar.problems import Fix as QueryFix
from grammar.problems import Problem as QueryProblem
from grammar.problems import place, utf16_offset
from graphql_service import image_set as records
from graphql_service.api.context import RequestInfo
from graphql_service.api.node_ids import NodeId
from graphql_service.api.scalars import JSON
from graphql_service.paging import ColumnPage, Page
from graphql_service.searching import TotalCount as Count
from graphql_service.stores.base import Capabilities

#: GraphQL's Int has 32 bits, as DICOM's integer strings have; a wider stored number is left to `dicomTags`.
INT_LIMIT: Final = 1 << 31

_Done = TypeVar("_Done")


@strawberry.interface(description="An object with a global id, by which `node` finds it again.")
class Node:
    """Relay's Node."""

    id: strawberry.ID = strawberry.field(
        description="Global id: opaque, unique over all types and data stores, made of the three of them."
    )


@strawberry.enum(description="How fast, and at what price, HealthImaging reaches an image set.")
class StorageTier(Enum):
    """HealthImaging's storage tiers."""

    FREQUENT_ACCESS = strawberry.enum_value(
        "FREQUENT_ACCESS", description="For image sets in use; `frequent` in the query language."
    )
    ARCHIVE_INSTANT_ACCESS = strawberry.enum_value(
        "ARCHIVE_INSTANT_ACCESS", description="For image sets seldom read; `archive` in the query language."
    )


@strawberry.type(
    description="The patient as *this* image set says. It has no `id`: another image set may say otherwise of the same"
    " patient, and a client's cache must not mix the two."
)
class PatientAttributes:
    """Patient-level tags of one image set."""

    patient_id: str | None = strawberry.field(description="Patient ID (0010,0020).")
    name: str | None = strawberry.field(description="Patient's Name (0010,0010), components parted by `^`.")
    birth_date: date | None = strawberry.field(description="Patient's Birth Date (0010,0030).")
    sex: str | None = strawberry.field(
        description="Patient's Sex (0010,0040) in upper case: M, F or O as DICOM has it."
    )


@strawberry.type(description='The study as *this* image set says. It has no `id`: DICOM\'s Study ID is often just "1".')
class StudyAttributes:
    """Study-level tags of one image set."""

    instance_uid: str | None = strawberry.field(description="Study Instance UID (0020,000D).")
    study_id: str | None = strawberry.field(description="Study ID (0020,0010), unique in a department at best.")
    accession_number: str | None = strawberry.field(description="Accession Number (0008,0050).")
    description: str | None = strawberry.field(description="Study Description (0008,1030).")
    date: date | None = strawberry.field(description="Study Date (0008,0020).")
    time: time | None = strawberry.field(description="Study Time (0008,0030), on the scanner's clock.")
    series_count: int | None = strawberry.field(description="Number of Study Related Series (0020,1206).")
    instance_count: int | None = strawberry.field(description="Number of Study Related Instances (0020,1208).")


@strawberry.type(description="The series as *this* image set says; it has no `id`.")
class SeriesAttributes:
    """Series-level tags of one image set."""

    instance_uid: str | None = strawberry.field(description="Series Instance UID (0020,000E).")
    number: int | None = strawberry.field(description="Series Number (0020,0011).")
    modality: str | None = strawberry.field(description="Modality (0008,0060) in upper case, such as CT or MR.")
    body_part: str | None = strawberry.field(description="Body Part Examined (0018,0015) in upper case.")


@strawberry.type(description="A version of an image set; it has no `id`.")
class ImageSetVersion:
    """One of HealthImaging's versions of an image set."""

    version: int | None = strawberry.field(description="Version, counted from 1 by HealthImaging.")
    created_at: datetime | None = strawberry.field(description="When it was created.")
    updated_at: datetime | None = strawberry.field(description="When it was last updated.")
    state: str = strawberry.field(description="Its state as HealthImaging gives it: ACTIVE, LOCKED or DELETED.")


async def _find_versions(root: ImageSet, info: RequestInfo) -> list[ImageSetVersion]:
    """Asked for when they are selected, those of one request's image sets together."""
    found = await info.context.versions.load((root.datastore_id, root.image_set_id))
    return [
        ImageSetVersion(
            version=_int(each.version), created_at=each.created_at, updated_at=each.updated_at, state=each.state
        )
        for each in found or ()
    ]


async def _find_metadata(root: ImageSet, info: RequestInfo) -> JSON | None:
    """As versions are."""
    found = await info.context.metadata.load((root.datastore_id, root.image_set_id))
    return None if found is None else JSON(found)


@strawberry.type(
    description="An image set: what HealthImaging keeps of one series (or part of one), as its search summary tells."
    " A stored value that is not of its type counts as missing here and stays in `dicomTags`."
)
class ImageSet(Node):
    """An image set as SearchImageSets summarises it."""

    image_set_id: strawberry.ID = strawberry.field(description="Id in its data store.")
    datastore_id: strawberry.ID = strawberry.field(description="Id of its data store.")
    version: int | None = strawberry.field(description="Version, counted from 1 by HealthImaging.")
    created_at: datetime | None = strawberry.field(description="When it was created.")
    updated_at: datetime | None = strawberry.field(description="When it was last updated.")
    last_accessed_at: datetime | None = strawberry.field(description="When it was last accessed.")
    storage_tier: StorageTier | None = strawberry.field(description="Its storage tier.")
    is_primary: bool | None = strawberry.field(description="Whether it is the primary image set of its series.")
    patient: PatientAttributes = strawberry.field(description="The patient, as this image set says.")
    study: StudyAttributes = strawberry.field(description="The study, as this image set says.")
    series: SeriesAttributes = strawberry.field(description="The series, as this image set says.")
    dicom_tags: JSON = strawberry.field(description="The store's own DICOM tags, as they are: nothing is left out.")
    metadata: JSON | None = strawberry.field(
        resolver=_find_metadata,
        description="HealthImaging's metadata document of the newest version, of some megabytes maybe; null where the"
        " store has none.",
    )
    versions: list[ImageSetVersion] = strawberry.field(
        resolver=_find_versions,
        description="The versions, newest first; the newest alone where the store knows no others.",
    )


def read_image_set(record: records.ImageSet) -> ImageSet:
    """An image set as the schema has it."""
    tags, value = record.tags, record.value
    study_date = records.read_date(tags.get("DICOMStudyDate"))
    study_time = records.read_time(tags.get("DICOMStudyTime"))
    birth_date = value("DICOMPatientBirthDate")
    return ImageSet(
        id=strawberry.ID(NodeId("ImageSet", record.datastore_id, record.image_set_id).encode()),
        image_set_id=strawberry.ID(record.image_set_id),
        datastore_id=strawberry.ID(record.datastore_id),
        version=_int(record.version),
        created_at=record.created_at,
        updated_at=record.updated_at,
        last_accessed_at=record.last_accessed_at,
        storage_tier=_TIERS.get(record.storage_tier),
        is_primary=record.is_primary,
        patient=PatientAttributes(
            patient_id=_text(value("DICOMPatientId")),
            name=_text(value("DICOMPatientName")),
            birth_date=birth_date.date() if isinstance(birth_date, datetime) else None,
            sex=_text(value("DICOMPatientSex")),
        ),
        study=StudyAttributes(
            instance_uid=_text(value("DICOMStudyInstanceUID")),
            study_id=_text(value("DICOMStudyId")),
            accession_number=_text(value("DICOMAccessionNumber")),
            description=_text(value("DICOMStudyDescription")),
            date=None if study_date is None else study_date.date(),
            time=None if study_time is None else (datetime.min + study_time).time(),
            series_count=_int(value("DICOMNumberOfStudyRelatedSeries")),
            instance_count=_int(value("DICOMNumberOfStudyRelatedInstances")),
        ),
        series=SeriesAttributes(
            instance_uid=_text(value("DICOMSeriesInstanceUID")),
            number=_int(value("DICOMSeriesNumber")),
            modality=_text(value("DICOMSeriesModality")),
            body_part=_text(value("DICOMSeriesBodyPart")),
        ),
        dicom_tags=JSON(dict(tags)),
    )


_TIERS: Final[Mapping[str | None, StorageTier]] = {tier.name: tier for tier in StorageTier}


def _text(value: records.Value) -> str | None:
    return value if isinstance(value, str) else None


def _int(value: records.Value) -> int | None:
    return value if isinstance(value, int) and -INT_LIMIT <= value < INT_LIMIT else None


@strawberry.type(description="A data store: a collection of image sets that is searched as one.")
class Datastore(Node):
    """A data store."""

    datastore_id: strawberry.ID = strawberry.field(description="Its id, 32 of `0-9a-z`.")
    name: str = strawberry.field(description="Its name.")
    status: str = strawberry.field(description="Its status as HealthImaging gives it, such as ACTIVE.")
    created_at: datetime | None = strawberry.field(description="When it was created.")
    updated_at: datetime | None = strawberry.field(description="When it was last updated.")


def read_datastore(record: records.Datastore) -> Datastore:
    """A data store as the schema has it."""
    return Datastore(
        id=strawberry.ID(NodeId("Datastore", record.datastore_id).encode()),
        datastore_id=strawberry.ID(record.datastore_id),
        name=record.name,
        status=record.status,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


@strawberry.type(description="Where a page begins and ends, and whether there are others.")
class PageInfo:
    """Relay's PageInfo."""

    has_next_page: bool = strawberry.field(
        description="Reading forward: whether more follows (also where this page is empty). With `last`: whether"
        " `before` was given."
    )
    has_previous_page: bool = strawberry.field(
        description="Reading backward: whether more precedes. With `first`: whether `after` was given."
    )
    start_cursor: str | None = strawberry.field(description="Give it as `before` to read on backward.")
    end_cursor: str | None = strawberry.field(description="Give it as `after` to read on forward.")


@strawberry.enum(description="How exact a count is.")
class CountPrecision(Enum):
    """How exact a count is."""

    EXACT = strawberry.enum_value("EXACT", description="There are exactly so many.")
    AT_LEAST = strawberry.enum_value("AT_LEAST", description="There are more; counting them all would cost too much.")


@strawberry.type(description="How many there are in all pages together.")
class TotalCount:
    """How many there are in all pages together."""

    value: int = strawberry.field(description="The count, 10,000 at most.")
    precision: CountPrecision = strawberry.field(description="Whether it is exact.")


def read_count(count: Count) -> TotalCount:
    """A count as the schema has it."""
    return TotalCount(value=count.value, precision=CountPrecision.EXACT if count.exact else CountPrecision.AT_LEAST)


@strawberry.type(description="One edit that mends the query: `text` in place of `start` to `end` (exclusive).")
class Fix:
    """One edit that mends the query."""

    start: int = strawberry.field(description="First code point replaced, from 0.")
    end: int = strawberry.field(description="First code point kept.")
    text: str = strawberry.field(description="What to put there.")


def read_fix(fix: QueryFix) -> Fix:
    """A fix as the schema has it."""
    return Fix(start=fix.start, end=fix.end, text=fix.text)


@strawberry.type(
    description="What is wrong in a query (a problem), or deserves a second look (a notice): where, and what to write."
)
class Problem:
    """One problem or notice of a query."""

    code: str = strawberry.field(description="Stable name of the kind of problem, such as `unknown_field`.")
    message: str = strawberry.field(description="What was found and what to write instead, for people.")
    start: int = strawberry.field(description="First code point, from 0.")
    end: int = strawberry.field(description="First code point after it.")
    utf16_start: int = strawberry.field(description="`start` in UTF-16 units, as browsers count.")
    utf16_end: int = strawberry.field(description="`end` in UTF-16 units, as browsers count.")
    line: int = strawberry.field(description="Line, from 1.")
    column: int = strawberry.field(description="Column in code points, from 1.")
    expected: list[str] = strawberry.field(description="What could stand there.")
    suggestions: list[str] = strawberry.field(description="What was probably meant.")
    fix: Fix | None = strawberry.field(description="The edit that mends it, where there is one.")


def read_problem(query: str, problem: QueryProblem) -> Problem:
    """A problem of a query as the schema has it."""
    line, column = place(query, problem.start)
    return Problem(
        code=problem.code,
        message=problem.message,
        start=problem.start,
        end=problem.end,
        utf16_start=utf16_offset(query, problem.start),
        utf16_end=utf16_offset(query, problem.end),
        line=line,
        column=column,
        expected=list(problem.expected),
        suggestions=list(problem.suggestions),
        fix=None if problem.fix is None else read_fix(problem.fix),
    )


@strawberry.type(description="What it took to find a page.")
class SearchReport:
    """What it took to find a page."""

    complete: bool = strawberry.field(
        description="False where the store's budget ended before the page was full: go on from `endCursor`."
    )
    scanned: int = strawberry.field(description="Image sets read for this page.")
    requests: int = strawberry.field(description="Requests to the store for this page.")
    notices: list[Problem] = strawberry.field(description="What deserves a second look in the query.")


@strawberry.type(description="An image set and its place in the order of the search.")
class ImageSetEdge:
    """An image set and its place in the order of the search."""

    cursor: str = strawberry.field(description="Its place; good for this search only.")
    node: ImageSet = strawberry.field(description="The image set.")


def once(work: Callable[[], Awaitable[_Done]]) -> Callable[[], Awaitable[_Done]]:
    """The same work, done once however often it is asked for, and only then."""
    begun: list[Future[_Done]] = []

    def run() -> Awaitable[_Done]:
        if not begun:
            begun.append(ensure_future(work()))
        return begun[0]

    return run


async def _count(root: ImageSetConnection) -> TotalCount:
    """Counted when it is asked for: a count may cost far more than a page."""
    return read_count(await root.count())


@strawberry.type(description="One page of the image sets that a search finds.")
class ImageSetConnection:
    """One page of the image sets that a search finds."""

    edges: list[ImageSetEdge] = strawberry.field(description="The image sets with their places.")
    nodes: list[ImageSet] = strawberry.field(description="The image sets alone.")
    page_info: PageInfo = strawberry.field(description="Where the page begins and ends.")
    total_count = strawberry.field(
        resolver=_count, description="How many image sets the search finds; counted only where it is selected."
    )
    search: SearchReport = strawberry.field(description="What it took to find the page.")
    count: strawberry.Private[Callable[[], Awaitable[Count]]]


def read_page_info(page: Page | ColumnPage) -> PageInfo:
    """Where a page begins and ends as the schema has it."""
    return PageInfo(
        has_next_page=page.has_next_page,
        has_previous_page=page.has_previous_page,
        start_cursor=page.start_cursor,
        end_cursor=page.end_cursor,
    )


def read_report(page: Page | ColumnPage, query: str) -> SearchReport:
    """What a page took as the schema has it; `query` is the text that its notices point into."""
    return SearchReport(
        complete=page.complete,
        scanned=page.scanned,
        requests=page.requests,
        notices=[read_problem(query, notice) for notice in page.notices],
    )


def read_page(page: Page, query: str, count: Callable[[], Awaitable[Count]]) -> ImageSetConnection:
    """A page as the schema has it; `query` is the text that its notices point into."""
    nodes = [read_image_set(image_set) for image_set in page.image_sets]
    return ImageSetConnection(
        edges=[ImageSetEdge(cursor=cursor, node=node) for cursor, node in zip(page.cursors, nodes, strict=True)],
        nodes=nodes,
        page_info=read_page_info(page),
        search=read_report(page, query),
        count=once(count),
    )


@strawberry.type(description="A data store and its place in the list.")
class DatastoreEdge:
    """A data store and its place in the list."""

    cursor: str = strawberry.field(description="Its place.")
    node: Datastore = strawberry.field(description="The data store.")


@strawberry.type(description="One page of the data stores, by id.")
class DatastoreConnection:
    """One page of the data stores, by id."""

    edges: list[DatastoreEdge] = strawberry.field(description="The data stores with their places.")
    nodes: list[Datastore] = strawberry.field(description="The data stores alone.")
    page_info: PageInfo = strawberry.field(description="Where the page begins and ends.")


@strawberry.enum(description="How a field's values are written and compared.")
class ValueKind(Enum):
    """The types of the query language's fields."""

    ID = strawberry.enum_value("ID", description="An identifier, compared as written; case counts.")
    UID = strawberry.enum_value("UID", description="A DICOM UID: digits and single dots between them.")
    PERSON_NAME = strawberry.enum_value(
        "PERSON_NAME", description="A person's name, compared without case and accents, component by component."
    )
    TEXT = strawberry.enum_value("TEXT", description="A text, compared without case and accents.")
    CODE = strawberry.enum_value("CODE", description="A DICOM code string, compared in upper case.")
    SEX = strawberry.enum_value("SEX", description="M, F or O.")
    TIER = strawberry.enum_value("TIER", description="frequent or archive.")
    BOOLEAN = strawberry.enum_value("BOOLEAN", description="true or false.")
    INSTANT = strawberry.enum_value(
        "INSTANT", description="An instant; a date names a period of it in the search's time zone."
    )
    WALL_CLOCK = strawberry.enum_value(
        "WALL_CLOCK", description="A date and time on the scanner's clock, without a time zone."
    )
    DATE = strawberry.enum_value("DATE", description="A calendar day.")
    INTEGER = strawberry.enum_value("INTEGER", description="A whole number.")


@strawberry.enum(description="Who applies a comparison.")
class ServedBy(Enum):
    """Who applies a comparison."""

    STORE = strawberry.enum_value("STORE", description="The store filters by it.")
    SERVICE = strawberry.enum_value(
        "SERVICE", description="This service checks every image set that the store answers."
    )


@strawberry.type(description="A field of the query language.")
class SearchField:
    """A field of the query language."""

    name: str = strawberry.field(description="Its name in the HealthImaging API.")
    aliases: list[str] = strawberry.field(description="Shorter names for typing.")
    type: ValueKind = strawberry.field(description="How its values are written and compared.")
    operators: list[str] = strawberry.field(description="The comparison words that fit it.")
    sortable: bool = strawberry.field(description="Whether `sort` takes it.")
    served_by: ServedBy = strawberry.field(description="Who filters by it in this service's store.")
    description: str = strawberry.field(description="What it is.")


def read_fields(capabilities: Capabilities) -> list[SearchField]:
    """Every field of the language, and where a store with these capabilities has it filtered."""
    served = capabilities.operators
    return [
        SearchField(
            name=field.name,
            aliases=list(field.aliases),
            type=ValueKind[field.type.name],
            operators=list(field.operators),
            sortable=True,
            served_by=ServedBy.STORE if served is None or field.name in served else ServedBy.SERVICE,
            description=field.description,
        )
        for field in FIELDS
    ]


@strawberry.enum(description="What kind of word a completion is.")
class CompletionKind(Enum):
    """The kinds of completions."""

    FIELD = strawberry.enum_value("field", description="A field to compare or to sort by.")
    OPERATOR = strawberry.enum_value("operator", description="An operator that fits the field, or a list's sign.")
    VALUE = strawberry.enum_value("value", description="A value of the field.")
    DATE = strawberry.enum_value("date", description="A relative date, or a range of them.")
    KEYWORD = strawberry.enum_value("keyword", description="A word that joins or ends conditions.")
    DIRECTION = strawberry.enum_value("direction", description="A direction to sort in.")


@strawberry.type(description="One thing that may be written at a position: `insert` in place of `start` to `end`.")
class Completion:
    """One completion of a query."""

    label: str = strawberry.field(description="What to show.")
    insert: str = strawberry.field(description="What to write: the label, in quotes where it needs them.")
    start: int = strawberry.field(description="First code point replaced, from 0.")
    end: int = strawberry.field(description="First code point kept.")
    utf16_start: int = strawberry.field(description="`start` in UTF-16 units, as browsers count.")
    utf16_end: int = strawberry.field(description="`end` in UTF-16 units, as browsers count.")
    kind: CompletionKind = strawberry.field(description="What kind of word it is.")
    description: str = strawberry.field(description="What it is or does, in a line.")


def read_completion(query: str, completion: QueryCompletion) -> Completion:
    """A completion as the schema has it."""
    return Completion(
        label=completion.label,
        insert=completion.insert,
        start=completion.start,
        end=completion.end,
        utf16_start=utf16_offset(query, completion.start),
        utf16_end=utf16_offset(query, completion.end),
        kind=CompletionKind(completion.kind),
        description=completion.description,
    )


@strawberry.enum(description="What a sample is written for.")
class SampleLanguage(Enum):
    """The languages of samples: in lower case the names that their own module has."""

    CLI = strawberry.enum_value("cli", description="The AWS CLI, in a shell.")
    PYTHON = strawberry.enum_value("python", description="Python, with boto3.")
    JAVASCRIPT = strawberry.enum_value("javascript", description="JavaScript, with the AWS SDK, version 3.")
    JAVA = strawberry.enum_value("java", description="Java, with the AWS SDK, version 2.")
    CPP = strawberry.enum_value("cpp", description="C++, with the AWS SDK.")


async def _write_sample(
    root: SearchAnalysis,
    language: Annotated[SampleLanguage, strawberry.argument(description="What to write it for.")],
) -> str | None:
    """Written where it is asked for: most who ask what a query means want none."""
    return await root.write_sample(language.name.lower())


@strawberry.type(description="What a query means, without running it.")
class SearchAnalysis:
    """What a query means, without running it."""

    canonical: str | None = strawberry.field(description="The one way to write it; null where it has problems.")
    meaning: JSON | None = strawberry.field(
        description="The criteria and the order as JSON, dates as periods; null where it has problems."
    )
    time_zone: str = strawberry.field(description="The IANA time zone in which its dates were read.")
    notices: list[Problem] = strawberry.field(description="What deserves a second look.")
    problems: list[Problem] = strawberry.field(description="What is wrong with it; empty where it can be run.")
    search_criteria: list[JSON] = strawberry.field(
        description="The SearchImageSets requests that HealthImaging would be sent for it; empty where it cannot sort"
        " as asked, or where the query has problems."
    )
    plan: JSON | None = strawberry.field(
        description="How HealthImaging would be searched: what it filters, what is checked here, and what it cannot do."
    )
    sample = strawberry.field(
        resolver=_write_sample,
        description="The same search as code for a client of HealthImaging; a comment at its top tells what the client"
        " has to filter itself. Null where the query has problems, or where HealthImaging cannot sort as asked.",
    )
    write_sample: strawberry.Private[Callable[[str], Awaitable[str | None]]]
