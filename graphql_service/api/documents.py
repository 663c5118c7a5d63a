"""GraphQL documents: read, held to the limits and validated once, and kept for the next request with the same text.

Everything that depends on the text alone is found here, in time that is linear in it: fragments that spread each other
are counted by what they would grow to, but never followed twice. What a request may cost by the values of its variables
is `Operation.cost`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Source,
    SourceLocation,
    parse,
    validate,
)
from graphql.validation import ASTValidationRule, NoSchemaIntrospectionCustomRule, specified_rules
from graphql.validation.rules import overlapping_fields_can_be_merged
from graphql.validation.validate import ValidationAbortedError

from graphql_service.api.compiling import CompiledSearch, compile_search
from graphql_service.api.costs import Cost, measure_cost
from graphql_service.errors import DocumentNotFound, LimitExceeded, SettingError
from graphql_service.metrics import DOCUMENTS
from graphql_service.settings import Limits

#: The documents that are kept, and how long a text may be to be among them: some 20 MB at most.
_KEPT: Final = 512
_KEPT_LENGTH: Final = 10_000
#: Of so many documents it is known that they were read before.
_SEEN: Final = 10_000

#: How many errors of a document are told.
_ERRORS: Final = 20
#: How much comparing of fields that answer under one name a document may take: a fraction of a second. graphql-core's
#: own limit is five times as high.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 100_000

#: A lexical token; what cannot be one is left for the parser to refuse. An unclosed text goes to its line's end, or the
#: document's, so that every character is looked at once.
_TOKEN: Final = re.compile(
    r'"""(?:[^"\\]++|\\"""|\\|"(?!""))*+(?:""")?+'
    r'|"(?:[^"\\\n\r]++|\\[^\n\r]?+)*+"?+'
    r"|(?P<comment>#[^\n\r]*+)|\.\.\.|(?P<name>[_A-Za-z0-9+\-][\w+\-.]*+)|(?P<open>[{(\[])|(?P<close>[})\]])|[^\s,\ufeff]"
)

_NEWLINE: Final = re.compile(r"\r\n|[\n\r]")
_HITS: Final = DOCUMENTS.labels("hit")
_MISSES: Final = DOCUMENTS.labels("miss")

#: What each limit measures, as the subject of its message.
_MEASURED: Final = {
    "document_length": "characters in the document",
    "name_length": "characters in a name or number of the document",
    "document_tokens": "tokens in the document",
    "document_depth": "levels of fields in the document",
    "nesting": "brackets within each other in the document",
    "document_aliases": "aliases in the operation",
    "document_root_fields": "root fields in the operation",
    "document_directives": "directives in the document",
    "document_fragments": "fragments in the document",
}


class _Text(Source):
    """A document's text, in which many places are found as fast as one."""

    _line_starts: list[int] | None = None

    def get_location(self, position: int) -> SourceLocation:
        """Line and column of a place, both from 1. graphql-core's own looks through the text anew for each."""
        if self._line_starts is None:
            self._line_starts = [0, *(found.end() for found in _NEWLINE.finditer(self.body))]
        line = bisect_right(self._line_starts, position)
        return SourceLocation(line, position - self._line_starts[line - 1] + 1)


