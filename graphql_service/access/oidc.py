"""Bearer tokens of an OpenID Connect issuer: the only user of PyJWT.

The issuer's keys are found by discovery and fetched from time to time, so that it may change them; a token that names
an unknown one has them fetched at once, but never more often than the issuer bears. Where it cannot be reached, the
keys that are known stay good. What a token must be signed with is what its key says, never what the token says.

A token that is remembered as verified is answered at once. Whatever has to be found out runs in a few threads of its
own: neither invented tokens nor an issuer that hangs hold up the rest of the service.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Awaitable, Mapping
from hashlib import sha256
from http.client import HTTPException
from typing import Any, Final, TypeAlias
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, build_opener

import jwt
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from graphql_service.access.principals import Principal
from graphql_service.errors import Unauthenticated
from graphql_service.image_set import is_id
from graphql_service.settings import Settings, is_loopback, is_secure

#: How far the issuer's clock may be from this machine's, in seconds.
SKEW: Final = 60
#: How old the keys become before they are fetched again, in seconds; and how soon after an attempt the next may follow.
KEEP_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 10.0
#: How many tokens are remembered as verified, each until it expires, all until the issuer's keys are fetched again.
REMEMBERED: Final = 4_096
#: How many threads verify and fetch. While any keys are known, no more than one of them waits for the issuer.
THREADS: Final = 4
#: The longest silence of a fetch and the longest fetch, in seconds, and the largest answer, in bytes.
SILENCE_SECONDS: Final = 5.0
FETCH_SECONDS: Final = 10.0
ANSWER_LIMIT: Final = 1_000_000

_TOKEN_LIMIT: Final = 16_384
_AUTHORIZATION: Final = re.compile(f"(?i:bearer) +([0-9A-Za-z_=.-]{{1,{_TOKEN_LIMIT}}})")
_REQUIRED: Final = ["exp", "iat", "iss", "aud", "sub"]

#: What each type of key, with its curve, may verify. Nothing with a shared secret, and not "none".
_ALGORITHMS: Final[Mapping[tuple[object, object], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_ALLOWED: Final = frozenset(algorithm for each in _ALGORITHMS.values() for algorithm in each)

#: An issuer's keys, each by its id and an algorithm that it may verify.
_Keys: TypeAlias = Mapping[tuple[str | None, str], jwt.PyJWK]

_logger = logging.getLogger(__name__)


class _Unreachable(Exception):
    """The issuer's keys cannot be had: one sentence for the log."""


