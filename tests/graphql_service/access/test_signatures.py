"""Signatures that botocore makes are accepted, and any request but the signed one is refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import botocore.auth
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graphql_service.access.keys import KeysFile, WireKey, add_bearer_key, add_wire_key, remove_key
from graphql_service.access.principals import Principal
from graphql_service.access.signatures import SignedAccess, SignedRequest
from graphql_service.errors import UnsignedRequest

PRINCIPAL = Principal("scanner", frozenset({"d" * 32}))
NOW = datetime(2024, 3, 11, 15, 0, 5, tzinfo=UTC)
PATH = f"/datastore/{'d' * 32}/searchImageSets"
BODY = b'{"filters":[]}'
HOST = "imagesets.example.org:8443"

INCOMPLETE = "IncompleteSignatureException"
INVALID = "InvalidSignatureException"
UNKNOWN = "UnrecognizedClientException"
MISSING = "MissingAuthenticationTokenException"


@dataclass(frozen=True)
class Door:
    """A keys file with one wire key, and the access by it."""

    path: Path
    key: WireKey
    access: SignedAccess

    def refusal(self, request: SignedRequest, now: datetime = NOW) -> str:
        """The type of the error; its message must hold nothing that is secret."""
        with pytest.raises(UnsignedRequest) as refused:
            self.access.authenticate(request, now)
        assert self.key.secret not in str(refused.value)
        return refused.value.kind

    def accepts(self, request: SignedRequest, now: datetime = NOW) -> bool:
        return self.access.authenticate(request, now) == PRINCIPAL


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    key = add_wire_key(path, PRINCIPAL)
    return Door(path, key, SignedAccess(KeysFile(path)))


@pytest.fixture(autouse=True)
def _stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))


class QueryAuth(SigV4QueryAuth):
    """Presigns for a body that is sent, as other SDKs do; botocore would move it into the query."""

    def __init__(self, *given: Any, body: bytes) -> None:
        super().__init__(*given)
        self.body = body

    def payload(self, _request: AWSRequest) -> str:
        return sha256(self.body).hexdigest()


def sign(
    door: Door,
    *,
    method: str = "POST",
    path: str = PATH,
    query: str = "maxResults=5",
    headers: Mapping[str, str] = {"Content-Type": "application/json"},
    body: bytes = BODY,
    secret: str | None = None,
    token: str | None = None,
    service: str = "medical-imaging",
    region: str = "us-east-1",
    expires: int | None = None,
) -> SignedRequest:
    """The request as botocore signs it: in its header or, where it expires, in its query."""
    url = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, {"Host": HOST, **headers}, body if expires is None else b"")
    credentials = Credentials(door.key.id, secret or door.key.secret, token)
    if expires is None:
        SigV4Auth(credentials, service, region).add_auth(request)
    else:
        QueryAuth(credentials, service, region, expires, body=body).add_auth(request)
    parts = urlsplit(str(request.url))
    sent = [(name.encode(), str(value).encode()) for name, value in request.headers.items()]
    return SignedRequest(method, parts.path.encode(), parts.query.encode(), sent, body)


def header(request: SignedRequest, name: str) -> bytes:
    [value] = [value for each, value in request.headers if each.lower() == name.lower().encode()]
    return value


def with_header(request: SignedRequest, name: str, value: bytes | None) -> SignedRequest:
    """The same request with another value of a header, or without it."""
    kept = [each for each in request.headers if each[0].lower() != name.lower().encode()]
    return replace(request, headers=kept + ([] if value is None else [(name.encode(), value)]))


def edit(request: SignedRequest, old: str, new: str) -> SignedRequest:
    """The same request with another Authorization header."""
    value = header(request, "authorization").decode()
    assert value.count(old) == 1
    return with_header(request, "Authorization", value.replace(old, new).encode())


def edit_query(request: SignedRequest, old: str, new: str) -> SignedRequest:
    assert request.query.count(old.encode()) == 1
    return replace(request, query=request.query.replace(old.encode(), new.encode()))


@pytest.mark.parametrize("expires", [None, 60])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"method": "GET", "path": "/datastore", "query": "", "body": b""},
        {"method": "GET", "path": "/", "query": "", "body": b""},
        {"query": "nextToken=a%2Bb%2F%3D%3D&maxResults=5&empty=&none"},
        {"query": "b=2&a=2&a=1&a-b=%C3%A9&%C3%A9=~._-"},
        {"path": "/tags/arn%3Aaws%3Amedical-imaging%3Aus-east-1%3A1%3Adatastore%2Fd", "method": "DELETE"},
        {"path": "/datastore/%C3%A9%20~"},
        {"headers": {"X-Spaces": "  a   b  ", "X-Empty": ""}},
        {"region": "eu-central-1"},
        {"region": "local"},
        {"body": bytes(range(256)) * 100},
    ],
)
def test_what_botocore_signs_is_let_in(door: Door, asked: Mapping[str, object], expires: int | None) -> None:
    request = sign(door, expires=expires, **asked)  # type: ignore[arg-type]
    assert door.accepts(request)
    assert door.accepts(replace(request, headers=list(reversed(request.headers))))
    # What is not signed may change on the way.
    assert door.accepts(with_header(request, "X-Forwarded-For", b"192.0.2.1"))


def test_a_body_may_be_hashed_in_a_header(door: Door) -> None:
    told = {"X-Amz-Content-SHA256": sha256(BODY).hexdigest()}
    for expires in (None, 60):
        request = sign(door, headers=told, expires=expires)
        assert door.accepts(request)
        assert door.refusal(replace(request, body=b"{}")) == INVALID
    other = {"X-Amz-Content-SHA256": sha256(b"{}").hexdigest()}
    assert door.refusal(sign(door, headers=other)) == INVALID
    for form in (
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "é",
        "",
    ):
        assert door.refusal(sign(door, headers={"X-Amz-Content-SHA256": form})) == INVALID
    # A hash that is not signed proves nothing.
    assert (
        door.refusal(with_header(sign(door), "X-Amz-Content-SHA256", told["X-Amz-Content-SHA256"].encode())) == INVALID
    )


OTHER_REQUESTS: Mapping[str, Callable[[SignedRequest], SignedRequest]] = {
    "method": lambda request: replace(request, method="GET"),
    "path": lambda request: replace(request, path=request.path.replace(b"dd/", b"de/")),
    "path encoded": lambda request: replace(request, path=request.path.replace(b"dd/", b"d%64/")),
    "path doubled": lambda request: replace(request, path=b"/" + request.path),
    "path dotted": lambda request: replace(request, path=b"/." + request.path),
    "path climbing": lambda request: replace(request, path=b"/x/.." + request.path),
    "path ended": lambda request: replace(request, path=request.path + b"/"),
    "path ended with dots": lambda request: replace(request, path=request.path + b"/."),
    "value": lambda request: edit_query(request, "maxResults=5", "maxResults=6"),
    "name": lambda request: edit_query(request, "maxResults=5", "MaxResults=5"),
    "parameter more": lambda request: replace(request, query=request.query + b"&nextToken=x"),
    "parameter twice": lambda request: replace(request, query=request.query + b"&maxResults=5"),
    "parameter less": lambda request: edit_query(request, "maxResults=5", ""),
    "space": lambda request: edit_query(request, "a%20b", "a+b"),
    "plus": lambda request: edit_query(request, "c%2Bd", "c+d"),
    "body": lambda request: replace(request, body=BODY + b" "),
    "no body": lambda request: replace(request, body=b""),
    "host": lambda request: with_header(request, "Host", b"other.example.org"),
    "no host": lambda request: with_header(request, "Host", None),
}


@pytest.mark.parametrize("expires", [None, 60])
@pytest.mark.parametrize("change", OTHER_REQUESTS)
def test_a_changed_request_is_refused(door: Door, change: str, expires: int | None) -> None:
    request = sign(door, query="maxResults=5&t=a%20b&u=c%2Bd", expires=expires)
    assert door.accepts(request)
    changed = OTHER_REQUESTS[change](request)
    assert changed != request
    expected = INCOMPLETE if (change, expires) == ("parameter twice", 60) else INVALID
    assert door.refusal(changed) == expected


def test_one_query_spelt_otherwise_is_the_same(door: Door) -> None:
    request = sign(door, query="a=1&b=A")
    for query in (b"b=A&a=1", b"&a=1&&b=%41&", b"%61=1&b=A"):
        assert door.accepts(replace(request, query=query))


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("/medical-imaging/", "/s3/", INVALID),
        ("/us-east-1/", "/us-east-2/", INVALID),
        ("/us-east-1/", "//", INCOMPLETE),
        ("/aws4_request", "/aws4_reques", INCOMPLETE),
        ("/20240311/", "/20240312/", INVALID),
        ("/20240311/", "/2024031/", INCOMPLETE),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", INCOMPLETE),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", INCOMPLETE),
        ("AWS4-HMAC-SHA256", "Bearer", INCOMPLETE),
        ("SignedHeaders=content-type;host;x-amz-date", "SignedHeaders=host;content-type;x-amz-date", INCOMPLETE),
        ("SignedHeaders=content-type;host;x-amz-date", "SignedHeaders=host;host;x-amz-date", INCOMPLETE),
        ("SignedHeaders=content-type;host;x-amz-date", "SignedHeaders=host;x-amz-date", INVALID),
        ("SignedHeaders=content-type;host;x-amz-date", "SignedHeaders=content-type;x-amz-date", INVALID),
        ("SignedHeaders=content-type;host;x-amz-date", "SignedHeaders=content-type;host", INVALID),
        ("SignedHeaders=content-type;host;x-amz-date", "SignedHeaders=content-type;host;x-amz-date;x-other", INVALID),
        ("SignedHeaders=content-type;host;x-amz-date", "SignedHeaders=", INCOMPLETE),
        ("SignedHeaders=content-type;host;x-amz-date, ", "", INCOMPLETE),
        ("Signature=", "Signature=0", INCOMPLETE),
        ("Credential=", "Credential=/", INCOMPLETE),
        ("Credential=", "Credential=X", UNKNOWN),
    ],
)
def test_a_changed_authorization_is_refused(door: Door, old: str, new: str, kind: str) -> None:
    request = sign(door)
    assert header(request, "authorization").decode().count("SignedHeaders=content-type;host;x-amz-date,") == 1
    assert door.refusal(edit(request, old, new)) == kind


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("X-Amz-Expires=60", "X-Amz-Expires=61", INVALID),
        ("X-Amz-Expires=60", "X-Amz-Expires=0", INCOMPLETE),
        ("X-Amz-Expires=60", "X-Amz-Expires=604801", INCOMPLETE),
        ("X-Amz-Expires=60", "X-Amz-Expires=-1", INCOMPLETE),
        ("X-Amz-Expires=60", "X-Amz-Expires=" + "9" * 5_000, INCOMPLETE),
        ("X-Amz-Expires=60", "X-Amz-Expires=%D9%A3", INCOMPLETE),
        ("X-Amz-Expires=60", "", INCOMPLETE),
        ("X-Amz-Date=20240311T150005Z", "X-Amz-Date=20240311T150006Z", INVALID),
        ("X-Amz-Date=20240311T150005Z", "X-Amz-Date=20240310T150005Z", INVALID),
        ("X-Amz-Date=20240311T150005Z", "", INCOMPLETE),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=none", INCOMPLETE),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "", INCOMPLETE),
        ("X-Amz-Credential=", "x-amz-credential=", INCOMPLETE),
        ("X-Amz-SignedHeaders=", "X-Other=", INCOMPLETE),
        ("X-Amz-Signature=", "X-Other=", MISSING),
        ("X-Amz-Signature=", "X-Amz-Signature=&X-Amz-Signature=", INCOMPLETE),
    ],
)
def test_a_changed_presigned_url_is_refused(door: Door, old: str, new: str, kind: str) -> None:
    request = sign(door, expires=60)
    assert door.refusal(edit_query(request, old, new)) == kind


def test_a_clock_may_be_wrong_by_five_minutes(door: Door) -> None:
    request = sign(door)
    for seconds, kind in ((300, None), (-300, None), (301, INVALID), (-301, INVALID), (86_400, INVALID)):
        now = NOW + timedelta(seconds=seconds)
        assert door.accepts(request, now) if kind is None else door.refusal(request, now) == kind
    assert door.refusal(sign(door), datetime.now(UTC)) == INVALID


def test_a_presigned_url_expires(door: Door) -> None:
    for expires in (1, 60, 604_800):
        request = sign(door, expires=expires)
        assert door.accepts(request, NOW - timedelta(minutes=5))
        assert door.accepts(request, NOW + timedelta(seconds=expires))
        assert door.refusal(request, NOW + timedelta(seconds=expires + 1)) == INVALID
        assert door.refusal(request, NOW - timedelta(seconds=301)) == INVALID


@pytest.mark.parametrize("time", ["20240311T150005", "20241311T150005Z", "20240311T250000Z", "", "now"])
def test_a_time_that_is_none_is_refused(door: Door, time: str) -> None:
    request = with_header(sign(door), "X-Amz-Date", time.encode())
    day = time[:8] if time[:8].isdigit() else "20240311"
    assert door.refusal(edit(request, "/20240311/", f"/{day}/")) == INCOMPLETE


def test_the_secret_is_needed(door: Door) -> None:
    assert door.refusal(sign(door, secret="0" * 64)) == INVALID
    assert door.refusal(sign(door, secret="0" * 64, expires=60)) == INVALID


def test_a_request_that_is_not_signed_is_told_so(door: Door) -> None:
    assert door.refusal(with_header(sign(door), "Authorization", None)) == MISSING
    assert door.refusal(SignedRequest("GET", b"", b"", [], b"")) == MISSING


def test_one_signature_is_enough(door: Door) -> None:
    presigned = sign(door, expires=60)
    both = with_header(presigned, "Authorization", header(sign(door), "Authorization"))
    assert door.refusal(both) == INCOMPLETE
    signed = sign(door)
    for name in ("Authorization", "Host", "X-Amz-Date"):
        twice = replace(signed, headers=[*signed.headers, (name.lower().encode(), header(signed, name))])
        assert door.refusal(twice) == INCOMPLETE


def test_session_tokens_are_none_of_ours(door: Door) -> None:
    assert door.refusal(sign(door, token="token")) == UNKNOWN  # noqa: S106 - no secret
    assert door.refusal(sign(door, token="token", expires=60)) == UNKNOWN  # noqa: S106 - no secret


def test_a_bearer_key_signs_nothing(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    token = add_bearer_key(path, PRINCIPAL)
    access = SignedAccess(KeysFile(path))
    request = edit(sign(door), door.key.id, token[10:26])
    with pytest.raises(UnsignedRequest) as refused:
        access.authenticate(request, NOW)
    assert refused.value.kind == UNKNOWN


def test_a_removed_key_signs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    door = Door(path, add_wire_key(path, PRINCIPAL), SignedAccess(KeysFile(path)))
    request = sign(door)
    assert door.accepts(request)
    remove_key(path, PRINCIPAL.name)
    assert door.refusal(request) == UNKNOWN


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 1_000), character=st.integers(0, 255), part=st.sampled_from(["path", "query", "body"]))
def test_any_one_byte_changed_is_refused(door: Door, place: int, character: int, part: str) -> None:
    request = SignedRequest("POST", PATH.encode(), b"maxResults=5", SIGNED_HEADERS(door), BODY)
    content = bytearray(getattr(request, part))
    place %= len(content)
    same = content[place] == character
    content[place] = character
    changed = replace(request, **{part: bytes(content)})  # type: ignore[arg-type]
    if same:
        assert door.accepts(changed)
    else:
        assert door.refusal(changed) == INVALID


def SIGNED_HEADERS(door: Door) -> list[tuple[bytes, bytes]]:  # noqa: N802 - one value, made once
    if not _SIGNED:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
            _SIGNED.extend(sign(door).headers)
    return _SIGNED


_SIGNED: list[tuple[bytes, bytes]] = []

PIECES = st.sampled_from(
    ["AWS4-HMAC-SHA256", " ", ",", "=", "/", ";", "Credential=", "SignedHeaders=", "Signature=", "host", "x-amz-date",
     "20240311", "20240311T150005Z", "us-east-1", "medical-imaging", "aws4_request", "IMAGESETS0", "0" * 64, "é", "\0",
     "X-Amz-Signature=", "X-Amz-Expires=", "X-Amz-Date=", "X-Amz-Credential=", "&", "%", "%41", "%ff", "+"]
)  # fmt: skip
WORDS = st.lists(PIECES, max_size=12).map(lambda pieces: "".join(pieces).encode()) | st.binary(max_size=30)
NAMES = st.sampled_from(
    [b"Authorization", b"Host", b"X-Amz-Date", b"X-Amz-Content-Sha256", b"X-Amz-Security-Token", b"\xff", b""]
)


@settings(max_examples=500, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "", "M-SEARCH"]),
    path=WORDS,
    query=WORDS,
    headers=st.lists(st.tuples(NAMES, WORDS), max_size=6),
    body=st.binary(max_size=10),
    now=st.datetimes(timezones=st.just(UTC)),
)
@example("GET", b"", b"X-Amz-Signature", [], b"", NOW)
def test_any_request_is_refused_in_the_declared_way(
    door: Door,
    method: str,
    path: bytes,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    now: datetime,
) -> None:
    assert door.refusal(SignedRequest(method, path, query, headers, body), now) in (
        INCOMPLETE,
        INVALID,
        UNKNOWN,
        MISSING,
    )


@settings(max_examples=300, deadline=None)
@given(
    scope=st.lists(
        st.sampled_from(["20240311", "20240312", "us-east-1", "medical-imaging", "aws4_request", "é"]), max_size=5
    ),
    signed=st.lists(st.sampled_from(["host", "x-amz-date", "content-type", "X", "é", ""]), max_size=4),
    signature=st.sampled_from(["0" * 64, "f" * 64, "", "é" * 64, "F" * 64]),
    time=st.sampled_from(
        ["20240311T150005Z", "20240312T000000Z", "00000000T000000Z", "99991231T235959Z", "٢٠٢٤0311T150005Z"]
    ),
    presigned=st.booleans(),
)
def test_any_signature_of_a_known_key_is_refused_in_the_declared_way(
    door: Door, scope: list[str], signed: list[str], signature: str, time: str, *, presigned: bool
) -> None:
    credential, names = "/".join([door.key.id, *scope]), ";".join(signed)
    headers = [(b"host", HOST.encode()), (b"x-amz-date", time.encode()), (b"content-type", b"text/plain")]
    query = ""
    if presigned:
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(credential)}&X-Amz-Date={quote(time)}"
            f"&X-Amz-Expires=9&X-Amz-SignedHeaders={quote(names)}&X-Amz-Signature={quote(signature)}"
        )
    else:
        value = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        headers.append((b"authorization", value.encode()))
    assert door.refusal(SignedRequest("POST", b"/", query.encode(), headers, b"")) in (INCOMPLETE, INVALID)
