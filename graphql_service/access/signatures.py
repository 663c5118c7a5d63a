"""Signature Version 4 of AWS, checked: who signed a request of HealthImaging's wire protocol with which wire key.

Both forms are known: the Authorization header, and the query of a presigned URL. The whole request is under the
signature: its method, path, query and body, and of its headers `host` and whatever else says when and what was signed.
What the specification leaves open is refused: bodies that are not signed (of S3 alone), a second signature, paths and
queries that can be written in two ways. The types of errors are those that AWS answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Final, NoReturn
from urllib.parse import quote_from_bytes, unquote_to_bytes

from graphql_service.access.keys import KeysFile, WireKey
from graphql_service.access.principals import Principal
from graphql_service.errors import UnsignedRequest

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SERVICE: Final = "medical-imaging"
#: How far a client's clock may be from this machine's.
_SKEW: Final = timedelta(minutes=5)
#: A presigned URL lives for a week at most, in seconds.
_EXPIRES_LIMIT: Final = 604_800

_AUTHORIZATION: Final = re.compile(
    f"{_ALGORITHM} +Credential=([^ ,]+), *SignedHeaders=([^ ,]+), *Signature=([^ ,]+)", re.ASCII
)
_CREDENTIAL: Final = re.compile("([^/]+)/([0-9]{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request", re.ASCII)
_SIGNED_HEADERS: Final = re.compile("[a-z0-9-]+(?:;[a-z0-9-]+)*", re.ASCII)
_HEXADECIMAL: Final = re.compile("[0-9a-f]{64}", re.ASCII)
_EXPIRES: Final = re.compile("[0-9]{1,6}", re.ASCII)
_TIME: Final = re.compile("[0-9]{8}T[0-9]{6}Z", re.ASCII)
#: A segment that has another spelling: none of the service's paths holds one.
_AMBIGUOUS: Final = re.compile(rb"//|/\.{1,2}(?:/|$)")

_INCOMPLETE: Final = "IncompleteSignatureException"
_INVALID: Final = "InvalidSignatureException"
_UNKNOWN: Final = "UnrecognizedClientException"
_MISSING: Final = "MissingAuthenticationTokenException"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it came: path and query as they were encoded by its sender, headers as they were sent."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class SignedAccess:
    """Lets in whoever signs with a wire key of a file."""

    def __init__(self, file: KeysFile) -> None:
        self._file = file

    def authenticate(self, request: SignedRequest, now: datetime | None = None) -> Principal:
        """The principal of the key that a request is signed with, at a time. Raises UnsignedRequest."""
        claim = _read_claim(request)
        key = self._file.find(claim.key_id)
        if not isinstance(key, WireKey):
            _refuse(_UNKNOWN, "The access key id is not known here: `imagesets keys add NAME --wire` makes one.")
        _check_time(claim, now or datetime.now(UTC))
        if not compare_digest(_sign(request, claim, key.secret), claim.signature):
            _refuse(
                _INVALID,
                "The signature is not that of this request: check the secret access key, and that nothing between"
                " changes the request's host, path, query, headers or body.",
            )
        return key.principal


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says of its signature. `expires`: a presigned URL's life; `query`: what is signed of it."""

    key_id: str
    day: str
    region: str
    time: str
    expires: timedelta | None
    signed_headers: str
    headers: Mapping[str, str]
    query: Sequence[tuple[bytes, bytes]]
    signature: str


def _refuse(kind: str, message: str) -> NoReturn:
    raise UnsignedRequest(kind, message)


def _read_claim(request: SignedRequest) -> _Claim:
    headers = _gather_headers(request)
    query = _read_query(request.query)
    parameters = {name: value.decode("latin-1") for name, value in query}
    presigned = b"X-Amz-Signature" in parameters
    if presigned and "authorization" in headers:
        _refuse(_INCOMPLETE, "A request is signed either in its Authorization header or in its query, not in both.")
    if "x-amz-security-token" in headers or b"X-Amz-Security-Token" in parameters:
        _refuse(_UNKNOWN, "A wire key has no session token: unset AWS_SESSION_TOKEN.")
    if presigned:
        if len(parameters) < len(query):
            _refuse(_INCOMPLETE, "A presigned URL has each of its parameters once.")
        found = _AUTHORIZATION.fullmatch(
            f"{parameters.get(b'X-Amz-Algorithm')} Credential={parameters.get(b'X-Amz-Credential')},"
            f"SignedHeaders={parameters.get(b'X-Amz-SignedHeaders')},Signature={parameters[b'X-Amz-Signature']}"
        )
        time, expires = parameters.get(b"X-Amz-Date", ""), _read_expires(parameters.get(b"X-Amz-Expires", ""))
        query = [(name, value) for name, value in query if name != b"X-Amz-Signature"]
    else:
        sent = headers.get("authorization")
        if sent is None:
            _refuse(_MISSING, "The request is not signed, and must be, with a wire key of this service.")
        found = _AUTHORIZATION.fullmatch(sent)
        time, expires = headers.get("x-amz-date", ""), None
    if found is None or not (_SIGNED_HEADERS.fullmatch(found[2]) and _HEXADECIMAL.fullmatch(found[3])):
        _refuse(_INCOMPLETE, f"A signature is one of {_ALGORITHM}, with Credential, SignedHeaders and Signature.")
    scope = _CREDENTIAL.fullmatch(found[1])
    if scope is None:
        _refuse(_INCOMPLETE, f"The Credential must be KEY/YYYYMMDD/REGION/{_SERVICE}/aws4_request.")
    if not _TIME.fullmatch(time):
        _refuse(_INCOMPLETE, "X-Amz-Date must be a time as 20240311T150005Z has it.")
    if scope[4] != _SERVICE or scope[2] != time[:8]:
        _refuse(_INVALID, f"The Credential must be scoped to {_SERVICE}, and to the day of X-Amz-Date.")
    _check_headers(found[2].split(";"), headers, request.body, presigned=presigned)
    return _Claim(scope[1], scope[2], scope[3], time, expires, found[2], headers, query, found[3])


