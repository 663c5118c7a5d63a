"""A compiled search answers what GraphQL's executor answers, word for word, and leaves to it what it cannot."""

import json
import time
from contextlib import closing
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import anyio
import pytest
from anyio.to_thread import run_sync
from graphql import FragmentDefinitionNode, GraphQLObjectType, OperationDefinitionNode, get_named_type, parse
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from graphql_service import deadlines, searching
from graphql_service.api import compiling, documents
from graphql_service.api.compiling import CompiledSearch, compile_search
from graphql_service.api.context import Context
from graphql_service.api.execution import Answered, Asked, Executor
from graphql_service.api.schema import schema
from graphql_service.auditing import Reading
from graphql_service.deadlines import limit_time
from graphql_service.errors import StoreTimeout
from graphql_service.image_set import ImageSet
from graphql_service.settings import Limits
from graphql_service.stores import connections
from graphql_service.stores.base import STUDY_TIME, Store
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.stores.visible import show_only
from tests.graphql_service.api.conftest import DATASTORE
from tests.strategies import collections

LIMITS = Limits(cost=1_000_000)
NOW = datetime(2024, 3, 12, tzinfo=UTC)
QUERIES = (
    "",
    "*",
    "patient = A1 sort updated asc",
    "patient = $p",
    "patient in $p",
    "modality = CT or sex = F and updated > 2024-03-10 sort name, updated desc",
    "updated between 2024-03-10..2024-03-11 sort createdAt",
    "created < today sort birthDate desc",
    "version > 1 sort isPrimary, version",
    "not description is null sort description desc, studyDate",
    "sort tier, seriesCount desc, imageSetId desc",
    "pateint = A1",
    "patient = ",
)
FILTERS: tuple[object, ...] = (
    None,
    {},
    {"modality": {"eq": "ct"}},
    {"or": [{"version": {"gt": 1}}, {"isPrimary": {"isNull": True}}]},
    {"modality": {}},
    {"modality": {"eq": None}},
    {"modality": {"eqq": "ct"}},
    7,
)
ORDERS: tuple[object, ...] = (
    None,
    [],
    [{"field": "PATIENT_NAME"}],
    [{"field": "VERSION", "direction": "DESC"}],
    {"field": "NONE"},
)
#: For each argument of the field its type, and values for it that fit and that do not.
ARGUMENTS: dict[str, tuple[str, tuple[object, ...]]] = {
    "datastoreId": ("ID", ("d" * 32, "d" * 32, "e" * 32, "", 5, None)),
    "query": ("String", (*QUERIES, None, 3)),
    "variables": ("JSON", ({"p": "A1"}, {"p": ["A1", "a1"]}, {}, [1], None)),
    "filter": ("ImageSetFilter", FILTERS),
    "orderBy": ("[ImageSetOrder!]", ORDERS),
    "timeZone": ("String", ("UTC", "Europe/Lisbon", "Nowhere", None)),
    "first": ("Int", (0, 1, 3, 50, 501, -1, "3", None)),
    "last": ("Int", (0, 1, 3, None)),
}


