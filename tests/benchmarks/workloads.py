"""What every server of a benchmark is asked for: the same pages of image sets, in the words of each.

Nodes have 20 fields, pages 50 nodes. W1: one patient, newest first. W2: 30 days of updatedAt, ascending. W3: the same,
from page 400 on (or from as far as there is). W4: one series and a period, one row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from random import Random
from typing import Any

from grammar.criteria import And, Comparison, Condition, Everything, Operator, Range, SortKey
from graphql_service.ordering import place
from graphql_service.stores import sql
from graphql_service.stores.base import Place, Request
from graphql_service.stores.sqlite import SQLiteStore
from tests.benchmarks.bare_route import COLUMNS
from tests.benchmarks.measurement import Server, ask, post
from tests.live import DATASTORE

VARIANTS = 40
NODE = (
    "id imageSetId version createdAt updatedAt storageTier isPrimary patient { patientId name birthDate sex } study {"
    " instanceUid studyId accessionNumber description date time } series { instanceUid number modality }"
)
NEWEST = (SortKey("updatedAt", descending=True),)
OLDEST = (SortKey("updatedAt"),)
#: How many pages are passed before W3 begins.
FAR = 399


@dataclass(frozen=True, slots=True)
class Question:
    """A search by patient, by series, by whole days of updatedAt in UTC (the end is not inside), or by several."""

    patient: str | None = None
    series: str | None = None
    period: tuple[datetime, datetime] | None = None
    newest_first: bool = False

    @property
    def sort(self) -> tuple[SortKey, ...]:
        return NEWEST if self.newest_first else OLDEST

    @property
    def where(self) -> Condition:
        ids = (("DICOMPatientId", self.patient), ("DICOMSeriesInstanceUID", self.series))
        found = [Comparison(name, Operator.EQ, value) for name, value in ids if value is not None]
        if self.period is not None:
            found.append(Comparison("updatedAt", Operator.RANGE, Range(*self.period)))
        return found[0] if len(found) == 1 else And(tuple(found))

    @property
    def query(self) -> str:
        found = [f"{name} = {value}" for name, value in (("patient", self.patient), ("series", self.series)) if value]
        if self.period is not None:
            start, end = self.period
            found.append(f"updated between {start:%Y-%m-%d}..{end - timedelta(days=1):%Y-%m-%d}")
        # Newest first is what the service does unasked.
        return " and ".join(found) + ("" if self.newest_first else " sort updatedAt asc")


#: The requests of each workload, as one server takes them.
Requests = dict[str, list[bytes]]
#: A search that finds nothing: what it costs is the document's.
NOBODY = Question(patient="nobody", newest_first=True)


@dataclass(frozen=True, slots=True)
class Surface:
    """How a GraphQL server is asked: the root field, the variables declared and given to it, and what a node's fields
    are called, in the order of `NODE`."""

    field: str
    declared: str
    given: str
    variables: Callable[[Question], dict[str, object]]
    node: str = NODE
    cursor: str = "String"
    key: str = ""

    def document(self, name: str = "Search", first: int = 50, node: str = "") -> str:
        page = f"edges {{ node {{ {node or self.node} }} }} pageInfo {{ hasNextPage endCursor }}"
        given = f"{self.given}, first: {first}, after: $after"
        return f"query {name}({self.declared}, $after: {self.cursor}) {{ {self.field}({given}) {{ {page} }} }}"

    def request(self, question: Question, after: str | None = None, document: str = "") -> bytes:
        variables = {**self.variables(question), "after": after}
        return post({"query": document or self.document(), "variables": variables}, self.key)


def ours(key: str) -> Surface:
    return Surface("imageSets", "$q: String", "query: $q", lambda question: {"q": question.query}, key=key)


def make_questions(store: SQLiteStore) -> dict[str, list[Question]]:
    """The questions of each workload; W3's begin far behind the first page."""
    stored = store.fetch(Request(DATASTORE, Everything(), (SortKey("imageSetId"),), 4_000)).image_sets
    samples = [each for each in stored if {"DICOMPatientId", "DICOMSeriesInstanceUID"} <= set(each.tags)][::50]
    updated = Comparison("updatedAt", Operator.EXISTS, None)
    first, last = (
        store.fetch(Request(DATASTORE, updated, sort, 1)).image_sets[0].updated_at for sort in (OLDEST, NEWEST)
    )
    assert first is not None
    assert last is not None
    span = max((last - first).days - 40, 1)
    random = Random(7)  # noqa: S311 - nothing is secret here

    def days(start: datetime, count: int) -> tuple[datetime, datetime]:
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
        return start, start + timedelta(days=count)

    made: dict[str, list[Question]] = {name: [] for name in ("W1", "W2", "W3", "W4")}
    for sample in samples[:VARIANTS]:
        made["W1"].append(Question(patient=str(sample.tags["DICOMPatientId"]), newest_first=True))
        made["W2"].append(Question(period=days(first + timedelta(days=random.randrange(span)), 30)))
        assert sample.updated_at is not None
        around = days(sample.updated_at - timedelta(days=3), 10)
        made["W4"].append(Question(series=str(sample.tags["DICOMSeriesInstanceUID"]), period=around))
    made["W3"] = made["W2"][: VARIANTS // 8]
    return made


async def make_requests(server: Server, surface: Surface, questions: dict[str, list[Question]]) -> Requests:
    """The questions as this server takes them; where W3 begins is found by paging, as clients do."""
    return {
        name: [
            surface.request(each, await find_cursor(server, surface, each) if name == "W3" else None) for each in asked
        ]
        for name, asked in questions.items()
    }


async def find_cursor(server: Server, surface: Surface, question: Question) -> str | None:
    """The cursor behind which W3 begins: of the last page but one where there are not so many."""
    left, after = FAR * 50, None
    while left:
        first = min(left, 500)
        page = await ask(server.port, surface.request(question, after, surface.document("Far", first, "id")))
        if not page["pageInfo"]["hasNextPage"]:
            break
        left, after = left - first, page["pageInfo"]["endCursor"]
    return after


def make_statements(store: SQLiteStore, questions: dict[str, list[Question]]) -> tuple[Requests, list[list[str]]]:
    """The questions as a bare route takes them, and the lists of statements that these requests name by number."""
    known: list[list[str]] = []
    made: Requests = {}
    for name, asked in questions.items():
        made[name] = []
        for question in asked:
            at = find_far(store, question.where) if name == "W3" else None
            text, parameters = statements(question.where, question.sort, at)
            if text not in known:
                known.append(text)
            made[name].append(post({"statements": known.index(text), "parameters": parameters}))
    return made, known


def find_far(store: SQLiteStore, where: Condition) -> Place | None:
    """Behind how many pages W3 begins, or as many as there are."""
    at: Place | None = None
    left = FAR * 50
    while left:
        answer = store.fetch(Request(DATASTORE, where, OLDEST, min(left, 500), after=at))
        if not answer.more:
            return at
        at = place(answer.image_sets[-1], OLDEST)
        left -= len(answer.image_sets)
    return at


def statements(where: Condition, sort: tuple[SortKey, ...], at: Place | None) -> tuple[list[str], list[Any]]:
    """The SQL by which the store reads a page, and the parameters of each statement but the last, how many rows."""
    keys = sql.read_keys(sort, backward=False)
    begin = None if at is None else (*(sql.column_value(key.type, at.values[0]) for key in keys[:1]), at.image_set_id)
    clauses = list(sql.segments(where, keys, begin, sql.Names("name_parts_1")))
    order = sql.order_by(keys)
    text = [f"SELECT {COLUMNS} FROM image_sets_1 WHERE {clause.text} ORDER BY {order} LIMIT ?" for clause in clauses]  # noqa: S608
    return text, [clause.parameters for clause in clauses]


def values(node: dict[str, Any]) -> list[object]:
    """What a node says, whatever its server calls it and however it writes times; without the server's own id."""
    flat = [value for each in node.values() for value in (each.values() if isinstance(each, dict) else (each,))]
    for number in (3, 4):
        flat[number] = flat[number] and datetime.fromisoformat(flat[number])
    flat[16] = flat[16] and time.fromisoformat(flat[16])
    return flat[1:]
