"""The service's settings: one frozen value, read from `IMAGESETS_…` variables. A bad one is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from graphql_service.errors import SettingError

_PAGE_LIMIT: Final = 10_000


def default_store() -> str:
    """The URL of the embedded store in the user's data folder."""
    path: Path = user_data_path("imagesets", appauthor=False) / "imagesets.db"
    return f"sqlite:///{path}"


@dataclass(frozen=True, slots=True)
class Settings:
    """`store`: the store's URL (IMAGESETS_STORE). `max_page`: rows a page holds at most (IMAGESETS_MAX_PAGE)."""

    store: str = field(default_factory=default_store)
    max_page: int = 500


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of an environment; an unset or empty variable keeps its default. Raises SettingError."""
    store = environ.get("IMAGESETS_STORE") or default_store()
    if not store.startswith("sqlite:///"):
        raise SettingError("IMAGESETS_STORE must be a URL such as sqlite:///path/to/file.db")
    return Settings(store, _read_count("IMAGESETS_MAX_PAGE", environ.get("IMAGESETS_MAX_PAGE") or "500", _PAGE_LIMIT))


def _read_count(key: str, text: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(limit)) and 1 <= int(text) <= limit):
        raise SettingError(f"{key} must be a whole number from 1 to {limit}; it is '{text}'")
    return int(text)
