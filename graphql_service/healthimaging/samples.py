"""The same search as code: a plan's requests as a ready command or program for a HealthImaging client.

A sample sends what the plan's branches send, to the last page, one branch after the other, and shows each image set
once. It filters nothing: where SearchImageSets cannot say all of the search, the comment at its top tells what is
still to be done.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from grammar.criteria import Condition, Everything, Operator, Search, comparisons
from grammar.printer import canonical
from graphql_service.healthimaging.criteria import criteria_json, to_search_criteria
from graphql_service.planning import Plan

Criteria: TypeAlias = Mapping[str, object]
_Scalar: TypeAlias = str | bool | datetime


def sample(plan: Plan, datastore_id: str, language: str, residual: str | None = None) -> str:
    """The program text, ending in a newline, for one of `LANGUAGES` (a KeyError for any other).

    `residual` is the text to show for what is to be filtered afterwards; None: the plan's own, with its dates fixed.
    """
    comment_sign, write = _WRITERS[language]
    searches = [to_search_criteria(branch.where, plan.sort) for branch in plan.branches]
    comment = "".join(f"{comment_sign} {_visible(line)}\n" for line in _remarks(plan, language, residual))
    if language == "java":
        # Java reads \u escapes in comments too: there a backslash is written as one.
        comment = comment.replace("\\", "\\u005c")
    return comment + write(datastore_id, searches)


def _remarks(plan: Plan, language: str, residual: str | None) -> list[str]:
    """What the reader of the sample has to know, line by line."""
    if not plan.branches:
        return ["No image set can meet this search: there is nothing to send."]
    lines = ["Searches AWS HealthImaging with SearchImageSets, to the last page."]
    if plan.residual is not None and not plan.exact:
        lines.append("SearchImageSets cannot say all of this search, so more may come back than was asked for.")
    elif plan.residual is not None and _has_range(branch.where for branch in plan.branches):
        lines.append("Whether BETWEEN holds its ends is not documented, so a little more is asked for than the search.")
    if len(lines) > 1:
        text = canonical(Search(plan.residual or Everything())) if residual is None else residual
        lines += ["Of what comes back, keep only the image sets that meet", f"    {text}", "(nothing here does that)."]
    if len(plan.branches) > 1:
        lines.append(f"{len(plan.branches)} searches run one after the other: each is in order, all together are not.")
        if language == "cli":
            lines.append("Needs jq.")
    return lines


def _has_range(conditions: Iterable[Condition]) -> bool:
    return any(part.operator is Operator.RANGE for condition in conditions for part in comparisons(condition))


def _visible(line: str) -> str:
    """The line without characters that could end a comment or hide in it: they are shown as `<U+000A>`."""
    return "".join(character if character.isprintable() else f"<U+{ord(character):04X}>" for character in line)


def _write_cli(datastore_id: str, searches: Sequence[Criteria]) -> str:
    # One line a command: it can be pasted, and read by other tools, without a rule for line ends.
    commands = [
        f"aws medical-imaging search-image-sets --datastore-id {shlex.quote(datastore_id)}"
        f" --search-criteria {shlex.quote(json.dumps(criteria_json(criteria)))} --page-size 50 --output json"
        for criteria in searches
    ]
    if len(commands) < 2:
        return "".join(f"{command}\n" for command in commands)
    once = "{imageSetsMetadataSummaries: (map(.imageSetsMetadataSummaries[]) | unique_by(.imageSetId))}"
    return "{{\n{}\n}} | jq --slurp '{}'\n".format(" &&\n".join(commands), once)


def _write_python(datastore_id: str, searches: Sequence[Criteria]) -> str:
    literal = _literal(searches, _python_scalar)
    imports = "import json\n"
    if any(isinstance(leaf, datetime) for leaf in _leaves(searches)):
        imports += "from datetime import datetime, timezone\n"
    return f"""\
{imports}
import boto3

DATASTORE_ID = {datastore_id!a}
SEARCHES = {literal}

paginator = boto3.client("medical-imaging").get_paginator("search_image_sets")
image_sets = {{}}
for criteria in SEARCHES:
    pages = paginator.paginate(
        datastoreId=DATASTORE_ID, searchCriteria=criteria, PaginationConfig={{"PageSize": 50}}
    )
    for page in pages:
        for summary in page["imageSetsMetadataSummaries"]:
            image_sets[summary["imageSetId"]] = summary

print(json.dumps(list(image_sets.values()), indent=2, default=str))
"""


def _write_javascript(datastore_id: str, searches: Sequence[Criteria]) -> str:
    return f"""\
import {{ MedicalImagingClient, paginateSearchImageSets }} from "@aws-sdk/client-medical-imaging";

const datastoreId = {json.dumps(datastore_id)};
const searches = {_literal(searches, _javascript_scalar)};

