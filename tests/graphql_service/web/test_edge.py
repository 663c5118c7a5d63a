import socket
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from graphql_service.settings import Limits, Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.graphql_service.web.conftest import DATASTORE, JSON, Client
from tests.wire import serve

ASKED: dict[str, Any] = {"json": {"query": "{ __typename }"}}


def client_of(store: SQLiteStore, **settings: Any) -> Client:
    return Client(create_app(store, replace(Settings(), **settings)))


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:1", "[::1]", "[::1]:8000", "runtime-localhost:8000"],
)
def test_a_loopback_name_is_a_host(client: Client, host: str) -> None:
    assert client.post("/graphql", headers={"host": host}, **ASKED).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:localhost", "", "[::2]", "a@localhost", "::1"]
)
def test_any_other_name_is_refused(client: Client, host: str) -> None:
    answered = client.post("/graphql", headers={"host": host}, **ASKED)
    assert answered.status_code == 421
    assert answered.json() == {
        "errors": [
            {
                "message": "this host name is not in IMAGESETS_ALLOWED_HOSTS",
                "extensions": {"code": "HOST_NOT_ALLOWED"},
            }
        ]
    }
    wire = client.post(f"/datastore/{DATASTORE}/searchImageSets", headers={"host": host}, content=b"{}")
    assert (wire.status_code, wire.headers["x-amzn-errortype"]) == (421, "AccessDeniedException")
    assert client.get("/", headers={"host": host}).status_code == 421
    # Load balancers ask for health by address.
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_hosts_are_those_of_the_setting(store: SQLiteStore) -> None:
    client = client_of(store, allowed_hosts=("images.example.org",))
    hosts = ("images.example.org", "localhost")
    assert [client.post("/graphql", headers={"host": host}, **ASKED).status_code for host in hosts] == [200, 421]
    anyone = client_of(store, allowed_hosts=("*",))
    assert anyone.post("/graphql", headers={"host": "any"}, **ASKED).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost"}, 200),
        ({"origin": "https://portal.example"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:81"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "//localhost"}, 403),
        ({"origin": "http://localhost/x"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 403),
    ],
)
def test_a_foreign_page_may_not_ask(store: SQLiteStore, headers: dict[str, str], status: int) -> None:
    client = client_of(store, allowed_origins=("https://portal.example",))
    answered = client.get("/graphql", params={"query": "{ __typename }"}, headers=headers)
    assert answered.status_code == status
    assert client.post("/graphql", headers=headers, **ASKED).status_code == status
    allowed = headers.get("origin") == "https://portal.example"
    assert (answered.headers.get("access-control-allow-origin") == "https://portal.example") == allowed
    if status == 403:
        assert answered.json()["errors"][0]["extensions"]["code"] == "ORIGIN_NOT_ALLOWED"
        wire = client.post(f"/datastore/{DATASTORE}/searchImageSets", headers=headers, content=b"{}")
        assert (wire.status_code, wire.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")


def test_a_link_leads_to_pages_and_to_nothing_that_asks(client: Client) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    paths = ("/", "/graphql", "/graphql?query={__typename}", "/datastore", "/metrics", "/tags/any", "/healthz")
    assert [client.get(path, headers=link).status_code for path in paths] == [200, 400, 403, 403, 403, 403, 200]


def test_one_origin_asks(client: Client) -> None:
    twice = [("origin", "http://localhost"), ("origin", "https://evil.example")]
    assert client.post("/graphql", headers=twice, **ASKED).status_code == 403


def test_an_allowed_page_may_ask_first(store: SQLiteStore) -> None:
    client = client_of(store, allowed_origins=("https://portal.example",))
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type, authorization"}
    answered = client.request("OPTIONS", "/graphql", headers={"origin": "https://portal.example"} | asked)
    assert answered.status_code == 200
    assert answered.headers["access-control-allow-origin"] == "https://portal.example"
    assert "access-control-allow-credentials" not in answered.headers
    assert client.request("OPTIONS", "/graphql", headers={"origin": "https://evil.example"} | asked).status_code == 403


def test_nothing_of_an_answer_is_kept_framed_or_run(client: Client) -> None:
    first, second = client.get("/graphql?query={__typename}"), client.get("/nowhere")
    for answered in (first, second):
        assert answered.headers["cache-control"] == "no-store"
        assert answered.headers["content-security-policy"].startswith("default-src 'none'")
        assert answered.headers["x-content-type-options"] == "nosniff"
        assert answered.headers["cross-origin-resource-policy"] == "same-origin"
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_more_than_the_service_takes_on_is_refused_at_once(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = Event(), Event()

    def wait(_: object) -> tuple[()]:
        entered.set()
        leave.wait(10)
        return ()

    monkeypatch.setattr(SQLiteStore, "datastores", wait)
    busy: dict[str, Any] = {"json": {"query": "{ datastores { nodes { id } } }"}}
    with serve(create_app(store, Settings(limits=Limits(requests=1)))) as url:
        first = Thread(target=lambda: httpx.post(f"{url}/graphql", **busy))
        first.start()
        try:
            assert entered.wait(10)
            refused = httpx.post(f"{url}/graphql", **ASKED)
            wire = httpx.post(f"{url}/datastore/{DATASTORE}/searchImageSets", content=b"{}")
            assert httpx.get(f"{url}/healthz").status_code == 200
        finally:
            leave.set()
            first.join()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["errors"][0]["extensions"] == {"code": "OVERLOADED"}
        assert (wire.status_code, wire.headers["x-amzn-errortype"]) == (429, "ThrottlingException")
        assert httpx.post(f"{url}/graphql", **ASKED).status_code == 200


def test_a_body_that_does_not_come_keeps_nobody_out(store: SQLiteStore) -> None:
    with serve(create_app(store, Settings(limits=Limits(requests=1, request_seconds=1)))) as url:
        address = (httpx.URL(url).host, httpx.URL(url).port or 80)
        for path in ("/graphql", f"/datastore/{DATASTORE}/searchImageSets"):
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: 9\r\n\r\n"
            with socket.create_connection(address, timeout=10) as slow:
                slow.sendall(head.encode() + b"{")
                assert httpx.post(f"{url}/graphql", **ASKED).status_code == 200
                assert slow.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_paths_stand_behind_the_proxys(store: SQLiteStore) -> None:
    app = create_app(store, Settings())

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"root_path": "/images", "path": f"/images{scope['path']}"}, receive, send)

    with serve(behind) as url:
        assert httpx.post(f"{url}/graphql", **ASKED).status_code == 200
        refused = httpx.post(f"{url}/graphql", headers={"origin": "https://evil.example"}, **ASKED)
        assert refused.json()["errors"][0]["extensions"]["code"] == "ORIGIN_NOT_ALLOWED"
