"""The pages for browsers, the search portal and GraphiQL, and the files that they are made of: built into `static/`.

Nothing else is ever loaded: each page's Content-Security-Policy allows this origin alone. Addresses are relative, so
that the pages also work below a path of a proxy. A file has two addresses: one with the hash of its content, which is
cached for good, and a plain one, asked for again each time, for other portals' script tags.
"""

from __future__ import annotations

import gzip
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

_STATIC: Final = Path(__file__).parent / "static"
_MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
#: Where a page names a file.
_ASSET: Final = re.compile(r"asset:([\w.-]+)")

_POLICY: Final[Mapping[str, str]] = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    """A file with its compressed form, and the start of its content's hash."""

    media_type: str
    content: bytes
    hash: str = field(init=False)
    compressed: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", sha256(self.content).hexdigest()[:16])
        object.__setattr__(self, "compressed", gzip.compress(self.content, mtime=0))


def create_routes(*, graphiql: bool) -> list[Route]:
    """The routes of the portal, which links to GraphiQL where that is on, and of the files.

    They are open to all: whether somebody may see data is `/graphql`'s to say.
    """
    page = _read_page("portal.html")
    if not graphiql:
        page = _Asset(page.media_type, page.content.replace(b'data-graphiql="on"', b'data-graphiql="off"'))

    async def portal(request: Request) -> Response:
        return _answer(request, page, {"cache-control": "no-cache", **_secure({})})

    return [
        Route("/", portal),
        Route("/static/{hash:str}/{name:str}", _answer_hashed),
        Route("/static/{name:str}", _answer_plain),
    ]


def answer_graphiql(_: Request) -> Response:
    """The page of GraphiQL, for a browser that opens `/graphql`. One style is made by its script, under a nonce."""
    nonce = secrets.token_urlsafe(16)
    page = _read_page("graphiql.html").content.replace(b"csp:nonce", nonce.encode())
    headers = {"cache-control": "no-store", "vary": "Accept", **_secure({"style-src": f"'self' 'nonce-{nonce}'"})}
    return Response(page, headers=headers, media_type="text/html")


async def _answer_hashed(request: Request) -> Response:
    asset = _find_asset(request)
    if asset is None or asset.hash != request.path_params["hash"]:
        return PlainTextResponse("no such file\n", 404)
    return _answer(request, asset, {"cache-control": "public, max-age=31536000, immutable"})


async def _answer_plain(request: Request) -> Response:
    asset = _find_asset(request)
    if asset is None:
        return PlainTextResponse("no such file\n", 404)
    return _answer(request, asset, {"cache-control": "public, no-cache"})


def _find_asset(request: Request) -> _Asset | None:
    name: str = request.path_params["name"]
    return None if name.endswith(".html") else _read_assets().get(name)


def _secure(exceptions: Mapping[str, str]) -> dict[str, str]:
    """The headers of a page that may load what `_POLICY` and the exceptions to it say."""
    directives = (f"{name} {sources}" for name, sources in ({**_POLICY, **exceptions}).items())
    return {
        "content-security-policy": "; ".join(directives),
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
    }


def _answer(request: Request, asset: _Asset, headers: Mapping[str, str]) -> Response:
    compressed = _accepts_gzip(request.headers.get("accept-encoding", ""))
    # The two forms differ in their bytes, so they have two tags.
    tag = f'"{asset.hash}{"-gzip" if compressed else ""}"'
    headers = {
        **headers,
        "etag": tag,
        "vary": "Accept-Encoding",
        "x-content-type-options": "nosniff",
        # Other portals load the component: what lies here is public.
        "cross-origin-resource-policy": "cross-origin",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if compressed:
        return Response(asset.compressed, headers=headers | {"content-encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


def _accepts_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name in ("gzip", "*"):
            return not re.fullmatch(r"0(\.0*)?", weight)
    return False


@cache
def _read_assets() -> Mapping[str, _Asset]:
    return {path.name: _Asset(_MEDIA_TYPES[path.suffix], path.read_bytes()) for path in _STATIC.iterdir()}


@cache
def _read_page(name: str) -> _Asset:
    """The page with the addresses of its files, relative to the folder that it is opened in."""
    assets = _read_assets()
    page = assets[name].content.decode()
    linked = _ASSET.sub(lambda found: f"static/{assets[found[1]].hash}/{found[1]}", page)
    return _Asset(assets[name].media_type, linked.encode())
