import re

import pytest

from graphql_service.errors import SettingError
from graphql_service.settings import Settings, default_store, read_settings


def test_without_variables_the_store_is_in_the_users_data_folder() -> None:
    assert read_settings({"IMAGESETS_STORE": "", "OTHER": "1"}) == Settings(store=default_store(), max_page=500)
    assert re.fullmatch(r"sqlite:////.+/imagesets\.db", default_store())


def test_variables_are_read() -> None:
    environ = {
        "IMAGESETS_STORE": "healthimaging://us-east-1",
        "IMAGESETS_MAX_PAGE": "20",
        "IMAGESETS_SCAN_REQUESTS": "1",
        "IMAGESETS_SCAN_SECONDS": "2",
        "IMAGESETS_HEALTHIMAGING_RATE": "3",
        "IMAGESETS_HEALTHIMAGING_CONNECT_SECONDS": "4",
        "IMAGESETS_HEALTHIMAGING_READ_SECONDS": "5",
        "IMAGESETS_HEALTHIMAGING_CALL_SECONDS": "6",
    }
    assert read_settings(environ) == Settings("healthimaging://us-east-1", 20, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "501", "٣", "9" * 5000])
def test_a_bad_page_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_settings({"IMAGESETS_MAX_PAGE": value})
    assert str(refused.value) == f"IMAGESETS_MAX_PAGE must be a whole number from 1 to 500; it is '{value}'"


def test_a_store_of_another_kind_is_refused_by_its_name() -> None:
    with pytest.raises(SettingError) as refused:
        read_settings({"IMAGESETS_STORE": "mysql://db"})
    assert str(refused.value) == (
        "IMAGESETS_STORE must be a URL such as sqlite:///path/to/file.db or healthimaging://us-east-1"
    )
