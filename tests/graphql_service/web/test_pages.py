import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette

from graphql_service.web.pages import answer_graphiql, create_routes

STATIC = Path(__file__).parents[3] / "graphql_service" / "web" / "static"
PORTAL_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FOR_GOOD = "public, max-age=31536000, immutable"


@pytest.fixture
def get() -> Callable[..., httpx.Response]:
    app = Starlette(routes=create_routes(graphiql=True))
    app.add_route("/graphql", answer_graphiql)

    def get(path: str, **headers: str) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                return await client.get(path, headers=named)

        return anyio.run(send)

    return get


Get = Callable[..., Any]


def linked(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page)


def test_the_portal_loads_from_here_alone(get: Get) -> None:
    answered = get("/")
    assert answered.status_code == 200
    assert answered.headers["content-type"] == "text/html; charset=utf-8"
    assert answered.headers["content-security-policy"] == PORTAL_POLICY
    assert answered.headers["cache-control"] == "no-cache"
    assert answered.headers["referrer-policy"] == "no-referrer"


def test_graphiql_loads_from_here_alone(get: Get) -> None:
    first, second = get("/graphql"), get("/graphql")
    [nonce] = re.findall(r'nonce="([\w-]{22})"', first.text)
    allowed = PORTAL_POLICY.replace("style-src 'self'", f"style-src 'self' 'nonce-{nonce}'")
    assert first.headers["content-security-policy"] == allowed
    assert first.headers["cache-control"] == "no-store"
    assert first.text != second.text


@pytest.mark.parametrize("path", ["/", "/graphql"])
def test_what_a_page_names_is_there_for_good(get: Get, path: str) -> None:
    # Relative addresses, so that a page also works below a path of a proxy.
    links = [link for link in linked(get(path).text) if link not in ("./", "graphql")]
    assert len(links) > 2
    for link in links:
        assert re.fullmatch(r"static/[0-9a-f]{16}/[\w.-]+", link)
        answered = get(f"/{link}")
        assert answered.status_code == 200
        assert answered.headers["cache-control"] == FOR_GOOD
        assert answered.content == (STATIC / link.rpartition("/")[2]).read_bytes()


def test_every_file_is_served(get: Get) -> None:
    types = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
    files = [path for path in STATIC.iterdir() if path.suffix in types]
    assert len(files) > 6
    for path in files:
        answered = get(f"/static/{path.name}")
        assert answered.content == path.read_bytes()
        assert answered.headers["content-type"] == types[path.suffix]
        assert answered.headers["x-content-type-options"] == "nosniff"
        assert answered.headers["cache-control"] == "public, no-cache"
        assert path.stat().st_size < 1_500_000


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, br", "gzip"), ("GZIP;q=0.5", "gzip"), ("*", "gzip"), ("gzip;q=0", None), ("br", None), ("", None)],
)
def test_files_are_compressed_for_those_that_read_it(get: Get, accepted: str, coding: str | None) -> None:
    answered = get("/static/portal.css", accept_encoding=accepted)
    assert answered.headers.get("content-encoding") == coding
    assert answered.headers["vary"] == "Accept-Encoding"
    assert answered.content == (STATIC / "portal.css").read_bytes()
    if coding:
        assert int(answered.headers["content-length"]) == len(gzip.compress(answered.content, mtime=0))


def test_what_a_browser_has_is_not_sent_again(get: Get) -> None:
    for encoding in ("gzip", "identity"):
        first = get("/static/imageset-search.js", accept_encoding=encoding)
        tag = first.headers["etag"]
        again = get("/static/imageset-search.js", accept_encoding=encoding, if_none_match=f'"other", W/{tag}')
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert get("/static/imageset-search.js", accept_encoding=encoding, if_none_match='"other"').status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/none.js",
        "/static/portal.html",
        "/static/0000000000000000/portal.js",
        "/static/..%2Fpages.py",
        "/static/0000000000000000/..%2F..%2Fpages.py",
    ],
)
def test_nothing_else_is_served(get: Get, path: str) -> None:
    answered = get(path)
    assert (answered.status_code, answered.headers.get("cache-control")) == (404, None)
