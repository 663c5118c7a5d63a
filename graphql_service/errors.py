"""Every error that the service raises, with the stable code that clients see in `extensions.code`.

ServiceError
├── DataStoreNotFound     DATASTORE_NOT_FOUND   no such data store, or none was named where there are several
├── InvalidArgument       INVALID_ARGUMENT      an argument is out of its range or fits no other argument
├── InvalidCursor         INVALID_CURSOR        a cursor that is malformed or belongs to another search
├── LimitExceeded         LIMIT_EXCEEDED        a request asks for more than the service's limits allow
├── DocumentNotFound      DOCUMENT_NOT_FOUND    no allowed document has the id that was sent
├── DocumentNotAllowed    DOCUMENT_NOT_ALLOWED  a document was sent, and the service answers allowed ones alone
├── UnsupportedSearch     UNSUPPORTED_SEARCH    the store cannot answer this search exactly
├── ScanBudget            SCAN_BUDGET           the search needs more requests for one page than the budget allows
├── StoreError            STORE_UNAVAILABLE     the store did not answer
│   ├── StoreFileError    STORE_UNAVAILABLE     the store's file is unreadable, foreign, newer, or its disk is full
│   ├── StoreTimeout      STORE_TIMEOUT         the store did not answer in time
│   ├── Throttled         THROTTLED             the store was asked too much: how long to wait
│   ├── AccessDenied      ACCESS_DENIED         the service's credentials may not do this
│   └── DataStoreNotActive DATASTORE_NOT_ACTIVE the data store is being made or deleted
├── Unauthenticated       UNAUTHENTICATED       who asks is not known
│   └── UnsignedRequest   UNAUTHENTICATED       a request of the wire protocol is not signed as it must be
├── Overloaded            OVERLOADED            as much is being worked on as the service takes on
├── AuditError            AUDIT_UNAVAILABLE     what was read cannot be written down, so it is not told
├── LoadError             LOAD_FAILED           a source cannot be read
└── SettingError          INVALID_SETTING       a setting or a command-line argument is wrong

`grammar.problems.QueryError` stands beside this tree (INVALID_QUERY): the language knows nothing of the service.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """One clear sentence for the person who asked; never a patient value in it."""

    code: ClassVar[str]


class DataStoreNotFound(ServiceError):
    """No such data store, or none was named where there are several."""

    code = "DATASTORE_NOT_FOUND"


class InvalidArgument(ServiceError):
    """An argument is out of its range, or fits no other argument."""

    code = "INVALID_ARGUMENT"


class InvalidCursor(ServiceError):
    """A cursor that is malformed, or that belongs to another search."""

    code = "INVALID_CURSOR"


class LimitExceeded(ServiceError):
    """A request is larger than a limit allows: the limit's name (a field of `settings.Limits`), maximum, actual value.

    `what` says what was measured, as the subject of the message.
    """

    code = "LIMIT_EXCEEDED"

    def __init__(self, limit: str, maximum: int, actual: int, what: str) -> None:
        super().__init__(f"{what}: {actual:,}, and at most {maximum:,} are allowed (IMAGESETS_MAX_{limit.upper()})")
        self.limit = limit
        self.maximum = maximum
        self.actual = actual


class DocumentNotFound(ServiceError):
    """No allowed document has the id that was sent."""

    code = "DOCUMENT_NOT_FOUND"


class DocumentNotAllowed(ServiceError):
    """A document was sent, and the service answers allowed ones alone."""

    code = "DOCUMENT_NOT_ALLOWED"


class UnsupportedSearch(ServiceError):
    """The store cannot answer this search exactly, and says what it can."""

    code = "UNSUPPORTED_SEARCH"


class ScanBudget(ServiceError):
    """A step of the search that cannot be left half done needs more than the scan budget of one page."""

    code = "SCAN_BUDGET"


class StoreError(ServiceError):
    """The store did not answer."""

    code = "STORE_UNAVAILABLE"


class StoreFileError(StoreError):
    """The store's file is unreadable, no store, newer than this program, or its disk is full."""


class StoreTimeout(StoreError):
    """The store did not answer in time."""

    code = "STORE_TIMEOUT"


class Throttled(StoreError):
    """The store was asked more than it allows; `retry_after` is how many seconds to wait before asking again."""

    code = "THROTTLED"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AccessDenied(StoreError):
    """The service's credentials are missing, not valid, or may not do this."""

    code = "ACCESS_DENIED"


class DataStoreNotActive(StoreError):
    """The data store is being made or deleted, or its making failed."""

    code = "DATASTORE_NOT_ACTIVE"


class Unauthenticated(ServiceError):
    """Who asks is not known: no key or token, or none that is valid. The message quotes nothing of it."""

    code = "UNAUTHENTICATED"


class UnsignedRequest(Unauthenticated):
    """A request of the wire protocol is not signed as it must be; `kind` is the type of the service's own error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Overloaded(ServiceError):
    """As much is being worked on as the service takes on; `retry_after` is how many seconds to wait."""

    code = "OVERLOADED"
    retry_after = 1


class AuditError(ServiceError):
    """The audit log cannot be written; without it nothing is answered."""

    code = "AUDIT_UNAVAILABLE"


class LoadError(ServiceError):
    """A source cannot be read at all (single bad lines are reported, not raised)."""

    code = "LOAD_FAILED"


class SettingError(ServiceError):
    """A setting is wrong; the message begins with its name."""

    code = "INVALID_SETTING"
