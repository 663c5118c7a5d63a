"""Who may import whom: imports point one way, and one room owns each outside library."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: The rooms from the ground up. A module imports from its own room and from those below it, never from above or beside.
FLOORS = (
    ("grammar",),
    ("graphql_service.errors", "graphql_service.patterns", "graphql_service.deadlines"),
    ("graphql_service.image_set", "graphql_service.settings", "graphql_service.metrics", "graphql_service.auditing"),
    ("graphql_service.access",),
    ("graphql_service.instances",),
    ("graphql_service.stores.base", "graphql_service.matching"),
    ("graphql_service.ordering", "graphql_service.paging", "graphql_service.planning"),
    ("graphql_service.healthimaging", "graphql_service.scanning"),
    ("graphql_service.studies",),
    ("graphql_service.stores",),
    ("graphql_service.analysis", "graphql_service.searching"),
    ("graphql_service.histogram",),
    ("graphql_service.api", "graphql_service.loading", "graphql_service.sample"),
    ("graphql_service.healthimaging.server",),
    ("graphql_service.web",),
    ("graphql_service.cli",),
)

#: Each outside library (and the one of the standard library that is a database), and the module or room that owns it.
OWNERS = {
    "anyio": (
        "graphql_service.access.oidc",
        "graphql_service.api",
        "graphql_service.deadlines",
        "graphql_service.web.readiness",
    ),
    "boto3": ("graphql_service.healthimaging.client",),
    "botocore": ("graphql_service.healthimaging.client",),
    "click": ("graphql_service.cli",),
    "graphql": ("graphql_service.api",),
    "jwt": ("graphql_service.access.oidc",),
    "lark": ("grammar.parser",),
    # boto3's types, for the type checker alone.
    "mypy_boto3_medical_imaging": ("graphql_service.healthimaging.client",),
    "opentelemetry": ("graphql_service.web.tracing",),
    # A codec, not a system: whoever writes JSON to the outside may use it.
    "orjson": (
        "graphql_service.instances",
        "graphql_service.loading.ndjson",
        "graphql_service.stores.instances",
        "graphql_service.stores.sqlite",
        "graphql_service.web",
    ),
    "platformdirs": ("graphql_service.settings",),
    "prometheus_client": ("graphql_service.metrics",),
    "prompt_toolkit": ("graphql_service.cli.prompt",),
    "pydicom": ("graphql_service.loading.dicom.headers",),
    "rich": ("graphql_service.cli",),
    "sqlite3": tuple(
        f"graphql_service.stores.{room}"
        for room in ("connections", "finding", "instances", "schema", "sqlite", "texts")
    ),
    "starlette": ("graphql_service.healthimaging.server", "graphql_service.web"),
    "strawberry": ("graphql_service.api",),
    "structlog": ("graphql_service.web.telemetry",),
    "uvicorn": ("graphql_service.cli.serving",),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for house in ("grammar", "graphql_service") for path in sorted((ROOT / house).rglob("*.py"))
}


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere, in functions too, each as far as it is a module of ours."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return found


def stands_in(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def room_of(module: str) -> tuple[int, str]:
    """The floor and the room of a module: the longest name that holds it."""
    rooms = [(floor, room) for floor, names in enumerate(FLOORS) for room in names if stands_in(module, room)]
    return max(rooms, key=lambda found: len(found[1]))


IMPORTS = {name: imports(path) for name, path in MODULES.items()}
OURS = {
    name: {other for other in found if other.split(".")[0] in ("grammar", "graphql_service")}
    for name, found in IMPORTS.items()
}


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"graphql_service"}))
def test_imports_point_down(module: str) -> None:
    floor, room = room_of(module)
    assert [other for other in sorted(OURS[module]) if room_of(other)[1] != room and room_of(other)[0] >= floor] == []


def test_no_module_imports_itself_through_others() -> None:
    tuple(TopologicalSorter({module: others - {module} for module, others in OURS.items()}).static_order())


def test_the_command_line_imports_the_schema_alone_from_the_api() -> None:
    seen = {other for name, others in OURS.items() if stands_in(name, "graphql_service.cli") for other in others}
    assert {other for other in seen if stands_in(other, "graphql_service.api")} == {"graphql_service.api.schema"}


def test_every_outside_library_stays_with_its_owner() -> None:
    outside = {
        (library, name)
        for name, found in IMPORTS.items()
        for library in (other.split(".")[0] for other in found)
        if library in OWNERS or library not in sys.stdlib_module_names | {"grammar", "graphql_service"}
    }
    strangers = {
        (library, name)
        for library, name in outside
        if not any(stands_in(name, owner) for owner in OWNERS.get(library, ()))
    }
    assert strangers == set()
    assert {(library, owner) for library, owners in OWNERS.items() for owner in owners} == {
        (library, owner) for library, name in outside for owner in OWNERS[library] if stands_in(name, owner)
    }
