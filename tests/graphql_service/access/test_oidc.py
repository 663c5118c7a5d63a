"""Tokens against a real issuer: a little HTTP server on this machine, with keys made here."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from graphql_service.access import oidc, open_access
from graphql_service.access.oidc import OIDCAccess
from graphql_service.access.principals import Principal
from graphql_service.errors import Unauthenticated
from graphql_service.settings import read_settings

AUDIENCE = "imagesets"
CLAIM = "https://example.org/datastores"

RSA = rsa.generate_private_key(65_537, 2_048)
KEYS: dict[str, tuple[Any, str]] = {
    "rs": (RSA, "RS256"),
    "ps": (RSA, "PS384"),
    "es256": (ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "es384": (ec.generate_private_key(ec.SECP384R1()), "ES384"),
    "es512": (ec.generate_private_key(ec.SECP521R1()), "ES512"),
    "ed": (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
}
OTHER = rsa.generate_private_key(65_537, 2_048)


def public(key_id: str | None, key: Any, algorithm: str, **more: object) -> dict[str, object]:
    """A key as an issuer publishes it."""
    jwk: dict[str, object] = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    return jwk | ({} if key_id is None else {"kid": key_id}) | more


@dataclass
class Issuer:
    """What it answers, path by path, how often it was asked for its keys, and how long it waits before each byte."""

    url: str = ""
    answers: dict[str, Callable[[], tuple[int, bytes]]] = field(default_factory=dict)
    asked: int = 0
    pace: float = 0.0

    def publish(self, *keys: dict[str, object]) -> None:
        self.answer("/keys", {"keys": list(keys)})

    def answer(self, path: str, document: object) -> None:
        self.answers[path] = lambda: (200, json.dumps(document).encode())

    def claims(self, **changed: object) -> dict[str, object]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "ana", "iat": now, "exp": now + 300} | changed
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key: str = "rs", /, **changed: object) -> str:
        private, algorithm = KEYS[key]
        # PyJWT's own checks of claims are for issuers that mean well.
        return jwt.api_jws.encode(json.dumps(self.claims(**changed)).encode(), private, algorithm, {"kid": key})


@contextmanager
def serve_issuer() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += self.path == "/keys"
            status, body = issuer.answers.get(self.path, lambda: (404, b""))()
            self.send_response(status)
            if status == 302:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                for start in range(len(body)) if issuer.pace else ():
                    time.sleep(issuer.pace)
                    self.wfile.write(body[start : start + 1])
                if not issuer.pace:
                    self.wfile.write(body)
            except OSError:  # the reader has had enough
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    issuer.answer("/.well-known/openid-configuration", {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"})
    issuer.publish(*(public(name, key, algorithm) for name, (key, algorithm) in KEYS.items()))
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with serve_issuer() as served:
        yield served


@pytest.fixture(scope="module")
def lasting() -> Iterator[tuple[Issuer, OIDCAccess]]:
    with serve_issuer() as served:
        yield served, OIDCAccess(served.url, AUDIENCE, CLAIM)


@pytest.fixture
def access(issuer: Issuer) -> OIDCAccess:
    return OIDCAccess(issuer.url, AUDIENCE, CLAIM)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass for the keeping of keys, not for tokens."""
    passed = 0.0

    def wait(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(oidc, "time", SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + passed))
    return wait


async def wait_for(access: OIDCAccess, authorization: str | None) -> Principal:
    found = access.authenticate(authorization)
    return found if isinstance(found, Principal) else await found


def authenticate(access: OIDCAccess, authorization: str | None) -> Principal:
    return anyio.run(wait_for, access, authorization)


def refusal(access: OIDCAccess, authorization: str | None) -> str:
    """The reason for which this is refused, which must quote nothing of it."""
    with pytest.raises(Unauthenticated) as refused:
        authenticate(access, authorization)
    assert not authorization or len(authorization) < 40 or authorization[-40:] not in str(refused.value)
    assert refused.value.code == "UNAUTHENTICATED"
    return str(refused.value).removeprefix("the token is not valid here: ")


BROKEN = "it is malformed, or its signature is not the issuer's"
NOT_ITS_KEY = "its key is none of the issuer's"
NO_ALGORITHM = "its 'alg' is none that is accepted here"
NO_TOKEN = "it is none, or the header is not 'Authorization: Bearer TOKEN'"  # noqa: S105 - a sentence
NO_KEYS = "no token can be checked now: the issuer's keys cannot be had; try again later"