const client = new MedicalImagingClient({{}});
const imageSets = new Map();
for (const searchCriteria of searches) {{
  const pages = paginateSearchImageSets({{ client, pageSize: 50 }}, {{ datastoreId, searchCriteria }});
  for await (const page of pages) {{
    for (const summary of page.imageSetsMetadataSummaries ?? []) {{
      imageSets.set(summary.imageSetId, summary);
    }}
  }}
}}

console.log(JSON.stringify([...imageSets.values()], null, 2));
"""


def _write_java(datastore_id: str, searches: Sequence[Criteria]) -> str:
    listed = ",\n".join(_indent(_java_object("SearchCriteria", criteria), 12) for criteria in searches)
    return f"""\
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.services.medicalimaging.MedicalImagingClient;
import software.amazon.awssdk.services.medicalimaging.model.DICOMStudyDateAndTime;
import software.amazon.awssdk.services.medicalimaging.model.ImageSetsMetadataSummary;
import software.amazon.awssdk.services.medicalimaging.model.SearchByAttributeValue;
import software.amazon.awssdk.services.medicalimaging.model.SearchCriteria;
import software.amazon.awssdk.services.medicalimaging.model.SearchFilter;
import software.amazon.awssdk.services.medicalimaging.model.SearchImageSetsRequest;
import software.amazon.awssdk.services.medicalimaging.model.Sort;

public class SearchImageSets {{
    public static void main(String[] args) {{
        String datastoreId = {json.dumps(datastore_id)};
        List<SearchCriteria> searches = List.of({f"{chr(10)}{listed}" if listed else ""});

        Map<String, ImageSetsMetadataSummary> imageSets = new LinkedHashMap<>();
        try (MedicalImagingClient client = MedicalImagingClient.create()) {{
            for (SearchCriteria criteria : searches) {{
                SearchImageSetsRequest request = SearchImageSetsRequest.builder()
                    .datastoreId(datastoreId)
                    .searchCriteria(criteria)
                    .maxResults(50)
                    .build();
                client.searchImageSetsPaginator(request).stream().forEach(page ->
                    page.imageSetsMetadataSummaries().forEach(summary ->
                        imageSets.put(summary.imageSetId(), summary)));
            }}
        }}
        imageSets.values().forEach(System.out::println);
    }}
}}
"""


def _write_cpp(datastore_id: str, searches: Sequence[Criteria]) -> str:
    listed = ",\n".join(_indent(_cpp_object("SearchCriteria", criteria), 12) for criteria in searches)
    return f"""\
#include <aws/core/Aws.h>
#include <aws/core/utils/DateTime.h>
#include <aws/medical-imaging/MedicalImagingClient.h>
#include <aws/medical-imaging/model/SearchImageSetsRequest.h>

#include <iostream>
#include <set>
#include <vector>

using namespace Aws::MedicalImaging::Model;

int search() {{
    const Aws::String datastoreId = {_cpp_text(datastore_id)};
    const std::vector<SearchCriteria> searches = {{{f"{chr(10)}{listed}" if listed else ""}}};

    Aws::MedicalImaging::MedicalImagingClient client;
    std::set<Aws::String> imageSetIds;
    for (const auto &criteria : searches) {{
        Aws::String nextToken;
        do {{
            SearchImageSetsRequest request;
            request.SetDatastoreId(datastoreId);
            request.SetSearchCriteria(criteria);
            request.SetMaxResults(50);
            if (!nextToken.empty()) {{
                request.SetNextToken(nextToken);
            }}
            const auto outcome = client.SearchImageSets(request);
            if (!outcome.IsSuccess()) {{
                std::cerr << outcome.GetError().GetMessage() << std::endl;
                return 1;
            }}
            for (const auto &summary : outcome.GetResult().GetImageSetsMetadataSummaries()) {{
                if (imageSetIds.insert(summary.GetImageSetId()).second) {{
                    std::cout << summary.GetImageSetId() << std::endl;
                }}
            }}
            nextToken = outcome.GetResult().GetNextToken();
        }} while (!nextToken.empty());
    }}
    return 0;
}}

