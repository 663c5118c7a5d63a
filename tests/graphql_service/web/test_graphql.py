import gzip
import json
from collections.abc import AsyncIterator
from typing import NoReturn
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphql_service.api.execution import Answered, Executor
from graphql_service.deadlines import limit_time
from graphql_service.image_set import ImageSet
from graphql_service.settings import Limits, Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web import graphql
from graphql_service.web.app import create_app
from tests.graphql_service.web.conftest import DATASTORE, GRAPHQL, JSON, PATIENT, Client

NO_JSON = "the body must be JSON, in UTF-8, no member of it twice in one object"
FOUND = {"data": {"imageSets": {"nodes": [{"version": 1}]}}, "extensions": {"cost": {"requested": 101, "limit": 60000}}}
DOCUMENT = "query ($q: String) { imageSets(query: $q) { nodes { version } } }"


def test_a_post_is_answered(client: Client) -> None:
    answered = client.post("/graphql", json={"query": DOCUMENT, "variables": {"q": "patient = P1"}})
    assert (answered.status_code, answered.headers["content-type"], answered.json()) == (200, JSON, FOUND)
    # Clients may say the charset, and null for what they leave out.
    body = json.dumps({"query": DOCUMENT, "variables": None, "operationName": None})
    again = client.post("/graphql", content=body, headers={"content-type": "Application/JSON; charset=utf-8"})
    assert again.json() == FOUND


def test_a_get_is_answered(client: Client) -> None:
    parameters = {"query": DOCUMENT, "variables": '{"q": "patient = P1"}', "operationName": ""}
    assert client.get("/graphql", params=parameters).json() == FOUND
    two = {"query": "query A { __typename } query B { b: __typename }", "operationName": "B"}
    assert client.get("/graphql", params=two).json() == {
        "data": {"b": "Query"},
        "extensions": {"cost": {"requested": 1, "limit": 60000}},
    }


def test_the_page_limit_is_the_settings(client: Client) -> None:
    answered = client.post("/graphql", json={"query": "{ imageSets(first: 21) { nodes { id } } }"})
    assert answered.json()["errors"][0]["message"] == "'first' must be from 0 to 20; it is 21"


@pytest.mark.parametrize(
    ("content", "content_type", "status", "message"),
    [
        (b"{", JSON, 400, NO_JSON),
        (b"\xff", JSON, 400, NO_JSON),
        (b"null", JSON, 400, "the body must be a JSON object"),
        (b"[{}]", JSON, 400, "the body must be a JSON object"),
        (b"9" * 5000, JSON, 400, NO_JSON),
        (b"[" * 5000, JSON, 400, NO_JSON),
        (b"{}", JSON, 400, "'query' must be a GraphQL document"),
        (b'{"query": "{a}", "query": "{b}"}', JSON, 400, NO_JSON),
        (b'{"query": "{a}", "variables": {"a": [{"b" : 1, "\\u0062"\t:2}]}}', JSON, 400, NO_JSON),
        (b'{"query": "{a}", "variables": {"a\\":": 1, "b": 2, "b": 2}}', JSON, 400, NO_JSON),
        (b'{"query": "\\ud800"}', JSON, 400, NO_JSON),
        (b'{"query": "{a}", "variables": {"a": NaN}}', JSON, 400, NO_JSON),
        (b'{"query": ""}', JSON, 400, "'query' must be a GraphQL document"),
        (b'{"query": 1}', JSON, 400, "'query' must be a GraphQL document"),
        (b'{"query": "{a}", "variables": []}', JSON, 400, "'variables' must be a JSON object"),
        (b'{"query": "{a}", "operationName": 1}', JSON, 400, "'operationName' must be a text"),
        (b"query={a}", "application/x-www-form-urlencoded", 415, "a POST's body must be application/json"),
        (b'{"query": "{a}"}', "text/plain", 415, "a POST's body must be application/json"),
    ],
)
def test_a_post_that_asks_nothing_is_refused(
    client: Client, content: bytes, content_type: str, status: int, message: str
) -> None:
    answered = client.post("/graphql", content=content, headers={"content-type": content_type})
    assert answered.status_code == status
    assert answered.json() == {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "'query' must be a GraphQL document"),
        ({"query": "{a}", "variables": "{"}, NO_JSON.replace("body", "variables")),
        ({"query": "{a}", "variables": "[]"}, "the variables must be a JSON object"),
    ],
)
def test_a_get_that_asks_nothing_is_refused(client: Client, parameters: dict[str, str], message: str) -> None:
    answered = client.get("/graphql", params=parameters)
    assert answered.status_code == 400
    assert answered.json() == {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}


