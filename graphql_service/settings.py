"""The service's settings: one frozen value, read from `IMAGESETS_…` variables. A bad one is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from graphql_service.errors import SettingError

_PAGE_LIMIT: Final = 500
_CALLS_LIMIT: Final = 100_000
_SECONDS_LIMIT: Final = 3_600


def default_store() -> str:
    """The URL of the embedded store in the user's data folder."""
    path: Path = user_data_path("imagesets", appauthor=False) / "imagesets.db"
    return f"sqlite:///{path}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a variable says, or what holds where it is not set.

    `store`: the store's URL (IMAGESETS_STORE). `max_page`: rows a page holds at most (IMAGESETS_MAX_PAGE).
    `scan_requests` and `scan_seconds`: the budget of one page of a store that is scanned (IMAGESETS_SCAN_REQUESTS,
    IMAGESETS_SCAN_SECONDS). The others are IMAGESETS_HEALTHIMAGING_…: `rate`, calls a second; `connect_seconds` and
    `read_seconds`, the longest silence of one attempt; `call_seconds`, a call as a whole, with its attempts and waits.
    """

    store: str = field(default_factory=default_store)
    max_page: int = 500
    scan_requests: int = 40
    scan_seconds: int = 10
    healthimaging_rate: int = 25
    healthimaging_connect_seconds: int = 3
    healthimaging_read_seconds: int = 10
    healthimaging_call_seconds: int = 20


#: Each whole-number setting: its variable and its largest value.
_COUNTS: Final = {
    "max_page": ("IMAGESETS_MAX_PAGE", _PAGE_LIMIT),
    "scan_requests": ("IMAGESETS_SCAN_REQUESTS", _CALLS_LIMIT),
    "scan_seconds": ("IMAGESETS_SCAN_SECONDS", _SECONDS_LIMIT),
    "healthimaging_rate": ("IMAGESETS_HEALTHIMAGING_RATE", _CALLS_LIMIT),
    "healthimaging_connect_seconds": ("IMAGESETS_HEALTHIMAGING_CONNECT_SECONDS", _SECONDS_LIMIT),
    "healthimaging_read_seconds": ("IMAGESETS_HEALTHIMAGING_READ_SECONDS", _SECONDS_LIMIT),
    "healthimaging_call_seconds": ("IMAGESETS_HEALTHIMAGING_CALL_SECONDS", _SECONDS_LIMIT),
}


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of an environment; an unset or empty variable keeps its default. Raises SettingError."""
    store = environ.get("IMAGESETS_STORE") or default_store()
    if not store.startswith(("sqlite:///", "healthimaging://")):
        raise SettingError(
            "IMAGESETS_STORE must be a URL such as sqlite:///path/to/file.db or healthimaging://us-east-1"
        )
    counts = {name: _read_count(key, environ[key], limit) for name, (key, limit) in _COUNTS.items() if environ.get(key)}
    return Settings(store, **counts)


def _read_count(key: str, text: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(limit)) and 1 <= int(text) <= limit):
        raise SettingError(f"{key} must be a whole number from 1 to {limit}; it is '{text}'")
    return int(text)
