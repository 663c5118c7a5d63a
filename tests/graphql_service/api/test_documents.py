import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_service.api.documents import Documents, NoOperation, RefusedDocument, check_text
from graphql_service.api.schema import schema
from graphql_service.errors import LimitExceeded
from graphql_service.settings import Limits

UNLIMITED = Limits(**{each.name: 10**9 for each in fields(Limits)})
DOCUMENTS = Documents(schema.graphql_schema, UNLIMITED)

#: Each fragment spreads the one before twice: followed naively, four million fields.
DOUBLING = "query { datastores { nodes { ...F22 } } } fragment F0 on Datastore { id } " + " ".join(
    f"fragment F{n} on Datastore {{ ...F{n - 1} ...F{n - 1} }}" for n in range(1, 23)
)
DOUBLING_FIELDS = "query { __schema { types { ...F22 } } } fragment F0 on __Type { name } " + " ".join(
    f"fragment F{n} on __Type {{ a: ofType {{ ...F{n - 1} }} b: ofType {{ ...F{n - 1} }} }}" for n in range(1, 23)
)


def exceeded(text: str, **limits: int) -> LimitExceeded:
    with pytest.raises(LimitExceeded) as refused:
        Documents(schema.graphql_schema, replace(UNLIMITED, **limits)).read(text)
    return refused.value


@pytest.mark.parametrize(
    ("text", "limit", "actual"),
    [
        ("{ searchFields { name } }", "document_tokens", 6),
        ('{ datastore(id: "a # b") { name } } # the end { } @', "document_tokens", 11),
        ('{ datastore(id: """a " \\""" {""") { name } }', "document_tokens", 11),
        ("{ searchFields { name } } # and so on", "document_length", 37),
        ("{ searchFields { name } }", "name_length", 12),
        ("{ datastore(id: 1234567890123) { name } }", "name_length", 13),
        ("{ searchFields { name } }", "document_depth", 2),
        ("{ ... { ...F } } fragment F on Query { datastores { nodes { id } } }", "document_depth", 3),
        ("{ searchFields { name } }", "nesting", 2),
        ('{ imageSet(imageSetId: [[["1"]]]) { id } }', "nesting", 5),
        ("{ a: searchFields { b: name } c: searchFields { name } }", "document_aliases", 3),
        ("{ ...F ...F } fragment F on Query { a: __typename }", "document_aliases", 2),
        ("{ __typename searchFields { name } }", "document_root_fields", 2),
        ("{ ...F } fragment F on Query { __typename searchFields { name } }", "document_root_fields", 2),
        ("{ __typename @skip(if: true) @include(if: true) }", "document_directives", 2),
        ("{ ...F } fragment F on Query { __typename }", "document_fragments", 1),
    ],
)
def test_each_limit_counts_what_it_says(text: str, limit: str, actual: int) -> None:
    refused = exceeded(text, **{limit: actual - 1})
    assert (refused.limit, refused.maximum, refused.actual) == (limit, actual - 1, actual)
    assert re.fullmatch(
        rf".*: {actual}, and at most {actual - 1} are allowed \(IMAGESETS_MAX_{limit.upper()}\)", str(refused)
    )
    try:
        Documents(schema.graphql_schema, replace(UNLIMITED, **{limit: actual})).read(text)
    except RefusedDocument:
        assert "[[[" in text  # not valid, but within the limit


def test_fragments_that_double_are_counted_but_not_followed() -> None:
    assert DOCUMENTS.read(DOUBLING).operation(None).cost.of({}) == 1 + 50 * 2
    assert exceeded(DOUBLING_FIELDS, document_aliases=50).actual == 2**23 - 2
    # What is written often in one place is answered once, but compared with itself by validation.
    refused = exceeded(DOUBLING_FIELDS, document_depth=20)
    assert (refused.limit, refused.actual) == ("document_depth", 25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
            "Cannot spread fragment 'A' within itself",
        ),
        ("{ ...A }", "Unknown fragment 'A'."),
        ("{ searchField { name } }", "Cannot query field 'searchField' on type 'Query'. Did you mean 'searchFields'"),
        ("{", "Syntax Error: Expected Name, found <EOF>."),
        ("mutation { a }", "The mutation operation is not supported by the schema."),
    ],
)
def test_what_is_not_valid_is_refused_with_graphqls_own_message(text: str, message: str) -> None:
    with pytest.raises(RefusedDocument) as refused:
        DOCUMENTS.read(text)
    assert refused.value.errors[0].message.startswith(message)