class OIDCAccess:
    """Lets in whoever sends a token that an issuer has made for this service."""

    def __init__(self, issuer: str, audience: str, datastores_claim: str | None) -> None:
        self._audience = audience
        self._claim = datastores_claim
        self._issuer = issuer
        self._keys = _IssuerKeys(issuer)
        self._verified: tuple[_Keys, dict[bytes, tuple[float, Principal]]] = {}, {}
        self._threads = CapacityLimiter(THREADS)

    def authenticate(self, authorization: str | None) -> Principal | Awaitable[Principal]:
        """The subject of the token in `Bearer TOKEN`: at once where it is remembered.

        Else to be awaited, in the event loop that all requests share. Raises Unauthenticated, now or then.
        """
        if authorization is None:
            raise Unauthenticated("a token is needed: send it as 'Authorization: Bearer TOKEN'")
        sent = _AUTHORIZATION.fullmatch(authorization)
        if sent is None:
            raise _invalid("it is none, or the header is not 'Authorization: Bearer TOKEN'")
        # A token comes with every request, and takes as long to verify as many a search.
        digest = sha256(sent[1].encode()).digest()
        remembered = None if self._keys.due() else self._recall(digest)
        return remembered or run_sync(self._find_out, sent[1], digest, limiter=self._threads)

    def _recall(self, digest: bytes) -> Principal | None:
        """The subject of a token that was verified with the keys as they are known, and has not expired."""
        keys, verified = self._verified
        until, principal = verified.get(digest, (0.0, None))
        return principal if keys is self._keys.known and time.time() < until else None

    def _find_out(self, token: str, digest: bytes) -> Principal:
        """The subject of a token. Blocks while the issuer's keys are fetched for it. Raises Unauthenticated."""
        if self._keys.due():
            self._keys.refresh()
        remembered = self._recall(digest)  # by now
        if remembered is not None:
            return remembered
        keys, claims = self._read_claims(token)
        if not claims["sub"]:
            raise _invalid("its 'sub' is empty")
        principal = Principal(claims["sub"], self._read_datastores(claims))
        verified = self._verified
        if verified[0] is not keys:
            verified = self._verified = keys, {}
        if len(verified[1]) >= REMEMBERED:
            verified[1].clear()
        verified[1][digest] = int(claims["exp"]) + SKEW, principal
        return principal

    def _read_claims(self, token: str) -> tuple[_Keys, Mapping[str, Any]]:
        """What a token says, all of it verified, and the keys that did so."""
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if algorithm not in _ALLOWED:
                raise _invalid("its 'alg' is none that is accepted here")
            keys, key = self._keys.find(key_id, algorithm)
            return keys, jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=SKEW,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
        except jwt.ExpiredSignatureError:
            raise _invalid("it has expired") from None
        except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError):
            raise _invalid("it is of the future") from None
        except jwt.InvalidAudienceError:
            raise _invalid("it is for another audience") from None
        except jwt.InvalidIssuerError:
            raise _invalid("it is of another issuer") from None
        except jwt.MissingRequiredClaimError as error:
            raise _invalid(f"it has no '{error.claim}'") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            # Numbers that are none, times beyond all calendars: PyJWT does not foresee them all.
            raise _invalid("it is malformed, or its signature is not the issuer's") from None

    def _read_datastores(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        if self._claim is None:
            return None
        match claims.get(self._claim):
            case None:
                return frozenset()
            case "*":
                return None
            case [*ids] if all(isinstance(each, str) and is_id(each) for each in ids):
                return frozenset(ids)
        raise _invalid(f"its '{self._claim}' is neither a list of data store ids nor '*'")


def open_oidc(settings: Settings) -> OIDCAccess:
    """The access that complete settings ask for. The issuer is not asked until the first token comes."""
    return OIDCAccess(settings.oidc_issuer, settings.oidc_audience, settings.oidc_datastores_claim or None)


def _invalid(reason: str) -> Unauthenticated:
    return Unauthenticated(f"the token is not valid here: {reason}")


class _IssuerKeys:
    """The keys that an issuer publishes, as far as they are known. Safe to use from several threads."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        #: None before the first were needed.
        self.known: _Keys = {}
        self._stale = self._next = time.monotonic()
        self._fetching = threading.Lock()

    def due(self) -> bool:
        """Whether those that are known are so old that they should be fetched again, may be, and nobody does it."""
        return bool(self.known) and time.monotonic() >= max(self._stale, self._next) and not self._fetching.locked()

    def find(self, key_id: object, algorithm: str) -> tuple[_Keys, jwt.PyJWK]:
        """The keys that are known, and the one of them that a token names. Raises Unauthenticated."""
        keys = self.known
        key = _choose(keys, key_id, algorithm)
        if key is None:
            self.refresh()
            keys = self.known
            key = _choose(keys, key_id, algorithm)
        if not keys:
            raise Unauthenticated("no token can be checked now: the issuer's keys cannot be had; try again later")
        if key is None:
            raise _invalid("its key is none of the issuer's")
        return keys, key

    def refresh(self) -> None:
        """Fetches the keys where that is not too soon. One thread does; others wait only while none are known."""
        wait = 0 if self.known else FETCH_SECONDS
        if time.monotonic() < self._next or not self._fetching.acquire(timeout=wait):
            return
        try:
            if time.monotonic() >= self._next:
                self._fetch()
                self._next = time.monotonic() + PAUSE_SECONDS
        finally:
            self._fetching.release()

    def _fetch(self) -> None:
        try:
            self.known = _fetch_keys(self._issuer)
        except _Unreachable as error:
            _logger.error("IMAGESETS_OIDC_ISSUER: %s", error)
        else:
            self._stale = time.monotonic() + KEEP_SECONDS


def _choose(keys: _Keys, key_id: object, algorithm: str) -> jwt.PyJWK | None:
    """The key of this id; without an id, the only one that fits."""
    if isinstance(key_id, str):
        return keys.get((key_id, algorithm))
    fitting = [key for (_, verifies), key in keys.items() if verifies == algorithm]
    return fitting[0] if len(fitting) == 1 else None


def _fetch_keys(issuer: str) -> dict[tuple[str | None, str], jwt.PyJWK]:
    document = _fetch(f"{issuer.removesuffix('/')}/.well-known/openid-configuration")
    if document.get("issuer") != issuer:
        raise _Unreachable("its discovery document is of another issuer: the setting must be what tokens have in 'iss'")
    url = document.get("jwks_uri")
    # Only an issuer on this machine may send the service to this machine.
    schemes = ("https",) if urlsplit(issuer).scheme == "https" else ("https", "http")
    if not isinstance(url, str) or not is_secure(url) or urlsplit(url).scheme not in schemes:
        raise _Unreachable("its discovery document names no https address of its keys")
    listed = _fetch(url).get("keys")
    keys = {}
    for each in listed if isinstance(listed, list) else ():
        keys.update(_read_key(each))
    if not keys:
        raise _Unreachable("it has no key that can verify tokens")
    return keys


def _read_key(listed: object) -> dict[tuple[str | None, str], jwt.PyJWK]:
    """A key of the issuer's, by its id and each algorithm that it may verify; nothing where it is for other uses."""
    if not isinstance(listed, dict) or not isinstance(listed.get("kid"), str | None) or "d" in listed:
        return {}
    if listed.get("use", "sig") != "sig" or "verify" not in listed.get("key_ops", ("verify",)):
        return {}
    try:
        algorithms = _ALGORITHMS.get((listed.get("kty"), listed.get("crv")), ())
        chosen = [algorithm for algorithm in algorithms if listed.get("alg") in (None, algorithm)]
        return {(listed.get("kid"), algorithm): jwt.PyJWK(listed, algorithm) for algorithm in chosen}
    except (jwt.PyJWTError, ValueError, TypeError):
        return {}


class _NoRedirects(HTTPRedirectHandler):
    """Where the keys are is for the issuer's own document to say, under its own name."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """None: the answer is an error then."""
        return


def _open(url: str) -> OpenerDirector:
    """What opens a URL: proxies as the environment says, but not to this machine."""
    here = is_loopback(urlsplit(url).hostname or "")
    return build_opener(_NoRedirects, *([ProxyHandler({})] if here else []))


def _fetch(url: str) -> dict[str, object]:
    """The JSON object at a URL. Raises _Unreachable."""
    deadline = time.monotonic() + FETCH_SECONDS
    content = bytearray()
    try:
        with _open(url).open(url, timeout=SILENCE_SECONDS) as answer:
            while chunk := answer.read1(65_536):
                content += chunk
                if len(content) > ANSWER_LIMIT:
                    raise _Unreachable(f"{url} answers more than {ANSWER_LIMIT:,} bytes")
                if time.monotonic() > deadline:
                    raise _Unreachable(f"{url} took more than {FETCH_SECONDS:g} s to answer")
        document = json.loads(content)
    except HTTPError as error:
        with error:
            raise _Unreachable(f"{url} answers with status {error.code}") from None
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        raise _Unreachable(f"{url} cannot be fetched, or is no JSON ({type(error).__name__})") from None
    if not isinstance(document, dict):
        raise _Unreachable(f"{url} is no JSON object")
    return document