def test_other_methods_are_refused(client: Client) -> None:
    answered = client.request("PUT", "/graphql", json={"query": "{ __typename }"})
    assert (answered.status_code, sorted(answered.headers["allow"].split(", "))) == (405, ["GET", "HEAD", "POST"])


def test_tags_that_only_json_can_hold_are_answered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: object) -> Answered:
        return Answered({"data": {"tag": "\ud800", "number": 1 << 70}}, ("tag",))

    monkeypatch.setattr(Executor, "answer", answer)
    answered = client.post("/graphql", json={"query": "{ __typename }"})
    assert answered.content == b'{"data":{"tag":"\\ud800","number":1180591620717411303424}}'


def test_a_failure_at_the_edge_is_masked(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(*_: object) -> NoReturn:
        raise RuntimeError(PATIENT)

    monkeypatch.setattr(Executor, "answer", answer)
    answered = client.post("/graphql", json={"query": "{ __typename }"})
    (error,) = answered.json()["errors"]
    incident = error["extensions"]["id"]
    assert answered.status_code == 500
    assert error == {
        "message": f"internal error: the service's log has it under {incident}",
        "extensions": {"code": "INTERNAL_SERVER_ERROR", "id": incident},
    }
    assert incident in caplog.text
    assert PATIENT not in caplog.text


LEGACY, NAMED = {"accept": JSON}, {"accept": GRAPHQL}


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ("{ __typename }", 200),
        ("{", 400),
        ("{ nothing }", 400),
        ("query A { __typename } query B { __typename }", 400),
        ("query ($n: Int!) { imageSets(first: $n) { nodes { id } } }", 400),
        ("{ imageSets(first: 500) { nodes { id } } }", 200),  # refused by a resolver: it was executed
        ("mutation { a }", 400),
        ("{ " + "a" * 3_000 + " }", 400),
        ("{ " + "a " * 3_000 + " }", 400),
    ],
)
def test_the_status_says_what_became_of_a_request_where_its_media_type_does(
    client: Client, document: str, status: int
) -> None:
    for headers, expected in ((NAMED, status), (LEGACY, 200), ({}, 200), ({"accept": "*/*"}, 200)):
        for answered in (
            client.post("/graphql", json={"query": document}, headers=headers),
            client.get("/graphql", params={"query": document}, headers=headers),
        ):
            assert answered.status_code == expected
            assert answered.headers["content-type"] == headers.get("accept", JSON).replace("*/*", JSON)
            body = answered.json()
            assert status == 200 or ("errors" in body and "data" not in body)
            assert all(error["extensions"]["code"] for error in body.get("errors", ()))


def test_what_is_no_request_is_refused_under_every_media_type(client: Client) -> None:
    for headers in (NAMED, LEGACY, {}):
        answered = client.post("/graphql", content=b"null", headers=headers | {"content-type": JSON})
        assert answered.status_code == 400
    answered = client.post("/graphql", json={"query": "{ __typename }"}, headers={"accept": "image/png"})
    assert (answered.status_code, answered.json()["errors"][0]["extensions"]["code"]) == (406, "NOT_ACCEPTABLE")