int main() {{
    Aws::SDKOptions options;
    Aws::InitAPI(options);
    const int status = search();
    Aws::ShutdownAPI(options);
    return status;
}}
"""


_WRITERS: Final[dict[str, tuple[str, Callable[[str, Sequence[Criteria]], str]]]] = {
    "cli": ("#", _write_cli),
    "python": ("#", _write_python),
    "javascript": ("//", _write_javascript),
    "java": ("//", _write_java),
    "cpp": ("//", _write_cpp),
}

#: The languages that a sample can be written in.
LANGUAGES: Final = tuple(_WRITERS)


def _literal(value: object, write_scalar: Callable[[_Scalar], str], depth: int = 0) -> str:
    """An object or list literal, as Python and JavaScript both write it but for their scalars."""
    inner, outer = "  " * (depth + 1), "  " * depth
    match value:
        case dict():
            members = [f"{json.dumps(name)}: {_literal(one, write_scalar, depth + 1)}" for name, one in value.items()]
            opening, closing = "{}"
        case list():
            members = [_literal(one, write_scalar, depth + 1) for one in value]
            opening, closing = "[]"
        case str() | bool() | datetime():
            return write_scalar(value)
        case _:
            raise TypeError(f"no literal for {type(value).__name__}")
    if not members:
        return opening + closing
    return f"{opening}\n" + "".join(f"{inner}{member},\n" for member in members) + outer + closing


def _leaves(value: object) -> Iterable[object]:
    match value:
        case dict():
            for member in value.values():
                yield from _leaves(member)
        case list():
            for member in value:
                yield from _leaves(member)
        case _:
            yield value


def _python_scalar(value: _Scalar) -> str:
    if isinstance(value, datetime):
        parts = (value.year, value.month, value.day, value.hour, value.minute, value.second)
        return f"datetime({', '.join(map(str, parts))}, tzinfo=timezone.utc)"
    return ascii(value)


def _javascript_scalar(value: _Scalar) -> str:
    return f"new Date({json.dumps(_iso(value))})" if isinstance(value, datetime) else json.dumps(value)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


# The structures of SearchCriteria by the members that hold them, for the languages whose samples name types.
_TYPES: Final = {
    "filters": "SearchFilter",
    "values": "SearchByAttributeValue",
    "sort": "Sort",
    "DICOMStudyDateAndTime": "DICOMStudyDateAndTime",
}


def _java_object(type_name: str, members: Mapping[str, object]) -> str:
    """A builder's chain: members are lower camel case (`dicomPatientId`), enumerations may be set by their text."""
    calls = "".join(f"\n    .{_java_name(name)}({_java_value(name, value)})" for name, value in members.items())
    return f"{type_name}.builder(){calls}\n    .build()"


def _java_name(name: str) -> str:
    return f"dicom{name.removeprefix('DICOM')}" if name.startswith("DICOM") else name


def _java_value(name: str, value: object) -> str:
    match value:
        case dict():
            return _indent(_java_object(_TYPES[name], value), 4).lstrip()
        case list():
            return ",".join(f"\n{_indent(_java_object(_TYPES[name], one), 8)}" for one in value)
        case datetime():
            return f"Instant.parse({json.dumps(_iso(value))})"
        case _:
            # JSON's text literals are Java's: it escapes all but printable ASCII, as UTF-16 units.
            return json.dumps(value)


def _cpp_object(type_name: str, members: Mapping[str, object]) -> str:
    """A chain of setters; a list of structures goes in braces, an enumeration's values are named as on the wire."""
    calls = "".join(
        f"\n    .With{name[0].upper()}{name[1:]}({_cpp_value(name, value)})" for name, value in members.items()
    )
    return f"{type_name}(){calls}"


_CPP_ENUMERATIONS: Final = {"operator": "Operator", "sortField": "SortField", "sortOrder": "SortOrder"}
# Aws::Utils::DateTime counts nanoseconds in 64 bits, which reach from 1677 to 2262.
_CPP_EARLIEST: Final = datetime(1678, 1, 1, tzinfo=UTC)
_CPP_LATEST: Final = datetime(2262, 1, 1, tzinfo=UTC)


def _cpp_value(name: str, value: object) -> str:
    match value:
        case dict():
            return _indent(_cpp_object(_TYPES[name], value), 4).lstrip()
        case list():
            listed = ",".join(f"\n{_indent(_cpp_object(_TYPES[name], one), 8)}" for one in value)
            return f"{{{listed}}}"
        case datetime():
            moment = min(max(value, _CPP_EARLIEST), _CPP_LATEST)
            return f"Aws::Utils::DateTime({_cpp_text(_iso(moment))}, Aws::Utils::DateFormat::ISO_8601)"
        case str() if name in _CPP_ENUMERATIONS:
            return f"{_CPP_ENUMERATIONS[name]}::{value}"
        case str():
            return _cpp_text(value)
        case _:
            return json.dumps(value)


def _cpp_text(text: str) -> str:
    """A C++ literal of the text's UTF-8; octal escapes end after three digits, whatever follows."""
    return '"' + "".join(_cpp_byte(byte) for byte in text.encode()) + '"'


def _cpp_byte(byte: int) -> str:
    plain = 0x20 <= byte < 0x7F and byte not in b'"\\?'
    return chr(byte) if plain else f"\\{byte:03o}"


def _indent(text: str, spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in text.split("\n"))
