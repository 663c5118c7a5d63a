"""One GraphQL request, from its text to its answer: read, held to the limits, executed, its errors given their codes.

Strawberry keeps the schema and executes; reading and validating are done here, once for each text (`documents`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from graphql import ExecutionResult, GraphQLError
from strawberry.types import ExecutionResult as StrawberryResult

from graphql_service.api.context import Context
from graphql_service.api.documents import Documents, NoOperation, RefusedDocument
from graphql_service.api.errors import describe_error, describe_limit
from graphql_service.api.schema import schema
from graphql_service.errors import DocumentNotAllowed, DocumentNotFound, LimitExceeded
from graphql_service.settings import Limits

_SUGGESTION: Final = re.compile(r" Did you mean [^?]*\?")


class Asked(NamedTuple):
    """A GraphQL request: a document, the values of its variables, and which of its operations is meant.

    With a `document_id` the document is the allowed one with this id, and `query` is not looked at.
    """

    query: str
    variables: Mapping[str, object]
    operation_name: str | None = None
    document_id: str | None = None


class Answered(NamedTuple):
    """What is sent back, and the root fields that were executed; none where nothing was: the request is at fault."""

    body: Mapping[str, object]
    root_fields: tuple[str, ...] = ()


class Executor:
    """Answers GraphQL requests within limits. Safe to use from several tasks and threads.

    `allowed` are documents by their ids, which are read at once; `allowed_only` refuses every other.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        introspection: bool = True,
        suggestions: bool = True,
        allowed: Mapping[str, str] | None = None,
        allowed_only: bool = False,
    ) -> None:
        self._limits = limits
        self._allowed_only = allowed_only
        self._suggestions = suggestions
        self._documents = Documents(schema.graphql_schema, limits, introspection=introspection, suggestions=suggestions)
        self._documents.allow(allowed or {})

    async def answer(self, asked: Asked, context: Context) -> Answered:
        """The answer as GraphQL over HTTP sends it: `data` is absent where nothing was executed."""
        cost: int | None = None
        try:
            text = self._find_text(asked)
            document = self._documents.read(text)
            operation = document.operation(asked.operation_name)
            cost = operation.cost.of(asked.variables)
            if cost > self._limits.cost:
                raise LimitExceeded("cost", self._limits.cost, cost, "fields that the answer may hold")
            self._check_values(asked.variables, operation.root_field_count)
        except LimitExceeded as limit:
            return self._refuse([GraphQLError(str(limit), extensions=describe_limit(limit))], cost)
        except RefusedDocument as refused:
            return self._refuse([describe_error(error, executing=False) for error in refused.errors], cost)
        except (DocumentNotFound, DocumentNotAllowed) as refused:
            return self._refuse([GraphQLError(str(refused), extensions={"code": refused.code})], cost)
        except NoOperation as missing:
            return self._refuse([GraphQLError(str(missing), extensions={"code": "BAD_USER_INPUT"})], cost)
        context.document = document.syntax
        result: ExecutionResult | StrawberryResult | None = None
        if operation.plan is not None:
            result = await operation.plan.answer(context, asked.variables)
        if result is None:
            name = asked.operation_name
            result = await schema.execute(text, dict(asked.variables), context, operation_name=name)
        errors = [self._hide_suggestion(error) for error in result.errors or ()]
        answered: dict[str, object] = {"errors": [error.formatted for error in errors]} if errors else {}
        executed = result.data is not None or any(error.path for error in errors)
        if executed:
            answered["data"] = result.data
        answered["extensions"] = self._tell_cost(cost)
        return Answered(answered, operation.root_fields if executed else ())

    def _find_text(self, asked: Asked) -> str:
        if asked.document_id is not None:
            return self._documents.text_of(asked.document_id)
        if self._allowed_only:
            raise DocumentNotAllowed("this service answers documents that it knows alone: send the 'documentId' of one")
        return asked.query

    def _check_values(self, variables: Mapping[str, object], root_field_count: int) -> None:
        """Each root field may be given all of the variables, and reads what it is given anew. Raises LimitExceeded."""
        count = -1
        level: Sequence[object] = [variables]
        while level:
            count += len(level)
            level = [
                below
                for each in level
                if isinstance(each, dict | list)
                for below in (each.values() if isinstance(each, dict) else each)
            ]
        if (total := count * root_field_count) > self._limits.variable_values:
            what = "values in the variables, for each root field"
            raise LimitExceeded("variable_values", self._limits.variable_values, total, what)

    def _hide_suggestion(self, error: GraphQLError) -> GraphQLError:
        """Validation can be told to propose no names of the schema; execution proposes them in any case."""
        if not self._suggestions:
            error.message = _SUGGESTION.sub("", error.message)
        return error

    def _refuse(self, errors: Sequence[GraphQLError], cost: int | None) -> Answered:
        return Answered({"errors": [error.formatted for error in errors], "extensions": self._tell_cost(cost)})

    def _tell_cost(self, cost: int | None) -> dict[str, object]:
        """What the request may cost; None where its document says nothing that can be counted."""
        return {"cost": {"requested": cost, "limit": self._limits.cost}}