def test_what_stands_too_often_to_be_compared_is_refused() -> None:
    with pytest.raises(RefusedDocument) as refused:
        DOCUMENTS.read(f"{{ searchFields {{ {'name ' * 1_000} }} }}")
    (error,) = refused.value.errors
    assert error.message == "fields of the document stand in it too often to be compared"
    assert DOCUMENTS.read(f"{{ searchFields {{ {'name ' * 100} }} }}")


def test_what_is_wrong_in_many_places_is_told_once() -> None:
    with pytest.raises(RefusedDocument) as refused:
        DOCUMENTS.read("{ nothing searchFields @aa @aa { name } a: nothing }")
    assert [(error.message, [place.column for place in error.locations or ()]) for error in refused.value.errors] == [
        ("Cannot query field 'nothing' on type 'Query'.", [3, 41]),
        ("Unknown directive '@aa'.", [24, 28]),
    ]


def test_no_more_errors_are_told_than_anybody_reads() -> None:
    with pytest.raises(RefusedDocument) as refused:
        DOCUMENTS.read(f"{{ {' '.join(f'a{number}' for number in range(500))} }}")
    assert len(refused.value.errors) == 21


def test_nesting_beyond_the_stack_is_a_syntax_error() -> None:
    for text in ("{a" * 100_000, "{ a(b: " + "[" * 100_000):
        with pytest.raises(RefusedDocument) as refused:
            DOCUMENTS.read(text)
        assert refused.value.errors[0].message.startswith("Syntax Error: Document is nested too deeply")


def test_the_schema_can_be_kept_from_who_asks() -> None:
    silent = Documents(schema.graphql_schema, UNLIMITED, introspection=False, suggestions=False)
    with pytest.raises(RefusedDocument) as refused:
        silent.read("{ __schema { queryType { name } } }")
    assert "introspection has been disabled" in refused.value.errors[0].message
    with pytest.raises(RefusedDocument) as refused:
        silent.read("{ searchField { name } }")
    assert refused.value.errors[0].message == "Cannot query field 'searchField' on type 'Query'."


def test_an_operation_is_found_by_its_name_or_alone() -> None:
    two = DOCUMENTS.read("query A { __typename } query B { searchFields { name } }")
    assert two.operation("B").root_fields == ("searchFields",)
    for name, message in (
        (None, "the document has 2 operations: name one of them in 'operationName'"),
        ("C", "the document has no operation named 'C'"),
    ):
        with pytest.raises(NoOperation) as refused:
            two.operation(name)
        assert str(refused.value) == message
    with pytest.raises(RefusedDocument) as unused:
        DOCUMENTS.read("fragment A on Query { __typename }")
    assert unused.value.errors[0].message == "Fragment 'A' is never used."
    assert DOCUMENTS.read(
        "{ ...F ... on Query { a: datastores { nodes { id } } } } fragment F on Query { __typename }"
    ).operation(None).root_fields == ("datastores", "__typename")


FRAGMENT = "fragment F on Query { imageSets { nodes { id patient { name } } } }"
ROW = "{ nodes { id patient { name } } }"