@pytest.mark.parametrize("key", KEYS)
def test_a_token_lets_its_subject_in(issuer: Issuer, access: OIDCAccess, key: str) -> None:
    assert authenticate(access, f"Bearer {issuer.token(key)}") == Principal("ana", frozenset())
    assert authenticate(access, f"bearer  {issuer.token(key, sub='bo', aud=['x', AUDIENCE])}").name == "bo"
    assert issuer.asked == 1


def test_settings_open_it(issuer: Issuer) -> None:
    environ = {"IMAGESETS_AUTH": "oidc", "IMAGESETS_OIDC_ISSUER": issuer.url, "IMAGESETS_OIDC_AUDIENCE": AUDIENCE}
    access = open_access(read_settings(environ))
    assert isinstance(access, OIDCAccess)
    assert authenticate(access, f"Bearer {issuer.token()}") == Principal("ana", None)


@pytest.mark.parametrize(
    ("claim", "datastores"),
    [
        (["a" * 32, "b" * 32, "a" * 32], frozenset({"a" * 32, "b" * 32})),
        ([], frozenset()),
        (None, frozenset()),
        ("*", None),
    ],
)
def test_a_claim_lists_data_stores(
    issuer: Issuer, access: OIDCAccess, claim: object, datastores: frozenset[str] | None
) -> None:
    assert authenticate(access, f"Bearer {issuer.token(**{CLAIM: claim})}").datastores == datastores


@pytest.mark.parametrize("claim", ["a" * 32, "", ["*"], ["short"], [1], {"a" * 32: 1}, True, 0, [["a" * 32]]])
def test_any_other_claim_is_refused(issuer: Issuer, access: OIDCAccess, claim: object) -> None:
    told = refusal(access, f"Bearer {issuer.token(**{CLAIM: claim})}")
    assert told == f"its '{CLAIM}' is neither a list of data store ids nor '*'"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "http://127.0.0.1:1"}, "it is of another issuer"),
        ({"iss": ["x"]}, "it is of another issuer"),
        ({"aud": "other"}, "it is for another audience"),
        ({"aud": ["other", "imagesets2"]}, "it is for another audience"),
        ({"aud": {"imagesets": 1}}, "it is for another audience"),
        ({"aud": None}, "it has no 'aud'"),
        ({"iss": None}, "it has no 'iss'"),
        ({"exp": None}, "it has no 'exp'"),
        ({"iat": None}, "it has no 'iat'"),
        ({"sub": None}, "it has no 'sub'"),
        ({"sub": ""}, "its 'sub' is empty"),
        ({"sub": 7}, BROKEN),
        ({"exp": NOW - 90}, "it has expired"),
        ({"exp": "soon"}, BROKEN),
        ({"exp": float("nan")}, BROKEN),
        ({"exp": float("inf")}, BROKEN),
        ({"exp": [1]}, BROKEN),
        ({"iat": "now"}, "it is of the future"),
        ({"iat": NOW + 900}, "it is of the future"),
        ({"nbf": NOW + 900}, "it is of the future"),
        ({"nbf": {}}, BROKEN),
    ],
)
def test_claims_must_be_right(issuer: Issuer, access: OIDCAccess, changed: dict[str, object], reason: str) -> None:
    assert refusal(access, f"Bearer {issuer.token(**changed)}") == reason


def test_clocks_may_differ_by_a_minute(issuer: Issuer, access: OIDCAccess) -> None:
    now = int(time.time())
    for changed in ({"exp": now - 50}, {"iat": now + 50}, {"nbf": now + 50}):
        assert authenticate(access, f"Bearer {issuer.token(**changed)}").name == "ana"


