from pathlib import Path

import pytest

from graphql_service.access import open_access, open_signed_access
from graphql_service.access.keys import KeysAccess, add_bearer_key
from graphql_service.access.oidc import OIDCAccess
from graphql_service.access.principals import AnonymousAccess, Principal
from graphql_service.access.signatures import SignedAccess
from graphql_service.errors import SettingError
from graphql_service.settings import Settings


def test_without_access_control_everybody_is_let_in() -> None:
    access = open_access(Settings())
    assert isinstance(access, AnonymousAccess)
    for authorization in (None, "", "Bearer x"):
        assert access.authenticate(authorization) == Principal("anonymous", None)
    assert open_signed_access(Settings()) is None


def test_keys_need_their_file(tmp_path: Path) -> None:
    settings = Settings(auth="keys", keys_file=tmp_path / "keys.json")
    for opens in (open_access, open_signed_access):
        with pytest.raises(SettingError, match=r"^IMAGESETS_KEYS_FILE: there is no file "):
            opens(settings)
    token = add_bearer_key(settings.keys_file, Principal("portal", None))
    access = open_access(settings)
    assert isinstance(access, KeysAccess)
    assert access.authenticate(f"Bearer {token}").name == "portal"
    assert isinstance(open_signed_access(settings), SignedAccess)
    settings.keys_file.write_text("{")
    for opens in (open_access, open_signed_access):
        with pytest.raises(SettingError, match=r"^IMAGESETS_KEYS_FILE: .* is damaged, or no keys file"):
            opens(settings)


def test_an_issuer_needs_no_keys_file_but_no_broken_one(tmp_path: Path) -> None:
    settings = Settings(
        auth="oidc",
        keys_file=tmp_path / "keys.json",
        oidc_issuer="https://login.example.org",
        oidc_audience="imagesets",
    )
    assert isinstance(open_access(settings), OIDCAccess)
    assert isinstance(open_signed_access(settings), SignedAccess)
    settings.keys_file.touch(mode=0o644)
    assert isinstance(open_access(settings), OIDCAccess)
    with pytest.raises(SettingError, match=r"^IMAGESETS_KEYS_FILE: others than its owner may use "):
        open_signed_access(settings)