@pytest.mark.parametrize(
    ("text", "variables", "cost"),
    [
        ("{ __typename }", {}, 1),
        ("{ searchFields { name aliases } }", {}, 1 + 10 * 2),
        ("{ imageSets(first: 2) { totalCount { value } nodes { dicomTags metadata } } }", {}, 1 + 101 + 2 * (1 + 510)),
        ("{ studies { nodes { imageSets { totalCount { value } } } } }", {}, 1 + 50 * (1 + 1 + 101)),
        (f"{{ imageSets {ROW} }}", {}, 1 + 50 * 4),
        (f"{{ imageSets(first: 7) {ROW} }}", {}, 1 + 7 * 4),
        (f"{{ imageSets(last: 7) {ROW} }}", {}, 1 + 7 * 4),
        (f"{{ imageSets(first: 0) {ROW} }}", {}, 1),
        (f"{{ imageSets(first: -9) {ROW} }}", {}, 1),
        (f"{{ imageSets(first: 999999) {ROW} }}", {}, 1 + 500 * 4),
        (f"{{ imageSets(first: 3, last: 7) {ROW} }}", {}, 1 + 7 * 4),
        (f"query ($n: Int) {{ imageSets(first: $n) {ROW} }}", {}, 1 + 50 * 4),
        (f"query ($n: Int) {{ imageSets(first: $n) {ROW} }}", {"n": None}, 1 + 50 * 4),
        (f"query ($n: Int) {{ imageSets(first: $n) {ROW} }}", {"n": "7"}, 1 + 50 * 4),
        (f"query ($n: Int) {{ imageSets(first: $n) {ROW} }}", {"n": 7}, 1 + 7 * 4),
        (f"query ($n: Int) {{ imageSets(first: $n) {ROW} }}", {"n": 7.0}, 1 + 7 * 4),
        (f"query ($n: Int) {{ imageSets(last: $n) {ROW} }}", {"n": 5e300}, 1 + 500 * 4),
        (f"query ($n: Int) {{ imageSets(last: $n) {ROW} }}", {"n": True}, 1 + 50 * 4),
        (f"query ($n: Int = 7) {{ imageSets(first: $n) {ROW} }}", {}, 1 + 7 * 4),
        (f"query ($n: Int = 7) {{ imageSets(first: $n) {ROW} }}", {"n": 2}, 1 + 2 * 4),
        (f"query ($n: Int) {{ ...F ... {{ a: imageSets(first: $n) {ROW} }} }} {FRAGMENT}", {"n": 2}, 1 + 200 + 1 + 8),
        ('{ nodes(ids: ["a", "b"]) { id ... on ImageSet { version } } }', {}, 1 + 2 * 2),
        ("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["a"] * 9}, 1 + 9),
        ("{ node(id: 1) { ...A ...A } } fragment A on Node { id }", {}, 2),
    ],
)  # fmt: skip
def test_a_cost_is_how_many_fields_an_answer_may_hold(text: str, variables: dict[str, object], cost: int) -> None:
    assert DOCUMENTS.read(text).operation(None).cost.of(variables) == cost


def test_a_page_size_in_a_variable_counts_below_another() -> None:
    # No connection of the schema holds another one yet by a variable; the sum is the same.
    text = f"query ($n: Int) {{ a: imageSets(first: $n) {ROW} b: imageSets(first: $n) {ROW} }}"
    assert DOCUMENTS.read(text).operation(None).cost.of({"n": 5}) == 2 * (1 + 5 * 4)


def test_a_document_is_kept_once_it_has_come_again_and_a_long_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = Documents(schema.graphql_schema, UNLIMITED)
    first, second, third = (documents.read("{ __typename }") for _ in range(3))
    assert first is not second
    assert second is third
    long = "{ __typename }" + " " * 10_000
    documents.read(long)
    assert documents.read(long) is not documents.read(long)
    # Those that come once drive none out.
    monkeypatch.setattr("graphql_service.api.documents._KEPT", 1)
    monkeypatch.setattr("graphql_service.api.documents._SEEN", 3)
    for number in range(5):
        documents.read(f"{{ a{number}: __typename }}")
    assert documents.read("{ __typename }") is third


@given(st.text(st.sampled_from('"\\ab {}[]()#@\n.,…'), max_size=200))
def test_any_text_can_be_counted(text: str) -> None:
    check_text(text, UNLIMITED)
    try:
        DOCUMENTS.read(text)
    except RefusedDocument as refused:
        assert refused.errors