def segment(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_the_algorithm_is_the_keys_own(issuer: Issuer, access: OIDCAccess) -> None:
    payload = segment(issuer.claims())

    def forged(header: dict[str, object], sign: Callable[[bytes], bytes]) -> str:
        signed = f"{segment(header)}.{payload}"
        return f"Bearer {signed}.{segment(sign(signed.encode()))}"

    algorithms: list[object] = ["none", "None", "NONE", "", None, 7, ["RS256"], {}]
    for algorithm in algorithms:
        assert refusal(access, forged({"alg": algorithm, "kid": "rs"}, lambda _: b"")) == (
            NO_ALGORITHM if isinstance(algorithm, str | int | None) else BROKEN
        )
    # A public key is no secret to sign with.
    for encoded in (
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ):
        for name in ("HS256", "HS384", "HS512"):
            method = name.replace("HS", "sha")
            token = forged({"alg": name, "kid": "rs"}, lambda text: hmac.digest(encoded, text, method))  # noqa: B023
            assert refusal(access, token) == NO_ALGORITHM
    # Another algorithm than the named key's.
    for key, algorithm in (
        ("rs", "ES256"),
        ("es256", "ES384"),
        ("es384", "ES256"),
        ("ed", "RS256"),
        ("es256", "EdDSA"),
    ):
        assert refusal(access, forged({"alg": algorithm, "kid": key}, lambda _: b"0" * 64)) == NOT_ITS_KEY
    assert refusal(access, forged({"alg": "ES256K", "kid": "es256"}, lambda _: b"0" * 64)) == NO_ALGORITHM
    # A key that the token brings along.
    own = public("rs", OTHER, "RS256")
    for header in ({"jwk": own}, {"jku": f"{issuer.url}/elsewhere"}, {"x5u": f"{issuer.url}/elsewhere"}):
        token = jwt.encode(issuer.claims(), OTHER, "RS256", {"kid": "rs", **header})
        assert refusal(access, f"Bearer {token}") == BROKEN
    # An extension that must be understood, and is not.
    for extension in ("b64", "exp", "http://example.org/"):
        private, algorithm = KEYS["rs"]
        token = jwt.encode(issuer.claims(), private, algorithm, {"kid": "rs", "crit": [extension], extension: True})
        if extension != "b64":
            assert refusal(access, f"Bearer {token}") == BROKEN


def test_a_changed_token_is_refused(issuer: Issuer, access: OIDCAccess) -> None:
    for key in KEYS:
        header, payload, signature = issuer.token(key).split(".")
        other = segment(issuer.claims(sub="root"))
        assert refusal(access, f"Bearer {header}.{other}.{signature}") == BROKEN
        assert refusal(access, f"Bearer {header}.{payload}.") == BROKEN
        assert refusal(access, f"Bearer {header}.{payload}.{segment(b'0' * 256)}") == BROKEN
        assert refusal(access, f"Bearer {header}.{payload}") == BROKEN


def test_a_weak_key_verifies_nothing(issuer: Issuer, access: OIDCAccess) -> None:
    weak = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - that is the point
    with pytest.warns(jwt.InsecureKeyLengthWarning, match="1024"):
        token = jwt.encode(issuer.claims(), weak, "RS256", {"kid": "weak"})
    issuer.publish(public("weak", weak, "RS256"))
    assert refusal(access, f"Bearer {token}") == BROKEN


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer é.é.é", "Bearer \ud800",
        "Bearer " + "a" * 20_000, "Bearer a.b.c\n",
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused_without_asking_the_issuer(
    issuer: Issuer, access: OIDCAccess, header: str | None
) -> None:
    told = refusal(access, header)
    assert told == (NO_TOKEN if header is not None else "a token is needed: send it as 'Authorization: Bearer TOKEN'")
    assert issuer.asked == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text().map("Bearer {}".format) | st.from_regex(r"Bearer [\w-]*\.[\w-]*\.[\w-]*"))
def test_any_header_is_refused_in_the_declared_way(lasting: tuple[Issuer, OIDCAccess], header: str) -> None:
    refusal(lasting[1], header)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "cty"]), JSON | st.just("RS256"))
    | JSON,
    st.binary(max_size=20),
)
def test_any_token_is_refused_in_the_declared_way(
    lasting: tuple[Issuer, OIDCAccess], header: object, rest: bytes
) -> None:
    refusal(lasting[1], f"Bearer {segment(header)}.{segment(rest)}.{segment(rest)}")
    refusal(lasting[1], f"Bearer {segment(b'[' * 5_000)}.{segment(rest)}.{segment(rest)}")


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "iss", "aud", "sub", "jti", CLAIM]), JSON, min_size=1))
def test_any_claims_are_read_or_refused(lasting: tuple[Issuer, OIDCAccess], changed: dict[str, object]) -> None:
    issuer, access = lasting
    # PyJWT would not write all that an issuer could.
    payload = {name: value for name, value in issuer.claims().items() if name not in changed} | changed
    token = jwt.api_jws.encode(json.dumps(payload).encode(), RSA, "RS256", {"kid": "rs"})
    try:
        principal = authenticate(access, f"Bearer {token}")
    except Unauthenticated:
        return
    assert principal.name == payload["sub"]


