"""The schema as a whole, and its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import strawberry
from graphql import GraphQLError, GraphQLSchema
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from graphql_service.api.context import Context
from graphql_service.api.errors import describe_error
from graphql_service.api.resolvers import Query
from graphql_service.api.scalars import SCALARS


class _ReadDocument(SchemaExtension):
    """Executes the document that the request's context brings: it was parsed and validated before."""

    def on_parse(self) -> Iterator[None]:
        context: Context = self.execution_context.context
        self.execution_context.graphql_document = context.document
        yield

    def on_validate(self) -> Iterator[None]:
        self.execution_context.pre_execution_errors = []
        yield


class _Schema(strawberry.Schema):
    @property
    def graphql_schema(self) -> GraphQLSchema:
        """The schema as graphql-core has it. Strawberry's own extensions take it from the same place."""
        return self._schema

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Give every error its code, in place: all of a request's errors pass here, once. Nothing else logs them."""
        executing = execution_context is not None and execution_context.result is not None
        errors[:] = [describe_error(error, executing=executing) for error in errors]


schema: Final = _Schema(Query, config=StrawberryConfig(scalar_map=SCALARS), extensions=[_ReadDocument])


def print_schema() -> str:
    """The schema in GraphQL's own language, as `schema.graphql` holds it."""
    # The printer indents empty lines of descriptions, which editors take away again.
    return "".join(f"{line.rstrip()}\n" for line in schema.as_str().splitlines())
