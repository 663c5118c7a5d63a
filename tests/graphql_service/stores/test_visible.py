"""A view shows its data stores whole, and of every other what the store shows of one that it has not."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from grammar.criteria import Comparison, Condition, Everything, Operator, SortKey
from graphql_service.api.context import Context
from graphql_service.api.execution import Asked, Executor
from graphql_service.api.node_ids import NodeId
from graphql_service.errors import ServiceError
from graphql_service.healthimaging.server import create_routes
from graphql_service.image_set import ImageSet
from graphql_service.paging import PageRequest
from graphql_service.searching import Inquiry, search
from graphql_service.settings import Limits, Settings
from graphql_service.stores import open_store
from graphql_service.stores.base import Answer, Request, Store
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.stores.visible import VisibleStore, show_only
from tests.graphql_service.stores.contract import check_pages, expected, expected_studies
from tests.live import make_image_sets
from tests.strategies import DATASTORE_ID, collections, conditions, sorts
from tests.wire import Open, environment, serve

SEEN, HIDDEN, NONE = "a" * 32, "b" * 32, "c" * 32
ROWS = list(make_image_sets(60))
STUDY = str(ROWS[0].tags["DICOMStudyInstanceUID"])
SORT = (SortKey("updatedAt", descending=True),)
LIMITS = Limits()
EXECUTOR = Executor(LIMITS)


def rows_in(datastore_id: str) -> list[ImageSet]:
    return [replace(row, datastore_id=datastore_id) for row in ROWS]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path_factory.mktemp("store") / "store.db", create=True)) as store:
        for datastore_id in (SEEN, HIDDEN):
            store.load(datastore_id, rows_in(datastore_id))
        yield store


@pytest.fixture(scope="module", params=["sqlite", "healthimaging"])
def store(request: pytest.FixtureRequest, embedded: SQLiteStore) -> Iterator[Store]:
    """The same data stores, embedded and behind a real boto3."""
    if request.param == "sqlite":
        yield embedded
        return
    with ExitStack() as stack:
        url = stack.enter_context(serve(Starlette(routes=create_routes(Open(embedded)))))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment(url).items():
            patch.setenv(name, value)
        yield stack.enter_context(closing(open_store("healthimaging://us-east-1", Settings(healthimaging_rate=10_000))))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stored=collections, where=conditions, sort=sorts, size=st.integers(1, 8))
def test_what_is_seen_is_a_store_like_any(
    embedded: SQLiteStore, stored: list[ImageSet], where: Condition, sort: tuple[SortKey, ...], size: int
) -> None:
    embedded.load(DATASTORE_ID, stored)
    view = VisibleStore(embedded, frozenset({DATASTORE_ID}))
    try:
        wanted = expected(stored, where, sort)
        check_pages(view, DATASTORE_ID, wanted, where, sort, size)
        assert view.count(DATASTORE_ID, where, 1_000) == len(wanted)
        firsts = expected_studies(stored, where, sort)
        check_pages(view, DATASTORE_ID, firsts, where, sort, size, studies=True)
        assert view.count(DATASTORE_ID, where, 1_000, studies=True) == len(firsts)
    finally:
        embedded.remove_datastore(DATASTORE_ID)


def test_a_view_shows_the_whole_of_what_it_shows(store: Store) -> None:
    view = show_only(store, frozenset({SEEN, NONE}))
    assert view.capabilities == store.capabilities
    assert [each.datastore_id for each in store.datastores()] == [SEEN, HIDDEN]
    assert [each.datastore_id for each in view.datastores()] == [SEEN]
    ids = [row.image_set_id for row in ROWS[:3]] + ["0" * 32]
    for use in uses(SEEN, ids):
        assert outcome(view, use) == outcome(store, use)
    assert view.image_sets(SEEN, ids).keys() == set(ids[:3])


def test_without_a_limit_the_store_is_its_own_view(store: Store) -> None:
    assert show_only(store, None) is store
    assert show_only(store, frozenset()).datastores() == ()


Use = Callable[[Store], object]


def uses(datastore_id: str, image_set_ids: list[str]) -> list[Use]:
    """Every way to ask a store for something of a data store."""
    return [
        lambda store: store.datastore(datastore_id),
        lambda store: store.image_sets(datastore_id, image_set_ids),
        lambda store: store.image_sets(datastore_id, []),
        lambda store: store.versions(datastore_id, image_set_ids),
        lambda store: store.metadata(datastore_id, image_set_ids),
        lambda store: store.fetch(Request(datastore_id, Everything(), SORT, 5)),
        lambda store: store.fetch(Request(datastore_id, Everything(), SORT, 5, token="x")),  # noqa: S106 - of a page
        lambda store: store.fetch(Request(datastore_id, Everything(), SORT, 5, backward=True)),
        lambda store: store.count(datastore_id, Everything(), 5),
        lambda store: store.count(datastore_id, Comparison("DICOMPatientId", Operator.EQ, "P1"), 5),
        lambda store: store.values(datastore_id, "DICOMSeriesModality"),
        lambda store: store.studies(datastore_id, [STUDY, "1.2.3"]),
        lambda store: store.count(datastore_id, Everything(), 5, studies=True),
        lambda store: store.histogram(datastore_id, Everything(), "createdAt", timedelta(days=1)),
    ]


def outcome(store: Store, use: Use) -> object:
    """What a use answers, or the whole of its error. A token says when it was made, which is not compared."""
    try:
        found = use(store)
        return replace(found, token=found.token and "made") if isinstance(found, Answer) else found
    except ServiceError as error:
        return type(error), str(error), error.code


@pytest.mark.parametrize("number", range(14))
def test_what_is_hidden_is_as_what_is_not_there(store: Store, number: int) -> None:
    view = show_only(store, frozenset({SEEN}))
    ids = [ROWS[0].image_set_id, "0" * 32, "no id"]
    wanted = outcome(store, uses(NONE, ids)[number])
    assert outcome(view, uses(HIDDEN, ids)[number]) == wanted
    assert outcome(view, uses(NONE, ids)[number]) == wanted
    for malformed in ("", "\0", "B" * 32, "b" * 33, "'", "é"):
        use = (
            uses(malformed, [])[number]
            if store.capabilities.tokens and 0 < number < 5
            else uses(malformed, ids)[number]
        )
        assert outcome(view, use) == outcome(store, use)


def test_a_view_that_is_closed_leaves_the_store_open(store: Store) -> None:
    show_only(store, frozenset({SEEN})).close()
    assert store.datastore(SEEN) is not None


def ask(store: Store, document: str) -> str:
    """The whole answer over GraphQL, as text."""
    context = Context(store, LIMITS, 500)
    return json.dumps(anyio.run(lambda: EXECUTOR.answer(Asked(document, {}), context)).body)


def test_no_query_tells_what_is_hidden_from_what_is_not_there(store: Store) -> None:
    view = show_only(store, frozenset({SEEN}))
    image_set = ROWS[0].image_set_id
    cursors = {
        datastore_id: search(store, Inquiry(datastore_id), PageRequest(2)).end_cursor for datastore_id in (SEEN, HIDDEN)
    }
    cursors[NONE] = cursors[HIDDEN]
    seen: dict[str, list[str]] = {}
    for datastore_id in (SEEN, HIDDEN, NONE):
        node, datastore, study = (
            NodeId(kind, datastore_id, key).encode()
            for kind, key in (("ImageSet", image_set), ("Datastore", ""), ("Study", STUDY))
        )
        documents = (
            f'{{node(id: "{node}") {{id}}}}',
            f'{{nodes(ids: ["{node}", "{datastore}"]) {{id}}}}',
            f'{{datastore(id: "{datastore}") {{id}}}}',
            f'{{datastore(id: "{datastore_id}") {{name}}}}',
            f'{{datastores(after: "{datastore}", first: 5) {{nodes {{id}}}}}}',
            f'{{imageSet(datastoreId: "{datastore_id}", imageSetId: "{image_set}") {{id}}}}',
            f'{{imageSets(datastoreId: "{datastore_id}", first: 2) {{nodes {{id}} totalCount {{value}}}}}}',
            f'{{imageSets(datastoreId: "{datastore_id}", after: "{cursors[datastore_id]}") {{nodes {{id}}}}}}',
            f'{{imageSets(datastoreId: "{SEEN}", after: "{cursors[datastore_id]}") {{nodes {{id}}}}}}',
            f'{{searchAnalysis(query: "*", datastoreId: "{datastore_id}") {{canonical}}}}',
            f'{{searchCompletions(query: "modality = ", position: 11, datastoreId: "{datastore_id}") {{label}}}}',
            f'{{node(id: "{study}") {{id}}}}',
            f'{{studies(datastoreId: "{datastore_id}", first: 2) {{nodes {{id}} totalCount {{value}}}}}}',
            f'{{imageSetHistogram(datastoreId: "{datastore_id}", field: CREATED_AT, interval: DAY) {{count}}}}',
        )
        seen[datastore_id] = [ask(view, document) for document in documents]
        for told in seen[datastore_id]:
            assert HIDDEN not in told
            assert NONE not in told
    assert seen[HIDDEN] == seen[NONE]
    differing = [here != there for here, there in zip(seen[SEEN], seen[HIDDEN], strict=True)]
    assert differing == [True] * 4 + [False] + [True] * 9
    # Where one alone is seen, it need not be named.
    assert image_set in ask(view, f'{{imageSet(imageSetId: "{image_set}") {{imageSetId}}}}')