class RefusedDocument(Exception):
    """A document that cannot be read or is not valid, with GraphQL's own errors."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__()
        self.errors = errors


class NoOperation(Exception):
    """The operation that was asked for is not in the document, or none was and it has several."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document: its root fields by their names in the schema, their number, its cost, and its plan.

    None where there is no plan: then the executor answers it.
    """

    root_fields: tuple[str, ...]
    root_field_count: int
    cost: Cost
    plan: CompiledSearch | None


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document within the limits. An operation without a name has the name None."""

    syntax: DocumentNode
    operations: Mapping[str | None, Operation]

    def operation(self, name: str | None) -> Operation:
        """The operation of this name, or the only one. Raises NoOperation."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        if name is None:
            count = len(self.operations)
            raise NoOperation(
                f"the document has {count} operations: name one of them in 'operationName'"
                if count
                else "the document has no operation"
            )
        if name not in self.operations:
            raise NoOperation(f"the document has no operation named '{name}'")
        return self.operations[name]


class Documents:
    """Reads documents against a schema. Safe to use from several threads.

    `introspection` False refuses `__schema` and `__type`; `suggestions` False leaves out what validation would propose
    instead of a mistyped name, which tells names of the schema.
    """

    def __init__(
        self, schema: GraphQLSchema, limits: Limits, *, introspection: bool = True, suggestions: bool = True
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._rules: tuple[type[ASTValidationRule], ...] = (
            specified_rules if introspection else (*specified_rules, NoSchemaIntrospectionCustomRule)
        )
        self._suggestions = suggestions
        self._seen: set[int] = set()
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._lock = Lock()
        self._texts: Mapping[str, str] = {}
        self._allowed: Mapping[str, Document] = {}

    def allow(self, texts: Mapping[str, str]) -> None:
        """Reads documents by their ids, before any request; they are kept for good. Raises SettingError."""
        allowed = {}
        for document_id, text in texts.items():
            try:
                allowed[text] = self._read(text)
            except LimitExceeded as limit:
                raise SettingError(f"IMAGESETS_DOCUMENTS: {document_id}: {limit}") from limit
            except RefusedDocument as refused:
                raise SettingError(f"IMAGESETS_DOCUMENTS: {document_id}: {refused.errors[0].message}") from None
        self._texts, self._allowed = texts, allowed

    def text_of(self, document_id: str) -> str:
        """The allowed document with this id. Raises DocumentNotFound."""
        if document_id not in self._texts:
            raise DocumentNotFound("no document with this 'documentId' is allowed here")
        return self._texts[document_id]

    def read(self, text: str) -> Document:
        """The document of this text. Raises LimitExceeded and RefusedDocument."""
        if (document := self._allowed.get(text)) is not None:
            _HITS.inc()
            return document
        with self._lock:
            if (document := self._kept.get(text)) is not None:
                self._kept.move_to_end(text)
                _HITS.inc()
                return document
        _MISSES.inc()
        document = self._read(text)
        if len(text) <= _KEPT_LENGTH:
            with self._lock:
                self._keep(text, document)
        return document

    def _keep(self, text: str, document: Document) -> None:
        """Keeps a document that is read for the second time: those that come once cost no room, and drive none out."""
        if hash(text) not in self._seen:
            if len(self._seen) == _SEEN:
                self._seen.clear()
            self._seen.add(hash(text))
            return
        self._kept[text] = document
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _read(self, text: str) -> Document:
        check_text(text, self._limits)
        try:
            syntax = parse(_Text(text))
        except GraphQLError as error:
            raise RefusedDocument([error]) from None
        fragments = {each.name.value: each for each in syntax.definitions if isinstance(each, FragmentDefinitionNode)}
        operations = [each for each in syntax.definitions if isinstance(each, OperationDefinitionNode)]
        size = _Sizes(fragments)
        for operation in operations:
            _check("document_depth", size.of(operation.selection_set).depth, self._limits)
            _check("document_aliases", size.of(operation.selection_set).aliases, self._limits)
            _check("document_root_fields", size.of(operation.selection_set).fields, self._limits)
        _check("document_fragments", len(fragments), self._limits)
        errors = validate(self._schema, syntax, self._rules, max_errors=_ERRORS, hide_suggestions=not self._suggestions)
        if any(isinstance(error, ValidationAbortedError) for error in errors[:1]):
            raise RefusedDocument([GraphQLError("fields of the document stand in it too often to be compared")])
        if errors:
            raise RefusedDocument(_gather(errors))
        return Document(
            syntax,
            {
                each.name.value if each.name else None: Operation(
                    tuple(dict.fromkeys(_root_fields(each.selection_set, fragments))),
                    size.of(each.selection_set).fields,
                    measure_cost(self._schema, each, fragments),
                    compile_search(each, fragments),
                )
                for each in operations
            },
        )


_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_SUFFIX: Final = ".graphql"


def read_folder(folder: Path) -> Mapping[str, str]:
    """The documents of a folder: `ID.graphql` holds the one with this id. Raises SettingError."""
    try:
        files = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIX))
        texts = {path.name.removesuffix(_SUFFIX): path.read_text(encoding="utf-8") for path in files}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a document in it is not UTF-8"
        raise SettingError(f"IMAGESETS_DOCUMENTS: {folder} cannot be read: {reason}") from error
    for document_id in texts:
        if _ID.fullmatch(document_id) is None:
            raise SettingError(
                f"IMAGESETS_DOCUMENTS: '{document_id}' is no id: it has 1 to 128 letters, digits and any of _ . : -"
            )
    return texts


def _gather(errors: Sequence[GraphQLError]) -> list[GraphQLError]:
    """One error for each message, with every place that it is true of."""
    by_message: dict[str, list[GraphQLError]] = {}
    for error in errors:
        by_message.setdefault(error.message, []).append(error)
    return [
        alike[0] if len(alike) == 1 else GraphQLError(message, [node for each in alike for node in each.nodes or ()])
        for message, alike in by_message.items()
    ]


def check_text(text: str, limits: Limits) -> None:
    """Counts what a text holds before anything is built of it. Raises LimitExceeded."""
    _check("document_length", len(text), limits)
    tokens = level = deepest = directives = longest = 0
    for found in _TOKEN.finditer(text):
        if found.lastgroup == "comment":
            continue
        tokens += 1
        if found.lastgroup == "open":
            level += 1
            deepest = max(deepest, level)
        elif found.lastgroup == "close":
            level -= 1
        elif found.lastgroup == "name":
            longest = max(longest, found.end() - found.start())
        elif found[0] == "@":
            directives += 1
    _check("name_length", longest, limits)
    _check("document_tokens", tokens, limits)
    _check("nesting", deepest, limits)
    _check("document_directives", directives, limits)


def _check(limit: str, actual: int, limits: Limits) -> None:
    maximum: int = getattr(limits, limit)
    if actual > maximum:
        raise LimitExceeded(limit, maximum, actual, _MEASURED[limit])


@dataclass(frozen=True, slots=True)
class _Size:
    """Of a selection set, fragments followed: levels of fields, aliases, and fields on its first level."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0


