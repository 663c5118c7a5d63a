"""Access: who may come in through HTTP, by `IMAGESETS_AUTH`, and which data stores exist for them."""

from __future__ import annotations

from graphql_service.access.keys import KeysAccess, KeysFile
from graphql_service.access.principals import Access, AnonymousAccess
from graphql_service.access.signatures import SignedAccess
from graphql_service.settings import Settings


def open_access(settings: Settings) -> Access:
    """The access by Authorization header that the settings ask for. Raises SettingError; asks no issuer yet."""
    match settings.auth:
        case "keys":
            return KeysAccess(KeysFile(settings.keys_file))
        case "oidc":
            # PyJWT and its cryptography are slow to import, and only this access needs them.
            from graphql_service.access.oidc import open_oidc

            return open_oidc(settings)
        case _:
            return AnonymousAccess()


def open_signed_access(settings: Settings) -> SignedAccess | None:
    """The access by wire keys to HealthImaging's wire protocol; None where everybody may use it.

    With `oidc` too it is wire keys that sign: no token can. There the keys file may be missing, and then nobody comes
    in this way. Raises SettingError.
    """
    if settings.auth == "none":
        return None
    return SignedAccess(KeysFile(settings.keys_file, required=settings.auth == "keys"))
