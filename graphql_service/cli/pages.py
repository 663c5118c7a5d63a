"""One search on the command line: its data store, and its pages one after another."""

from __future__ import annotations

from collections.abc import Iterator

from graphql_service.errors import DataStoreNotFound
from graphql_service.image_set import Datastore
from graphql_service.paging import Page, read_page_request
from graphql_service.searching import Inquiry, search
from graphql_service.stores.base import Store


def find_datastore(store: Store, word: str | None) -> Datastore:
    """The data store that a word names, by its id or its name; without a word the only one that there is."""
    datastores = store.datastores()
    if word is None:
        if len(datastores) == 1:
            return datastores[0]
        raise DataStoreNotFound(
            f"the store holds {len(datastores)} data stores: name one with --datastore"
            if datastores
            else "the store holds no data store yet: make one with `imagesets load`"
        )
    found = [datastore for datastore in datastores if datastore.datastore_id == word]
    found = found or [datastore for datastore in datastores if datastore.name == word]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataStoreNotFound(f"{len(found)} data stores are named '{word}': give the id of one")
    raise DataStoreNotFound(f"there is no data store '{word}'; `imagesets datastores` lists what there is")


def read_pages(store: Store, inquiry: Inquiry, wanted: int | None, max_page: int) -> Iterator[Page]:
    """The pages of a search, each asked for when it is wanted, until `wanted` image sets or all of them are there.

    A page may be empty with others behind it: a scan budget ended.
    """
    after: str | None = None
    left = wanted
    while True:
        size = max_page if left is None else min(left, max_page)
        page = search(store, inquiry, read_page_request(size, None, after, None, max_page))
        yield page
        if left is not None:
            left -= len(page.image_sets)
        if not page.has_next_page or left == 0:
            return
        after = page.end_cursor