def _gather_headers(request: SignedRequest) -> dict[str, str]:
    """The headers by their names in lower case. Those that say how a request is signed come once."""
    headers: dict[str, str] = {}
    for raw, value in request.headers:
        name = raw.decode("latin-1").lower()
        trimmed = b" ".join(value.split()).decode("latin-1")
        if name in headers and (name in ("authorization", "host") or name.startswith("x-amz-")):
            _refuse(_INCOMPLETE, "The request has a header twice that says how it is signed.")
        headers[name] = f"{headers[name]},{trimmed}" if name in headers else trimmed
    return headers


def _read_query(query: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values, decoded."""
    # Signed as itself, and read as a space: two requests with one signature.
    if b"+" in query:
        _refuse(_INVALID, "A '+' in the query must be written %2B, and a space %20.")
    pairs = (pair.partition(b"=") for pair in query.split(b"&") if pair)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def _read_expires(text: str) -> timedelta:
    if not _EXPIRES.fullmatch(text) or not 1 <= int(text) <= _EXPIRES_LIMIT:
        _refuse(_INCOMPLETE, f"X-Amz-Expires must be from 1 to {_EXPIRES_LIMIT} seconds.")
    return timedelta(seconds=int(text))


def _check_headers(signed: Sequence[str], headers: Mapping[str, str], body: bytes, *, presigned: bool) -> None:
    if list(signed) != sorted(set(signed)):
        _refuse(_INCOMPLETE, "SignedHeaders must be sorted, each once.")
    # What the check reads must be signed; a date in a header says nothing where the query has it.
    needed = {"host"} | ({"x-amz-content-sha256"} & headers.keys()) | (set() if presigned else {"x-amz-date"})
    if not needed <= set(signed) or not set(signed) <= headers.keys():
        _refuse(_INVALID, "SignedHeaders must name headers of the request, host and those of the signature among them.")
    told = headers.get("x-amz-content-sha256")
    # UNSIGNED-PAYLOAD and the streaming forms too: they are S3's.
    if told is not None and not compare_digest(told.encode(), sha256(body).hexdigest().encode()):
        _refuse(_INVALID, "X-Amz-Content-Sha256 must be the SHA-256 of the body.")


def _check_time(claim: _Claim, now: datetime) -> None:
    try:
        signed = datetime.strptime(claim.time, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        _refuse(_INCOMPLETE, "X-Amz-Date is no time.")
    told = f"{now:%Y%m%dT%H%M%SZ}"
    if signed - now > _SKEW:
        _refuse(_INVALID, f"The signature is of the future: it says {claim.time}, and here it is {told}.")
    if now - signed > (_SKEW if claim.expires is None else claim.expires):
        _refuse(_INVALID, f"The signature has expired: it says {claim.time}, and here it is {told}.")


def _sign(request: SignedRequest, claim: _Claim, secret: str) -> str:
    """The signature that the key makes of this request, in hexadecimal."""
    scope = f"{claim.day}/{claim.region}/{_SERVICE}/aws4_request"
    canonical = sha256(_canonical(request, claim).encode("latin-1")).hexdigest()
    key = f"AWS4{secret}".encode()
    for step in (claim.day, claim.region, _SERVICE, "aws4_request"):
        key = digest(key, step.encode(), "sha256")
    return digest(key, f"{_ALGORITHM}\n{claim.time}\n{scope}\n{canonical}".encode(), "sha256").hex()


def _canonical(request: SignedRequest, claim: _Claim) -> str:
    """The canonical request: each part of it in its one spelling."""
    if _AMBIGUOUS.search(request.path):
        _refuse(_INVALID, "A path with empty or dotted segments is none of the service's.")
    pairs = sorted((_encode(name), _encode(value)) for name, value in claim.query)
    return "\n".join(
        (
            request.method,
            # Of every service but S3 the path is encoded once more.
            quote_from_bytes(request.path, safe="/~") or "/",
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{claim.headers[name]}" for name in claim.signed_headers.split(";")),
            "",
            claim.signed_headers,
            sha256(request.body).hexdigest(),
        )
    )


def _encode(text: bytes) -> str:
    return quote_from_bytes(text, safe="-._~")