@pytest.mark.parametrize(
    ("content", "headers", "status", "message"),
    [
        (b'{"query": "{a}", "extensions": []}', {}, 400, "'extensions' must be a JSON object"),
        (b'{"query": "{a}"}', {"content-type": f"{JSON}; charset=utf-16"}, 415,
         f"a POST's body must be {JSON} in UTF-8"),
        (b'{"query": "{a}"}', {"content-encoding": "br"}, 415,
         "a body may be sent as it is, or in the Content-Encoding gzip"),
        (b'{"query": "{a}"}', {"content-encoding": "gzip"}, 400,
         "the body is not gzip, as its Content-Encoding says"),
        (gzip.compress(b'{"query": "{a}"}')[:-1], {"content-encoding": "gzip"}, 400, "the body is not one whole gzip"),
        (gzip.compress(b'{"query": "{a}"}') * 2, {"content-encoding": "gzip"}, 400, "the body is not one whole gzip"),
        (b'{"query": "{a}", "variables": {"n": ' + b"9" * 5_000 + b"}}", {}, 400, NO_JSON),
        (b" " * 1_000_001, {}, 413,
         "bytes in the request's body: 1,000,001, and at most 1,000,000 are allowed (IMAGESETS_MAX_BODY_BYTES)"),
        (gzip.compress(b" " * 90_000_000), {"content-encoding": "gzip"}, 413,
         "bytes in the request's body: 1,000,001, and at most 1,000,000 are allowed (IMAGESETS_MAX_BODY_BYTES)"),
        (json.dumps({"query": "{a}", "variables": {"a": "b" * 250_000}}).encode(), {}, 413,
         "bytes in the variables: 250,008, and at most 250,000 are allowed (IMAGESETS_MAX_VARIABLES_BYTES)"),
        (b'{"query": "{a}", "variables": {"a": ' + b"[" * 200 + b"]" * 200 + b"}}", {}, 413,
         "brackets within each other in the variables: 201, and at most 100 are allowed (IMAGESETS_MAX_NESTING)"),
    ],
)  # fmt: skip
def test_a_body_that_is_broken_or_too_large_is_refused(
    client: Client, content: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    answered = client.post("/graphql", content=content, headers={"content-type": JSON} | headers)
    assert (answered.status_code, answered.json()["errors"][0]["message"]) == (status, message)


def test_a_body_may_be_gzip_and_may_be_nested_as_far_as_it_goes(client: Client) -> None:
    body = {"query": DOCUMENT, "variables": {"q": "patient = P1", "unused": [[[["{"]]]] * 100}}
    content, headers = gzip.compress(json.dumps(body).encode()), {"content-type": JSON, "content-encoding": "gzip"}
    assert client.post("/graphql", content=content, headers=headers).json() == FOUND


LEAVES: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
DOCUMENTS: st.SearchStrategy[object] = st.recursive(
    LEAVES, lambda below: st.lists(below) | st.dictionaries(st.text(), below)
)


@given(DOCUMENTS, st.booleans())
def test_json_is_decoded_as_the_standard_library_does(value: object, spaced: bool) -> None:  # noqa: FBT001 - hypothesis
    text = json.dumps({"value": value}, separators=(" , ", "\n: ") if spaced else None)
    assert repr(graphql._decode("body", text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("header", ["content-type", "authorization"])
def test_what_is_said_twice_is_refused(client: Client, header: str) -> None:
    headers = [("content-type", JSON), ("authorization", "Bearer a"), (header, "another")]
    answered = client.post("/graphql", content=b'{"query": "{ __typename }"}', headers=headers)
    assert answered.json()["errors"][0]["message"] == f"the header {header} stands there more than once"


def test_a_length_beyond_every_limit_is_refused_at_once(client: Client) -> None:
    headers = {"content-type": JSON, "content-length": "9" * 30}
    answered = client.post("/graphql", content=b"", headers=headers)
    assert (answered.status_code, answered.json()["errors"][0]["extensions"]["limit"]) == (413, "body_bytes")


def test_parameters_stand_where_the_method_has_them(client: Client) -> None:
    body = {"query": "{ __typename }"}
    for name in ("query", "variables", "operationName", "extensions"):
        answered = client.post("/graphql", json=body, params={name: "{}"})
        assert answered.json()["errors"][0]["message"] == f"'{name}' belongs in the body of a POST, not in its address"
    answered = client.get("/graphql?query={__typename}&query={__typename}")
    assert answered.json()["errors"][0]["message"] == "'query' stands more than once in the address"
    nested = "[" * 200 + "]" * 200
    answered = client.get("/graphql", params={"query": "{a}", "variables": f'{{"a": {nested}}}'})
    assert answered.json()["errors"][0]["extensions"]["limit"] == "nesting"


def test_an_endless_gzip_ends(client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
        while True:
            yield b"\0\0\0\xff\xff" * 13_000

    headers = {"content-type": JSON, "content-encoding": "gzip"}
    assert client.post("/graphql", content=endless(), headers=headers).status_code == 413


def test_an_address_is_utf8(client: Client) -> None:
    answered = client.get("/graphql?query={__typename}&variables=%7B%22a%22:%22%ff%22%7D")
    assert answered.json()["errors"][0]["message"] == "the address must be UTF-8, percent-encoded"


def test_many_errors_in_many_lines_are_found_at_once(client: Client) -> None:
    document = "query ($i: [ID!]!) {" + "\n" * 90_000 + "nodes(ids: $i) { id } }"
    body = {"query": document, "variables": {"i": ["x"] * 490}}
    errors = client.post("/graphql", json=body).json()["errors"]
    assert len(errors) == 490
    assert errors[0]["locations"] == [{"line": 90_001, "column": 1}]


def test_names_of_the_schema_are_not_proposed_where_that_is_off(store: SQLiteStore) -> None:
    query = "query ($f: ImageSetFilter) { imageSets(filter: $f) { nodes { id } } }"
    body = {"query": query, "variables": {"f": {"patientIdd": {"eq": "x"}}}}
    for shown in (True, False):
        client = Client(create_app(store, Settings(suggestions=shown)))
        (error,) = client.post("/graphql", json=body).json()["errors"]
        assert ("patientName" in error["message"]) == shown


@pytest.mark.parametrize(("value", "status"), [("1" * 30, 200), ("[" * 300 + "]" * 300, 413)])
def test_variables_of_a_large_body_are_refused_in_the_declared_way(store: SQLiteStore, value: str, status: int) -> None:
    client = Client(create_app(store, Settings()))
    padding = "x" * Limits().variables_bytes
    body = f'{{"query": "{{ __typename }}", "variables": {{"a": {value}}}, "extensions": {{"b": "{padding}"}}}}'
    answered = client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert answered.status_code == status, answered.text


def test_an_answer_may_not_be_larger_than_its_limit(store: SQLiteStore) -> None:
    client = Client(create_app(store, Settings(limits=Limits(answer_bytes=60))))
    (error,) = client.post("/graphql", json={"query": "{ searchFields { name description } }"}).json()["errors"]
    assert (error["extensions"]["limit"], error["extensions"]["maximum"]) == ("answer_bytes", 60)


def test_a_search_ends_with_the_time_of_its_request(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a" * 200 + str(n) for n in range(3_000)]  # each is looked at once
    rows = [ImageSet(DATASTORE, f"{n:032}", 1, None, None, None, None, None, {"DICOMStudyDescription": text})
            for n, text in enumerate(texts)]  # fmt: skip
    store.load(DATASTORE, rows)
    monkeypatch.setattr("graphql_service.web.service.limit_time", lambda _: limit_time(0.0))
    client = Client(create_app(store, Settings()))
    query = 'description like "*a*a*a*a*a*a*b"'
    (error,) = client.post("/graphql", json={"query": DOCUMENT, "variables": {"q": query}}).json()["errors"]
    assert error["extensions"]["code"] == "STORE_TIMEOUT"
    assert error["message"] == "the search took longer than this service lets a request take: narrow it"
    monkeypatch.undo()
    assert client.post("/graphql", json={"query": DOCUMENT, "variables": {"q": query}}).json()["data"]


WORDS = (DOCUMENT, "{ __typename }", "{", "query", "variables", "patient = P1", "q", "first", "\0", "é", "", "9" * 20)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries(
    {"query": st.sampled_from(WORDS) | JSONS},
    optional={"variables": JSONS, "operationName": JSONS, "extensions": JSONS, "other": JSONS},
)
BODIES = st.binary(max_size=300) | st.builds(lambda request: json.dumps(request).encode(), REQUESTS | JSONS)
TEXTS = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40)
NAMES = ("host", "origin", "accept", "content-type", "content-encoding", "sec-fetch-site", "authorization")
VALUES = ("http://[", "gzip", "*/*", JSON, GRAPHQL, "localhost", "cross-site")
HEADERS = st.dictionaries(
    st.sampled_from(NAMES), (TEXTS | st.sampled_from(VALUES)).map(lambda text: text.encode("latin-1")), max_size=3
)
KNOWN = {
    "BAD_REQUEST", "BAD_USER_INPUT", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "HOST_NOT_ALLOWED",
    "INVALID_ARGUMENT", "INVALID_CURSOR", "INVALID_QUERY", "LIMIT_EXCEEDED", "NOT_ACCEPTABLE", "ORIGIN_NOT_ALLOWED",
    "DATASTORE_NOT_FOUND",
}  # fmt: skip


@given(body=BODIES, headers=HEADERS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_posted_is_answered_or_refused_with_a_code(
    client: Client, body: bytes, headers: dict[str, bytes]
) -> None:
    answered = client.post("/graphql", content=body, headers={"content-type": JSON.encode()} | headers)
    assert answered.status_code in (200, 400, 403, 406, 413, 415, 421)
    told = answered.json()
    assert "data" in told or told["errors"]
    assert {error["extensions"]["code"] for error in told.get("errors", ())} <= KNOWN
    assert answered.headers["x-content-type-options"] == "nosniff"


PARTS = st.tuples(st.sampled_from(("query", "variables", "x")), st.sampled_from(("%7B__typename%7D", "{}", "%ff", "1")))
QUERIES = st.binary(max_size=200) | st.lists(PARTS).map(
    lambda parts: "&".join("=".join(part) for part in parts).encode()
)


@given(query=QUERIES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_an_address_is_answered_or_refused_with_a_code(client: Client, query: bytes) -> None:
    answered = client.get(f"/graphql?{quote_from_bytes(query, safe='&=%')}")
    assert answered.status_code in (200, 400)
    assert {error["extensions"]["code"] for error in answered.json().get("errors", ())} <= KNOWN
