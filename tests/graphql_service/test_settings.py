import re
from dataclasses import replace
from pathlib import Path

import pytest

from graphql_service.errors import SettingError
from graphql_service.settings import Limits, Settings, default_store, find_mistyped, read_settings, share_of


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


def test_access_is_read() -> None:
    environ = {
        "IMAGESETS_AUTH": "oidc",
        "IMAGESETS_KEYS_FILE": "/etc/imagesets/keys.json",
        "IMAGESETS_OIDC_ISSUER": "https://login.example.org/realms/hospital",
        "IMAGESETS_OIDC_AUDIENCE": "imagesets",
        "IMAGESETS_OIDC_DATASTORES_CLAIM": "https://example.org/datastores",
    }
    assert read_settings(environ) == Settings(
        auth="oidc",
        keys_file=Path("/etc/imagesets/keys.json"),
        oidc_issuer="https://login.example.org/realms/hospital",
        oidc_audience="imagesets",
        oidc_datastores_claim="https://example.org/datastores",
    )
    assert read_settings({}).auth == "none"
    assert re.fullmatch(r"/.+/imagesets/keys\.json", str(read_settings({}).keys_file))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("IMAGESETS_AUTH", "None", "must be none, oidc or keys"),
        ("IMAGESETS_AUTH", "keys ", "must be none, oidc or keys"),
        ("IMAGESETS_KEYS_FILE", "keys.json", "must be an absolute path; it is 'keys.json'"),
        ("IMAGESETS_OIDC_AUDIENCE", "a b", "must be what tokens name as their audience, without spaces"),
        ("IMAGESETS_OIDC_DATASTORES_CLAIM", " a", "must be the name of a claim, without spaces"),
    ],
)
def test_bad_access_is_refused_by_its_name(key: str, value: str, reason: str) -> None:
    with pytest.raises(SettingError) as refused:
        read_settings({key: value})
    assert str(refused.value) == f"{key} {reason}"


@pytest.mark.parametrize("missing", ["IMAGESETS_OIDC_ISSUER", "IMAGESETS_OIDC_AUDIENCE"])
def test_an_issuer_and_an_audience_are_needed(missing: str) -> None:
    environ = {"IMAGESETS_OIDC_ISSUER": "https://login.example.org", "IMAGESETS_OIDC_AUDIENCE": "imagesets"}
    with pytest.raises(SettingError) as refused:
        read_settings({"IMAGESETS_AUTH": "oidc", **environ, missing: ""})
    assert str(refused.value) == f"{missing} must be set where IMAGESETS_AUTH is oidc"


@pytest.mark.parametrize(
    "issuer",
    [
        "https://login.example.org",
        "https://login.example.org:8443/a/",
        "http://127.0.0.1:1",
        "http://[::1]/",
        "http://localhost",
    ],
)
def test_an_issuer_is_reached_safely(issuer: str) -> None:
    assert read_settings({"IMAGESETS_OIDC_ISSUER": issuer}).oidc_issuer == issuer


@pytest.mark.parametrize(
    "issuer",
    [
        "login.example.org", "http://login.example.org", "http://192.0.2.1", "http://localhost.example.org", "https://",
        "https://user:secret@login.example.org", "https://login.example.org?a", "https://login.example.org#a",
        "https://login.example.org:port", "https://[x", "https://a b", "ftp://localhost", "file:///etc/passwd",
        "http://127.0.0.1@login.example.org", "http://0.0.0.0",
    ],
)  # fmt: skip
def test_any_other_issuer_is_refused(issuer: str) -> None:
    with pytest.raises(
        SettingError, match=r"^IMAGESETS_OIDC_ISSUER must be the https URL that tokens have in 'iss'"
    ) as refused:
        read_settings({"IMAGESETS_OIDC_ISSUER": issuer})
    assert "secret" not in str(refused.value)


def test_workers_share_what_holds_for_all_requests_together() -> None:
    settings = replace(read_settings({"IMAGESETS_WORKERS": "3"}), limits=Limits(requests=64))
    shares = [share_of(replace(settings, store="healthimaging://us-east-1"), number) for number in range(3)]
    assert [each.limits.requests for each in shares] == [22, 21, 21]
    assert [each.healthimaging_rate for each in shares] == [9, 8, 8]
    assert share_of(settings, 0) == replace(settings, limits=Limits(requests=22))


def test_too_little_to_share_is_refused_by_its_name() -> None:
    settings = Settings(store="healthimaging://us-east-1", workers=3, healthimaging_rate=2)
    with pytest.raises(SettingError) as refused:
        share_of(settings, 0)
    assert str(refused.value) == (
        "IMAGESETS_HEALTHIMAGING_RATE is shared out among the workers (IMAGESETS_WORKERS): it must be at least 3,"
        " as many as they are; it is 2"
    )


def test_what_looks_like_a_setting_and_is_none_is_told() -> None:
    environ = {"IMAGESETS_AUT": "keys", "IMAGESETS_MAX_COST": "1", "IMAGESETS_PORT": "tcp://10.0.0.1:80", "AUTH": ""}
    assert find_mistyped(environ) == [
        "IMAGESETS_AUT is no setting, and is not read: did you mean 'IMAGESETS_AUTH'?",
        "IMAGESETS_PORT is no setting, and is not read: did you mean 'IMAGESETS_STORE'?",
    ]
    assert find_mistyped(dict.fromkeys(("IMAGESETS_STORE", "IMAGESETS_MAX_REQUEST_SECONDS"), "")) == []
