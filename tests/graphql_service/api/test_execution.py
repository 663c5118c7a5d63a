from typing import Any

import anyio

from graphql_service.api.context import Context
from graphql_service.api.execution import Answered, Asked, Executor
from graphql_service.settings import Limits
from graphql_service.stores.sqlite import SQLiteStore
from tests.graphql_service.api.conftest import DATASTORE

LIMITS = Limits(cost=1_000, node_ids=2, cursor_length=10)


def answer(store: SQLiteStore, text: str, variables: dict[str, Any] | None = None, name: str | None = None) -> Answered:
    context = Context(store, LIMITS, 500)
    return anyio.run(lambda: Executor(LIMITS).answer(Asked(text, variables or {}, name), context))


def test_an_answer_says_what_it_may_cost(store: SQLiteStore) -> None:
    assert answer(store, "{ imageSets(first: 3) { nodes { version } } }") == Answered(
        {
            "data": {"imageSets": {"nodes": [{"version": 3}, {"version": 2}, {"version": 1}]}},
            "extensions": {"cost": {"requested": 7, "limit": 1_000}},
        },
        ("imageSets",),
    )


def test_what_costs_too_much_is_not_executed(store: SQLiteStore) -> None:
    text = "query ($n: Int) { imageSets(first: $n) { nodes { id version } } }"
    assert answer(store, text, {"n": 400}) == Answered(
        {
            "errors": [
                {
                    "message": "fields that the answer may hold: 1,201, and at most 1,000 are allowed"
                    " (IMAGESETS_MAX_COST)",
                    "extensions": {"code": "LIMIT_EXCEEDED", "limit": "cost", "maximum": 1_000, "actual": 1_201},
                }
            ],
            "extensions": {"cost": {"requested": 1_201, "limit": 1_000}},
        }
    )


def test_a_request_at_fault_is_not_executed(store: SQLiteStore) -> None:
    found = answer(store, "query A { __typename }", name="B")
    assert found == Answered(
        {
            "errors": [
                {"message": "the document has no operation named 'B'", "extensions": {"code": "BAD_USER_INPUT"}},
            ],
            "extensions": {"cost": {"requested": None, "limit": 1_000}},
        }
    )
    assert answer(store, "query A { __typename } query B { b: __typename }", name="B").body["data"] == {"b": "Query"}
    refused = answer(store, "query ($n: Int!) { imageSets(first: $n) { nodes { id } } }", {"n": "many"})
    assert refused.root_fields == ()
    assert "data" not in refused.body


def test_values_count_for_each_root_field(store: SQLiteStore) -> None:
    fields = " ".join(f"a{number}: imageSets(filter: $f, first: 1) {{ nodes {{ id }} }}" for number in range(20))
    text = f"query ($f: ImageSetFilter) {{ {fields} }}"
    found: Any = answer(store, text, {"f": {"and": [{"patientId": {}}] * 500}}).body
    assert found["errors"][0]["extensions"] == {
        "code": "LIMIT_EXCEEDED",
        "limit": "variable_values",
        "maximum": 20_000,
        "actual": 20 * 1_002,
    }


def test_a_filter_is_read_no_further_than_its_limits(store: SQLiteStore) -> None:
    text = "query ($f: ImageSetFilter) { imageSets(filter: $f, first: 1) { nodes { id } } }"
    empty: Any = answer(store, text, {"f": {"and": [{}] * 5_000}}).body
    assert len(empty["errors"][0]["extensions"]["problems"]) == 20
    many: Any = answer(store, text, {"f": {"and": [{"version": {"eq": 1}}] * 5_000}}).body
    assert [problem["code"] for problem in many["errors"][0]["extensions"]["problems"]] == ["too_many_comparisons"]


def test_limits_of_arguments_name_themselves(store: SQLiteStore) -> None:
    for text, limit, maximum, actual in (
        ('{ nodes(ids: ["a", "b", "c"]) { id } }', "node_ids", 2, 3),
        (f'{{ imageSets(after: "{"A" * 11}") {{ nodes {{ id }} }} }}', "cursor_length", 10, 11),
        (f'{{ datastores(before: "{"A" * 12}") {{ nodes {{ id }} }} }}', "cursor_length", 10, 12),
    ):
        errors: Any = answer(store, text).body["errors"]
        assert errors[0]["extensions"] == {
            "code": "LIMIT_EXCEEDED",
            "limit": limit,
            "maximum": maximum,
            "actual": actual,
        }


def test_what_was_read_is_known(store: SQLiteStore) -> None:
    context = Context(store, LIMITS, 500)
    text = f"""{{
        imageSets(query: "patient = P1", filter: {{version: {{eq: 1}}}}) {{ nodes {{ id }} }}
        imageSet(datastoreId: "{DATASTORE}", imageSetId: "{2:032}") {{ id }}
        gone: imageSet(imageSetId: "{9:032}") {{ id }}
    }}"""
    anyio.run(lambda: Executor(LIMITS).answer(Asked(text, {}), context))
    searched = [reading for reading in context.readings if reading.search is not None]
    assert [(reading.operation, reading.datastore_id, reading.image_set_ids) for reading in searched] == [
        ("imageSets", DATASTORE, (f"{1:032}",)),
    ]
    # Read together or one after the other, as the moment has it; what is not there was asked for, too.
    named = [reading for reading in context.readings if reading.search is None]
    assert {image_set_id for reading in named for image_set_id in reading.named} == {f"{2:032}", f"{9:032}"}
    assert [image_set_id for reading in named for image_set_id in reading.image_set_ids] == [f"{2:032}"]
