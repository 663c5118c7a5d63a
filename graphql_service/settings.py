"""The service's settings: one frozen value, read from `IMAGESETS_…` variables. A bad one is refused by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from platformdirs import user_config_path, user_data_path

from grammar.problems import did_you_mean, near_names
from graphql_service.errors import SettingError

#: No page holds more.
PAGE_LIMIT: Final = 500
#: No more processes serve.
WORKERS_LIMIT: Final = 64
_CALLS_LIMIT: Final = 100_000
_SECONDS_LIMIT: Final = 3_600
_LIMITS_LIMIT: Final = 1_000_000_000


#: From a variable's name and its text to the setting's value. Raises SettingError.
_Reader: TypeAlias = Callable[[str, str], Any]


def default_store() -> str:
    """The URL of the embedded store in the user's data folder."""
    path: Path = user_data_path("imagesets", appauthor=False) / "imagesets.db"
    return f"sqlite:///{path}"


def default_keys_file() -> Path:
    """The keys file in the user's configuration folder."""
    path: Path = user_config_path("imagesets", appauthor=False) / "keys.json"
    return path


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost at most; each is IMAGESETS_MAX_… in upper case.

    Of a GraphQL document: `document_length` in characters, and `name_length`, a name's or a number's;
    `document_tokens`; `document_depth`, how deep its fields stand, fragments followed;
    `nesting`, how deep brackets stand within each other, in the document and in the variables;
    `document_aliases` and `document_root_fields` of one operation, fragments followed; `document_directives`,
    `document_fragments`, each as written. Of a request: `cost`, how many fields its answer may hold, by the page sizes
    that it asks for; `node_ids`, how many `nodes` takes; `cursor_length` in characters; `body_bytes`, unpacked;
    `variables_bytes`; `variable_values`, how many there are, objects and lists too, for each of the operation's root
    fields; `answer_bytes`; `request_seconds` until the work on it is stopped. Of all: `requests` at once.
    """

    document_length: int = 100_000
    name_length: int = 100
    document_tokens: int = 2_000
    document_depth: int = 20
    nesting: int = 100
    document_aliases: int = 50
    document_root_fields: int = 20
    document_directives: int = 50
    document_fragments: int = 50
    cost: int = 60_000
    node_ids: int = 500
    cursor_length: int = 16_384
    body_bytes: int = 1_000_000
    variables_bytes: int = 250_000
    variable_values: int = 20_000
    answer_bytes: int = 25_000_000
    request_seconds: int = 30
    requests: int = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """What a variable says, or what holds where it is not set: `max_page` is IMAGESETS_MAX_PAGE, and so on.

    `store`: the store's URL. `max_page`: rows a page holds at most. `scan_requests` and `scan_seconds`: the budget of
    one page of a store that is scanned. `healthimaging_rate`, calls a second; `healthimaging_connect_seconds` and
    `…_read_seconds`, the longest silence of one attempt; `…_call_seconds`, a call as a whole, with its attempts and
    waits. `limits` are IMAGESETS_MAX_….

    `auth`: how whoever asks is known, `none`, `keys` or `oidc`. `keys_file`: the keys. `oidc_issuer` makes the tokens,
    which must be for `oidc_audience`; `oidc_datastores_claim`: what in them lists data stores, or nothing.

    `allowed_hosts`: the host names by which the service may be called;
    `allowed_origins`: the origins, other than its own, whose pages may ask it; "*" is any. `trusted_proxies`: whose
    forwarded headers are believed; `root_path`: what a proxy has in front of the service's paths. `introspection`,
    `suggestions` (of names, in GraphQL's errors) and `graphiql` may be off. `documents`: a folder of GraphQL documents
    that are asked for by their ids, or nothing; `documents_only`: no other is answered. `audit_log`: a file, `-` for
    standard output, or nothing; `audit_ids`: with every image set's id. `log_level`: from which level on the log is
    written. `traces`: whether requests are told to OpenTelemetry. `workers`: how many processes serve.
    """

    store: str = field(default_factory=default_store)
    max_page: int = 500
    scan_requests: int = 40
    scan_seconds: int = 10
    healthimaging_rate: int = 25
    healthimaging_connect_seconds: int = 3
    healthimaging_read_seconds: int = 10
    healthimaging_call_seconds: int = 20
    auth: str = "none"
    keys_file: Path = field(default_factory=default_keys_file)
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_datastores_claim: str = ""
    allowed_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]", "runtime-localhost")
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.1",)
    root_path: str = ""
    introspection: bool = True
    suggestions: bool = True
    graphiql: bool = True
    documents: str = ""
    documents_only: bool = False
    audit_log: str = ""
    audit_ids: bool = False
    log_level: str = "info"
    traces: bool = False
    workers: int = 1
    limits: Limits = field(default_factory=Limits)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of an environment; an unset or empty variable keeps its default. Raises SettingError."""

    def read(readers: Mapping[str, _Reader], prefix: str) -> dict[str, Any]:
        keys = {name: f"{prefix}{name.upper()}" for name in readers}
        return {name: readers[name](key, environ[key]) for name, key in keys.items() if environ.get(key)}

    limits = Limits(**read({each.name: _count(_LIMITS_LIMIT) for each in fields(Limits)}, "IMAGESETS_MAX_"))
    settings = Settings(limits=limits, **read(_READERS, "IMAGESETS_"))
    for key, value in (
        ("IMAGESETS_OIDC_ISSUER", settings.oidc_issuer),
        ("IMAGESETS_OIDC_AUDIENCE", settings.oidc_audience),
    ):
        if settings.auth == "oidc" and not value:
            raise SettingError(f"{key} must be set where IMAGESETS_AUTH is oidc")
    if settings.documents_only and not settings.documents:
        raise SettingError("IMAGESETS_DOCUMENTS must be set where IMAGESETS_DOCUMENTS_ONLY is on")
    return settings


def find_mistyped(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting and is none, such as IMAGESETS_AUT.

    They are told and not refused, for others than people set such variables: Kubernetes, for a service of this name.
    """
    settings = [f"IMAGESETS_{name.upper()}" for name in _READERS]
    settings += [f"IMAGESETS_MAX_{each.name.upper()}" for each in fields(Limits)]
    return [
        f"{name} is no setting, and is not read{did_you_mean(near_names(name, settings))}"
        for name in sorted(environ)
        if name.startswith("IMAGESETS_") and name not in settings
    ]


def share_of(settings: Settings, number: int) -> Settings:
    """The settings of one of the workers, from 0 on: what holds for all requests together is shared out among them.

    Raises SettingError where there is too little to share.
    """

    def share(key: str, whole: int) -> int:
        if whole < settings.workers:
            raise SettingError(
                f"{key} is shared out among the workers (IMAGESETS_WORKERS): it must be at least {settings.workers},"
                f" as many as they are; it is {whole}"
            )
        return whole // settings.workers + (number < whole % settings.workers)

    limits = replace(settings.limits, requests=share("IMAGESETS_MAX_REQUESTS", settings.limits.requests))
    if settings.store.startswith("sqlite:"):
        return replace(settings, limits=limits)
    rate = share("IMAGESETS_HEALTHIMAGING_RATE", settings.healthimaging_rate)
    return replace(settings, limits=limits, healthimaging_rate=rate)


def is_secure(url: str) -> bool:
    """Whether a URL is one of https, or of http on this machine; without a user's name in either."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or re.search(r"\s", url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Whether the name or address is this machine's own, and so only this machine reaches a server there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _count(limit: int) -> _Reader:
    def read(key: str, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(limit)) and 1 <= int(text) <= limit):
            raise SettingError(f"{key} must be a whole number from 1 to {limit}; it is '{text}'")
        return int(text)

    return read


def _matching(pattern: str, what: str) -> _Reader:
    def read(key: str, text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise SettingError(f"{key} must be {what}")
        return text

    return read


def _list_of(read_one: _Reader) -> _Reader:
    def read(key: str, text: str) -> tuple[str, ...]:
        return tuple(read_one(key, part.strip()) for part in text.split(","))

    return read


def _read_path(key: str, text: str) -> Path:
    # The service and the command line, each where it was started, must mean the same file.
    if not text.startswith("/"):
        raise SettingError(f"{key} must be an absolute path; it is '{text}'")
    return Path(text)


def _read_issuer(key: str, text: str) -> str:
    if "?" in text or "#" in text or not is_secure(text):
        raise SettingError(
            f"{key} must be the https URL that tokens have in 'iss', such as https://login.example.org/"
            " (http on this machine alone)"
        )
    return text


def _read_switch(key: str, text: str) -> bool:
    if text not in ("on", "off"):
        raise SettingError(f"{key} must be on or off; it is '{text}'")
    return text == "on"


#: How each setting is read.
_READERS: Final[Mapping[str, _Reader]] = {
    "store": _matching(
        "(sqlite:///|healthimaging://).*", "a URL such as sqlite:///path/to/file.db or healthimaging://us-east-1"
    ),
    "max_page": _count(PAGE_LIMIT),
    "scan_requests": _count(_CALLS_LIMIT),
    "scan_seconds": _count(_SECONDS_LIMIT),
    "healthimaging_rate": _count(_CALLS_LIMIT),
    "healthimaging_connect_seconds": _count(_SECONDS_LIMIT),
    "healthimaging_read_seconds": _count(_SECONDS_LIMIT),
    "healthimaging_call_seconds": _count(_SECONDS_LIMIT),
    "auth": _matching("none|oidc|keys", "none, oidc or keys"),
    "keys_file": _read_path,
    "oidc_issuer": _read_issuer,
    "oidc_audience": _matching(r"\S+", "what tokens name as their audience, without spaces"),
    "oidc_datastores_claim": _matching(r"\S+", "the name of a claim, without spaces"),
    "allowed_hosts": _list_of(
        _matching(r"\*|[^\s/:*]+|\[[0-9a-fA-F:.]+\]", "host names without ports, parted by commas")
    ),
    "allowed_origins": _list_of(
        _matching(r"\*|https?://[^\s/?#@*]+", "origins such as https://portal.example.org, parted by commas, or *")
    ),
    "trusted_proxies": _list_of(_matching(r"\*|[0-9a-fA-F:.]+(/[0-9]+)?", "addresses or networks, parted by commas")),
    "root_path": _matching("(/[A-Za-z0-9._~-]+)+", "a path such as /imagesets"),
    "introspection": _read_switch,
    "suggestions": _read_switch,
    "graphiql": _read_switch,
    "documents": _matching("/.+", "the absolute path of a folder"),
    "documents_only": _read_switch,
    # The service may be started from anywhere.
    "audit_log": _matching("-|/.+", "an absolute path, or - for standard output"),
    "audit_ids": _read_switch,
    "traces": _read_switch,
    "workers": _count(WORKERS_LIMIT),
    "log_level": _matching("info|warning|error", "info, warning or error"),
}