class AnyMoment(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


class Clock(datetime, metaclass=AnyMoment):
    """Stands still: cursors say when their search was dated."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Clock":
        return cls.fromtimestamp(NOW.timestamp(), tz)


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "datetime", Clock)


Selection: TypeAlias = st.SearchStrategy[str]


def selections(kind: GraphQLObjectType, depth: int = 4) -> Selection:
    """Selection sets of a type: fields with and without aliases, fragments of all kinds, now and then a directive."""

    def field(name: str) -> Selection:
        below = get_named_type(kind.fields[name].type)
        inner = selections(below, depth - 1) if isinstance(below, GraphQLObjectType) else st.just("")
        return st.tuples(st.sampled_from(("", "", f"a_{name}: ")), inner).map(lambda made: f"{made[0]}{name} {made[1]}")

    names = [
        name
        for name, each in kind.fields.items()
        if depth > 0 or not isinstance(get_named_type(each.type), GraphQLObjectType)
    ]
    rare = {"metadata", "versions"}
    plain = st.sampled_from([name for name in names if name not in rare]).flatmap(field) | st.just("__typename")
    node = "id" in kind.fields
    conditions = ["", f"on {kind.name}", *(["on Node"] if node else [])]
    inline = st.tuples(st.sampled_from(conditions), st.lists(plain, min_size=1, max_size=3)).map(
        lambda made: f"... {made[0]} {{ {'id' if made[0] == 'on Node' else ' '.join(made[1])} }}"
    )
    spread = st.just(f"...{kind.name}Fields") if kind.name in FRAGMENTS else st.nothing()
    odd = st.sampled_from(("__typename @skip(if: false)", *(["metadata"] if "metadata" in names else [])))
    item = st.one_of(*[plain] * 8, inline, spread, *([odd] if depth < 2 else []))
    return st.lists(item, min_size=1, max_size=8).map(lambda items: f"{{ {' '.join(items)} }}")


FRAGMENTS = {
    "ImageSet": "fragment ImageSetFields on ImageSet { version study { date time } ...Global updatedAt }"
    " fragment Global on Node { __typename id }",
    "StudyAttributes": "fragment StudyAttributesFields on StudyAttributes { description time a_date: date }",
    "PageInfo": "fragment PageInfoFields on PageInfo { endCursor startCursor }",
}


def literal(value: object) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {literal(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(literal, value)) + "]"
        case "DESC" | "PATIENT_NAME" | "VERSION" | "NONE":
            return str(value)
    return json.dumps(value)


FORMS = ("{0}", "{0}", "a: {0}", "... {{ {0} }}", "... on Query {{ {0} }}", "{0} {0}", "__typename {0}")


def within(parts: list[str]) -> str:
    return f"({', '.join(parts)})" if parts else ""


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A document and variables; its cursors, if any, are `$after` and `$before`."""
    given: dict[str, object] = {}
    declared, written = [], []
    for name in draw(st.lists(st.sampled_from(sorted(ARGUMENTS)), max_size=4, unique=True)):
        kind, pool = ARGUMENTS[name]
        value = draw(st.sampled_from(pool))
        how = draw(st.sampled_from(("literal", "variable", "default", "absent")))
        written.append(f"{name}: {literal(value)}" if how == "literal" else f"{name}: ${name}")
        if how != "literal":
            declared.append(f"${name}: {kind}" + (f" = {literal(value)}" if how == "default" else ""))
        if how == "variable":
            given[name] = value
    for name in draw(st.sampled_from(((), (), ("after",), ("before",), ("after", "before")))):
        declared.append(f"${name}: String")
        written.append(f"{name}: ${name}")
        given[name] = None
    body = draw(selections(type_of("ImageSetConnection")))
    if draw(st.booleans()):
        body = "{ edges { cursor node " + draw(selections(type_of("ImageSet"), 2)) + " } pageInfo { endCursor } }"
    field = f"imageSets{within(written)} {body}"
    form = draw(st.sampled_from(FORMS))
    text = f"query{within(declared)} {{ {form.format(field)} }}"
    while used := [part for name, part in FRAGMENTS.items() if f"...{name}Fields" in text and part not in text]:
        text += f" {used[0]}"
    return text, given


def type_of(name: str) -> GraphQLObjectType:
    kind = schema.graphql_schema.type_map[name]
    assert isinstance(kind, GraphQLObjectType)
    return kind


def counted() -> dict[str, float]:
    """What the metrics have counted, without how long it took."""
    return {
        f"{sample.name}{sample.labels}": sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("imagesets_") and sample.name.endswith(("_total", "_count"))
    }


def answer(executor: Executor, store: Store, asked: Asked) -> tuple[Answered, list[Reading], dict[str, float]]:
    before = counted()
    context = Context(store, LIMITS, 500)
    answered = anyio.run(executor.answer, asked, context)
    changed = {name: value - before.get(name, 0) for name, value in counted().items()}
    return answered, context.readings, {name: value for name, value in changed.items() if value}


def text_of(answered: Answered) -> tuple[str, tuple[str, ...]]:
    """The answer as it is sent, in its order. The id of an internal error is its own."""
    return json.dumps(answered.body), answered.root_fields


def both(store: Store, asked: Asked) -> Any:
    """The answer of the executor's own way, which is also the compiled one."""
    compiled = answer(Executor(LIMITS), store, asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "compile_search", lambda *_: None)
        plain = answer(Executor(LIMITS), store, asked)
    assert text_of(compiled[0]) == text_of(plain[0])
    assert compiled[1:] == plain[1:], asked
    return plain[0].body


def plan_of(text: str) -> CompiledSearch | None:
    syntax = parse(text)
    (operation,) = [each for each in syntax.definitions if isinstance(each, OperationDefinitionNode)]
    fragments = {each.name.value: each for each in syntax.definitions if isinstance(each, FragmentDefinitionNode)}
    return compile_search(operation, fragments)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(collections, st.lists(requests(), min_size=5, max_size=12), st.data())
def test_both_ways_answer_the_same(
    rows: list[ImageSet], asked: list[tuple[str, dict[str, object]]], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder, closing(SQLiteStore(Path(folder) / "store.db", create=True)) as whole:
        whole.create_datastore("d" * 32)
        whole.load("d" * 32, rows)
        store = show_only(whole, data.draw(st.sampled_from((None, frozenset(("d" * 32,)), frozenset()))))
        cursors: list[object] = ["nonsense"]
        for text, given_values in asked:
            values = dict(given_values)
            for name in {"after", "before"} & set(values):
                values[name] = data.draw(st.sampled_from(cursors))
            body = both(store, Asked(text, values))
            found = (body.get("data") or {}).get("imageSets") or {}
            cursors += [edge["cursor"] for edge in found.get("edges", ()) if "cursor" in edge]
            event("answered" if body.get("data") else "refused")


CONNECTION = (
    "{ edges { cursor node { id } } nodes { id version patient { name } } totalCount { value precision }"
    " pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
    " search { complete scanned requests notices { code fix { text } line column utf16End expected } } }"
)


@pytest.mark.parametrize("sort", ["", "sort name desc, updated", "sort isPrimary", "sort birthDate, studyDate"])
def test_going_on_answers_the_same(store: SQLiteStore, sort: str) -> None:
    text = "query ($q: String, $first: Int, $last: Int, $after: String, $before: String) { imageSets"
    text += f"(query: $q, first: $first, last: $last, after: $after, before: $before) {CONNECTION} }}"
    query = f"version > 0 and version < 9 or version = 1 {sort}"
    whole = both(store, Asked(text, {"q": query}))["data"]["imageSets"]
    assert [node["version"] for node in whole["nodes"]]
    assert whole["search"]["notices"][0]["code"] == "mixed_and_or"
    first, second, third = (edge["cursor"] for edge in whole["edges"])
    for values in (
        {"first": 1, "after": first},
        {"last": 1, "before": third},
        {"last": 2, "after": first},
        {"first": 2, "before": third},
        {"first": 1, "after": first, "before": third},
        {"first": 0},
        {"first": 0, "after": third},
        {"last": 0},
        {"last": 1, "before": second},
    ):
        body = both(store, Asked(text, {"q": query, **values}))
        assert "errors" not in body, (values, body["errors"])
        page = body["data"]["imageSets"]
        assert len(page["nodes"]) <= 2


FRAGMENT = "fragment A on ImageSet { ... on Node { id } dicomTags patient { birthDate } }"


@pytest.mark.parametrize(
    "text",
    [
        "{ imageSets { nodes { id } } }",
        'query ($q: String = "") { a: imageSets(query: $q, filter: {}) { edges { cursor node { ...A } } } } '
        + FRAGMENT,
        f"{{ imageSets {CONNECTION} }}",
    ],
)
def test_what_a_plan_covers(text: str) -> None:
    assert plan_of(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "mutation { imageSets { nodes { id } } }",
        "{ __typename imageSets { nodes { id } } }",
        "{ a: imageSets { nodes { id } } b: imageSets { nodes { id } } }",
        "{ datastores { nodes { id } } }",
        "{}",
        "{ imageSets {} }",
        "{ imageSets { nodes {} } }",
        "{ imageSets { nodes { id @skip(if: true) } } }",
        "query @include(if: true) { imageSets { nodes { id } } }",
        "{ imageSets { nodes { versions { state } } } }",
        "{ imageSets { nodes { metadata } } }",
    ],
)
def test_what_a_plan_leaves_to_the_executor(text: str) -> None:
    assert plan_of(text) is None


@pytest.mark.parametrize(
    ("selected", "fields"),
    [
        (
            "nodes { id updatedAt study { date } series { modality } } edges { cursor }",
            ("imageSetId", "updatedAt", "DICOMStudyDateAndTime", "DICOMSeriesModality"),
        ),
        (
            "nodes { patient { name } study { description time } }",
            ("DICOMPatientName", "DICOMStudyDescription", STUDY_TIME),
        ),
    ],
)
def test_only_what_is_selected_is_read(selected: str, fields: tuple[str, ...]) -> None:
    plan = plan_of(f"{{ imageSets {{ {selected} }} }}")
    assert plan and plan.fields == fields  # noqa: PT018 - it is one claim: what is left to the executor has no fields


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What has been done in worker threads."""
    done: list[object] = []

    async def note(work: Any) -> Any:
        done.append(work)
        return await run_sync(work)

    for module in (compiling, deadlines):
        monkeypatch.setattr(module, "run_sync", note)
    return done


def test_what_is_brief_is_done_at_once_and_what_is_not_in_a_thread(
    tmp_path: Path, threads: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_BRIEF_STEPS", 100)
    rows = [
        ImageSet(DATASTORE, f"{number:032}", number, None, None, None, None, None, {"DICOMPatientId": f"P{number}"})
        for number in range(2_000)
    ]
    with closing(SQLiteStore(tmp_path / "store.db", create=True)) as store:
        store.load(DATASTORE, rows)
        for query, count, found in (
            ("patient = P7", 0, 1),
            ("patient like *7", 1, 50),
            ("patient = P8", 1, 1),
            ("version > 1990", 2, 9),
        ):
            text = "query ($q: String) { imageSets(query: $q) { nodes { version } } }"
            body: Any = answer(Executor(LIMITS), store, Asked(text, {"q": query}))[0].body
            assert len(body["data"]["imageSets"]["nodes"]) == found
            assert len(threads) == count


def test_a_long_query_is_read_in_a_thread(store: SQLiteStore, threads: list[object]) -> None:
    query = f"patient in ({', '.join(f'P{number}' for number in range(200))})"
    text = "query ($q: String) { imageSets(query: $q) { nodes { version } } }"
    assert len(both(store, Asked(text, {"q": query}))["data"]["imageSets"]["nodes"]) == 3
    assert len(threads) == 1


def test_what_runs_out_of_time_is_told(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_STEPS", 1)
    monkeypatch.setattr(connections, "_BRIEF_STEPS", 1)
    monkeypatch.setattr(connections, "_BRIEF_LOOKS", 0)
    with limit_time(0):
        time.sleep(0.001)
        body = both(store, Asked("{ imageSets { nodes { id } } }", {}))
    assert body["data"] is None
    assert body["errors"][0]["extensions"]["code"] == StoreTimeout.code
