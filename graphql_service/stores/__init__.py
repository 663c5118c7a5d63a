"""Stores: where image sets are kept and searched, each named by one URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from graphql_service.errors import SettingError
from graphql_service.settings import Settings
from graphql_service.stores.base import Store

if TYPE_CHECKING:
    from graphql_service.stores.sqlite import SQLiteStore

_SQLITE = "sqlite:///"
_HEALTHIMAGING = "healthimaging://"


def open_store(url: str, settings: Settings | None = None) -> Store:
    """The store of a URL: `sqlite:///path/to/file.db`, whose file must be there, or `healthimaging://REGION`.

    `settings` give limits and time-outs, their defaults where there are none. Raises SettingError for any other URL
    and where AWS is not set up, StoreFileError where the file is no store.
    """
    if url.startswith(_HEALTHIMAGING):
        # boto3 is slow to import, and only this store needs it.
        from graphql_service.stores.healthimaging import open_healthimaging

        return open_healthimaging(url.removeprefix(_HEALTHIMAGING), settings or Settings())
    return open_embedded(url)


def open_embedded(url: str, *, create: bool = False) -> SQLiteStore:
    """The embedded store of a `sqlite:///` URL, as those need it that write; `create` makes a missing file.

    The path may be percent-encoded; a third slash ends the prefix, so `sqlite:////data/x.db` and `sqlite:///data/x.db`
    are the absolute and the relative path. Raises SettingError for any other URL, StoreFileError where the file is no
    store.
    """
    path = unquote(url.removeprefix(_SQLITE))
    if not url.startswith(_SQLITE) or not path or "\0" in path:
        raise SettingError(f"IMAGESETS_STORE: '{url}' is no store; a store is {_SQLITE}path/to/file.db")
    # `stores.base` is imported from below this store, so its package must not import the store itself.
    from graphql_service.stores.sqlite import SQLiteStore

    return SQLiteStore(Path(path).expanduser(), create=create)