class _Sizes:
    """Measures selection sets; each fragment once, however often it is spread.

    A fragment that is missing, or that spreads itself, counts for nothing: validation refuses it.
    """

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, _Size] = {}

    def of(self, selection_set: SelectionSetNode) -> _Size:
        """The size of a selection set, as deep as `Limits.nesting` lets it be written."""
        depth = aliases = fields = 0
        for selection in selection_set.selections:
            match selection:
                case FieldNode(selection_set=None):
                    size = _Size(1, 0, 1)
                case FieldNode(selection_set=SelectionSetNode() as inner):
                    below = self.of(inner)
                    size = _Size(below.depth + 1, below.aliases, 1)
                case InlineFragmentNode():
                    size = self.of(selection.selection_set)
                case FragmentSpreadNode():
                    size = self._of_fragment(selection.name.value)
                case _:
                    raise AssertionError(selection)
            depth, fields = max(depth, size.depth), fields + size.fields
            aliases += size.aliases + (isinstance(selection, FieldNode) and selection.alias is not None)
        return _Size(depth, aliases, fields)

    def _of_fragment(self, name: str) -> _Size:
        if name not in self._known:
            self._known[name] = _Size()  # what is met again within itself
            if (fragment := self._fragments.get(name)) is not None:
                self._known[name] = self.of(fragment.selection_set)
        return self._known[name]


def _root_fields(selection_set: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[str]:
    """The names of an operation's fields, each fragment followed once, as execution does."""
    spread: set[str] = set()
    waiting = [selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            match selection:
                case FieldNode():
                    yield selection.name.value
                case InlineFragmentNode():
                    waiting.append(selection.selection_set)
                case FragmentSpreadNode() if selection.name.value not in spread:
                    spread.add(selection.name.value)
                    waiting.append(fragments[selection.name.value].selection_set)
                case _:
                    pass