def test_keys_change(issuer: Issuer, access: OIDCAccess, clock: Callable[[float], None]) -> None:
    old, new = public("rs", RSA, "RS256"), public("new", OTHER, "RS256")
    issuer.publish(old)
    before = f"Bearer {issuer.token()}"
    after = f"Bearer {jwt.encode(issuer.claims(), OTHER, 'RS256', {'kid': 'new'})}"
    authenticate(access, before)
    issuer.publish(old, new)
    clock(oidc.PAUSE_SECONDS)
    assert authenticate(access, after).name == "ana"
    assert authenticate(access, before).name == "ana"
    assert issuer.asked == 2
    # One that is withdrawn is not good for ever.
    issuer.publish(new)
    clock(oidc.KEEP_SECONDS)
    assert refusal(access, before) == NOT_ITS_KEY
    assert authenticate(access, after).name == "ana"
    assert issuer.asked == 3


def test_a_token_that_is_remembered_expires_all_the_same(issuer: Issuer, access: OIDCAccess) -> None:
    expiry = int(time.time()) - oidc.SKEW + 4
    token = f"Bearer {issuer.token(exp=expiry)}"
    let_in = {authenticate(access, token) for _ in range(3)}
    assert let_in == {Principal("ana", frozenset())}
    time.sleep(expiry + oidc.SKEW - time.time())
    assert refusal(access, token) == "it has expired"


def test_only_so_many_tokens_are_remembered(
    issuer: Issuer, access: OIDCAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "REMEMBERED", 3)
    tokens = {f"{number}": f"Bearer {issuer.token(sub=f'{number}')}" for number in range(10)}
    for _ in range(2):
        for subject, token in tokens.items():
            assert authenticate(access, token).name == subject
            assert len(access._verified[1]) <= 3


def test_unknown_keys_do_not_hammer_the_issuer(
    issuer: Issuer, access: OIDCAccess, clock: Callable[[float], None]
) -> None:
    authenticate(access, f"Bearer {issuer.token()}")
    tokens = [jwt.encode(issuer.claims(), OTHER, "RS256", {"kid": f"{number}"}) for number in range(50)]
    for _ in range(3):
        assert {refusal(access, f"Bearer {token}") for token in tokens} == {NOT_ITS_KEY}
    assert issuer.asked == 1
    clock(oidc.PAUSE_SECONDS)
    assert {refusal(access, f"Bearer {token}") for token in tokens} == {NOT_ITS_KEY}
    assert issuer.asked == 2


def test_many_at_once_fetch_once(issuer: Issuer, access: OIDCAccess) -> None:
    listed = issuer.answers["/keys"]

    def slow() -> tuple[int, bytes]:
        time.sleep(0.2)
        return listed()

    issuer.answers["/keys"] = slow
    token = f"Bearer {issuer.token()}"
    let_in: list[Principal] = []

    async def enter() -> None:
        let_in.append(await wait_for(access, token))

    async def enter_at_once() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(enter)

    anyio.run(enter_at_once)
    assert let_in == [Principal("ana", frozenset())] * 10
    assert issuer.asked == 1


def test_a_remembered_token_needs_no_thread(issuer: Issuer, access: OIDCAccess, clock: Callable[[float], None]) -> None:
    token = f"Bearer {issuer.token()}"
    found = access.authenticate(token)
    assert isinstance(found, Coroutine)
    found.close()
    let_in = authenticate(access, token)
    assert access.authenticate(token) == let_in
    # Old keys are fetched again first, by whoever comes first.
    clock(oidc.KEEP_SECONDS)
    assert authenticate(access, token) == let_in
    assert issuer.asked == 2


