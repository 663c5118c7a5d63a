from contextlib import closing
from pathlib import Path

import pytest

from graphql_service.errors import SettingError, StoreFileError
from graphql_service.stores import open_embedded, open_store


def test_a_store_is_opened_by_its_url(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "store.db"
    with closing(open_embedded(f"sqlite:///{path}", create=True)) as made:
        datastore = made.create_datastore("mine")
    for url in (f"sqlite:///{path}", f"sqlite:///{str(path).replace(' ', '%20')}"):
        with closing(open_store(url)) as store:
            assert store.datastores() == (datastore,)


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_embedded("sqlite:///here.db", create=True).close()
    assert (tmp_path / "here.db").exists()


def test_a_store_that_is_only_read_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(StoreFileError, match="there is no store at"):
        open_store(f"sqlite:///{tmp_path / 'none.db'}")


@pytest.mark.parametrize(
    "url",
    ["", "store.db", "sqlite://", "sqlite:///", "sqlite:///a%00b", "postgresql://db"],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(
        SettingError, match=f"IMAGESETS_STORE: '{url}' is no store; a store is sqlite:///path/to/file.db"
    ):
        open_store(url)
