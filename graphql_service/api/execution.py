"""One GraphQL request, from its text to its answer: read, held to the limits, executed, its errors given their codes.

Strawberry keeps the schema and executes; reading and validating are done here, once for each text (`documents`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphql import GraphQLError

from graphql_service.api.context import Context
from graphql_service.api.documents import Documents, NoOperation, RefusedDocument
from graphql_service.api.errors import describe_error, describe_limit
from graphql_service.api.schema import schema
from graphql_service.errors import LimitExceeded
from graphql_service.settings import Limits


@dataclass(frozen=True, slots=True)
class Asked:
    """A GraphQL request: a document, the values of its variables, and which of its operations is meant."""

    query: str
    variables: Mapping[str, object]
    operation_name: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What is sent back, and the root fields that were executed; none where nothing was: the request is at fault."""

    body: Mapping[str, object]
    root_fields: tuple[str, ...] = ()


class Executor:
    """Answers GraphQL requests within limits. Safe to use from several tasks and threads."""

    def __init__(self, limits: Limits, *, introspection: bool = True, suggestions: bool = True) -> None:
        self._limits = limits
        self._documents = Documents(schema.graphql_schema, limits, introspection=introspection, suggestions=suggestions)

    async def answer(self, asked: Asked, context: Context) -> Answered:
        """The answer as GraphQL over HTTP sends it: `data` is absent where nothing was executed."""
        extensions: dict[str, object] = {}
        try:
            document = self._documents.read(asked.query)
            operation = document.operation(asked.operation_name)
            cost = operation.cost.of(asked.variables)
            extensions["cost"] = {"requested": cost, "limit": self._limits.cost}
            if cost > self._limits.cost:
                raise LimitExceeded("cost", self._limits.cost, cost, "fields that the answer may hold")
        except LimitExceeded as limit:
            return _refuse([GraphQLError(str(limit), extensions=describe_limit(limit))], extensions)
        except RefusedDocument as refused:
            return _refuse([describe_error(error, executing=False) for error in refused.errors], extensions)
        except NoOperation as missing:
            return _refuse([GraphQLError(str(missing), extensions={"code": "BAD_USER_INPUT"})], extensions)
        context.document = document.syntax
        result = await schema.execute(asked.query, dict(asked.variables), context, operation_name=asked.operation_name)
        errors = result.errors or []
        answered: dict[str, object] = {"errors": [error.formatted for error in errors]} if errors else {}
        executed = result.data is not None or any(error.path for error in errors)
        if executed:
            answered["data"] = result.data
        answered["extensions"] = extensions
        return Answered(answered, operation.root_fields if executed else ())


def _refuse(errors: Sequence[GraphQLError], extensions: Mapping[str, object]) -> Answered:
    body: dict[str, object] = {"errors": [error.formatted for error in errors]}
    return Answered(body | {"extensions": extensions} if extensions else body)