def test_an_issuer_that_hangs_holds_up_only_who_asks_it(
    issuer: Issuer, access: OIDCAccess, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered, new = f"Bearer {issuer.token()}", f"Bearer {issuer.token(sub='bo')}"
    authenticate(access, remembered)
    clock(oidc.PAUSE_SECONDS)
    monkeypatch.setattr(oidc, "SILENCE_SECONDS", 2)
    asked, answered = threading.Event(), threading.Event()

    def hang() -> tuple[int, bytes]:
        asked.set()
        answered.wait(10)
        return 503, b""

    issuer.answers["/keys"] = hang
    refused: list[str] = []

    async def invent(number: int) -> None:
        token = jwt.encode(issuer.claims(), OTHER, "RS256", {"kid": f"{number}"})
        with pytest.raises(Unauthenticated, match=NOT_ITS_KEY):
            await wait_for(access, f"Bearer {token}")
        refused.append(f"{number}")

    async def ask() -> None:
        async with anyio.create_task_group() as group:
            for number in range(45):
                group.start_soon(invent, number)
            with anyio.fail_after(1):
                while not asked.is_set() or len(refused) < 44:
                    await anyio.sleep(0.01)
                assert isinstance(access.authenticate(remembered), Principal)
                assert (await wait_for(access, new)).name == "bo"  # its key is known
            assert len(refused) == 44
            answered.set()
        # The attempt failed: the next waits, and the keys are no older for it.
        await invent(45)
        clock(oidc.PAUSE_SECONDS)
        assert isinstance(access.authenticate(remembered), Principal)

    anyio.run(ask)
    assert issuer.asked == 2


def test_known_keys_stay_good_while_the_issuer_is_down(
    issuer: Issuer, access: OIDCAccess, clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    authenticate(access, f"Bearer {issuer.token()}")
    issuer.answers["/keys"] = lambda: (503, b"")
    for _ in range(3):
        clock(oidc.KEEP_SECONDS)
        assert authenticate(access, f"Bearer {issuer.token()}").name == "ana"
    assert issuer.asked == 4
    assert caplog.messages == [f"IMAGESETS_OIDC_ISSUER: {issuer.url}/keys answers with status 503"] * 3


def test_an_issuer_that_comes_up_late_is_found(
    issuer: Issuer, access: OIDCAccess, clock: Callable[[float], None]
) -> None:
    listed = issuer.answers.pop("/keys")
    for _ in range(3):
        assert refusal(access, f"Bearer {issuer.token()}") == NO_KEYS
    assert issuer.asked == 1
    issuer.answers["/keys"] = listed
    clock(oidc.PAUSE_SECONDS)
    assert authenticate(access, f"Bearer {issuer.token()}").name == "ana"


DISCOVERY = "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("path", "answer", "logged"),
    [
        (
            "/keys",
            (200, b'{"keys": [' + b" " * oidc.ANSWER_LIMIT + b"]}"),
            "{url}/keys answers more than 1,000,000 bytes",
        ),
        ("/keys", (200, b"[" * 100_000), "{url}/keys cannot be fetched, or is no JSON (RecursionError)"),
        ("/keys", (200, b"\xff"), "{url}/keys cannot be fetched, or is no JSON (UnicodeDecodeError)"),
        ("/keys", (200, b"[]"), "{url}/keys is no JSON object"),
        ("/keys", (200, b"{}"), "it has no key that can verify tokens"),
        ("/keys", (200, b'{"keys": {"kty": "RSA"}}'), "it has no key that can verify tokens"),
        ("/keys", (200, b'{"keys": [1, null, {}, {"kty": []}]}'), "it has no key that can verify tokens"),
        ("/keys", (302, b""), "{url}/keys answers with status 302"),
        (DISCOVERY, (302, b""), "{url}/.well-known/openid-configuration answers with status 302"),
        (DISCOVERY, (404, b""), "{url}/.well-known/openid-configuration answers with status 404"),
        (
            DISCOVERY,
            (200, b'{"issuer": "https://other.example.org"}'),
            "its discovery document is of another issuer: the setting must be what tokens have in 'iss'",
        ),
    ],
)
def test_a_bad_answer_is_logged_and_lets_nobody_in(
    issuer: Issuer,
    access: OIDCAccess,
    caplog: pytest.LogCaptureFixture,
    path: str,
    answer: tuple[int, bytes],
    logged: str,
) -> None:
    issuer.answers["/elsewhere"] = issuer.answers[path]
    issuer.answers[path] = lambda: answer
    assert refusal(access, f"Bearer {issuer.token()}") == NO_KEYS
    assert caplog.messages == [f"IMAGESETS_OIDC_ISSUER: {logged.format(url=issuer.url)}"]


@pytest.mark.parametrize(
    "address",
    [
        None,
        7,
        "",
        "file:///etc/passwd",
        "http://192.0.2.1/keys",
        "ftp://127.0.0.1/keys",
        "http://a@127.0.0.1/k",
        "https://[x",
    ],
)
def test_keys_come_from_https_or_this_machine(
    issuer: Issuer, access: OIDCAccess, caplog: pytest.LogCaptureFixture, address: object
) -> None:
    issuer.answer(DISCOVERY, {"issuer": issuer.url, "jwks_uri": address})
    assert refusal(access, f"Bearer {issuer.token()}") == NO_KEYS
    assert caplog.messages == ["IMAGESETS_OIDC_ISSUER: its discovery document names no https address of its keys"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/keys", "HTTP://localhost/keys", "http://[::1]/keys"])
def test_an_https_issuer_cannot_send_to_this_machine(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    document = {"issuer": "https://login.example.org", "jwks_uri": address}
    monkeypatch.setattr(oidc, "_fetch", lambda _: document)
    with pytest.raises(oidc._Unreachable, match="names no https address"):
        oidc._fetch_keys("https://login.example.org")


def test_an_issuer_that_drips_is_given_up(
    issuer: Issuer, access: OIDCAccess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(oidc, "FETCH_SECONDS", 0.2)
    issuer.pace = 0.02
    assert refusal(access, f"Bearer {issuer.token()}") == NO_KEYS
    assert caplog.messages == [f"IMAGESETS_OIDC_ISSUER: {issuer.url}{DISCOVERY} took more than 0.2 s to answer"]


def test_an_issuer_that_is_silent_is_given_up(
    issuer: Issuer, access: OIDCAccess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(oidc, "SILENCE_SECONDS", 0.2)
    given_up = threading.Event()

    def wait() -> tuple[int, bytes]:
        given_up.wait(10)
        return 200, b"{}"

    issuer.answers["/keys"] = wait
    assert refusal(access, f"Bearer {issuer.token()}") == NO_KEYS
    assert caplog.messages == [
        f"IMAGESETS_OIDC_ISSUER: {issuer.url}/keys cannot be fetched, or is no JSON (TimeoutError)"
    ]
    given_up.set()


@pytest.mark.parametrize(
    "listed",
    [
        public("rs", RSA, "RS256", use="enc"),
        public("rs", RSA, "RS256", key_ops=["encrypt"]),
        public("rs", RSA, "RS256", alg="RS512"),
        public("rs", RSA, "RS256", alg="HS256"),
        public("rs", RSA, "RS256", alg=["RS256"]),
        public("rs", RSA, "RS256") | {"n": "!"},
        public("rs", RSA, "RS256") | {"kty": "oct", "k": "AAAA"},
        get_default_algorithms()["RS256"].to_jwk(RSA, as_dict=True) | {"kid": "rs"},
        public("rs", RSA, "RS256") | {"kid": 7},
    ],
)
def test_keys_for_other_uses_verify_nothing(issuer: Issuer, access: OIDCAccess, listed: dict[str, object]) -> None:
    issuer.publish(listed, public("new", OTHER, "RS256"))
    assert refusal(access, f"Bearer {issuer.token()}") == NOT_ITS_KEY


def test_a_token_without_a_key_id_needs_the_only_key(
    issuer: Issuer, access: OIDCAccess, clock: Callable[[float], None]
) -> None:
    token = f"Bearer {jwt.encode(issuer.claims(), RSA, 'RS256')}"
    issuer.publish(public("a", RSA, "RS256"), public("b", OTHER, "RS256"))
    assert refusal(access, token) == NOT_ITS_KEY
    for key_id in (None, "a"):
        issuer.publish(public(key_id, RSA, "RS256"), public("e", *KEYS["es256"]))
        clock(oidc.KEEP_SECONDS)
        assert authenticate(access, token).name == "ana"
