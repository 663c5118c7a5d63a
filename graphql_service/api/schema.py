"""The schema as a whole: how an operation is answered, and its text."""

from __future__ import annotations

from typing import Final

import strawberry
from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.types import ExecutionContext

from graphql_service.api.context import Context
from graphql_service.api.errors import describe_error
from graphql_service.api.resolvers import Query
from graphql_service.api.scalars import SCALARS


class _Schema(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Give every error its code, in place: all of a request's errors pass here, once. Nothing else logs them."""
        executing = execution_context is not None and execution_context.result is not None
        errors[:] = [describe_error(error, executing=executing) for error in errors]


schema: Final = _Schema(Query, config=StrawberryConfig(scalar_map=SCALARS))


async def answer(
    query: str, variables: dict[str, object] | None, operation_name: str | None, context: Context
) -> dict[str, object]:
    """The answer to one operation as GraphQL over HTTP sends it: `data` is absent where nothing was executed."""
    try:
        result = await schema.execute(query, variables, context, operation_name=operation_name)
    except (CannotGetOperationTypeError, MissingQueryError):
        missing = "the document has no operation" + (f" named '{operation_name}'" if operation_name else "")
        return {"errors": [{"message": missing, "extensions": {"code": "BAD_USER_INPUT"}}]}
    errors = result.errors or []
    answered: dict[str, object] = {"errors": [error.formatted for error in errors]} if errors else {}
    if result.data is not None or any(error.path for error in errors):
        answered["data"] = result.data
    return answered


def print_schema() -> str:
    """The schema in GraphQL's own language, as `schema.graphql` holds it."""
    # The printer indents empty lines of descriptions, which editors take away again.
    return "".join(f"{line.rstrip()}\n" for line in schema.as_str().splitlines())
