"""The house: rooms use only rooms below them, without circles, and the loop names no provider."""

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "controller/imageworks"
PROVIDERS = ("ollama", "huggingface", "lmstudio")
OF_ONE_PROVIDER = {"operations.import_ollama", "operations.restore.ollama"}
MOST_FILES = 26  # of one room at one level
MOST_INNER_IMPORTS = 200
MOST_LINES_OF_A_COMMAND = 60
FLOORS = (
    {"foundation"},
    {"git", "files", "host", "naming"},
    {"registry", "detection", "transfer", "loopback_hub"},
    {"plan", "migration", "serving", "fleet", "exports", "page"},
    {"providers"},
    {"reconcile"},
    {"operations"},
    {"api", "cli", "tools", "model_loader", "apps"},
)
"""From the ground up; rooms of one floor may use each other."""


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES: Mapping[str, Path] = {module(path): path for path in PACKAGE.rglob("*.py")}


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports when it runs; what only types name costs nothing and binds nothing."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If))
    typing = {
        id(inner)
        for block in blocks
        if isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for inner in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def arrows() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in MODULES.items():
        for target in imported(ast.parse(path.read_text(encoding="utf-8"))):
            used = target.removeprefix("imageworks.")
            if target.startswith("imageworks.") and used in MODULES and used != name:
                found[name].add(used)
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(one: str) -> None:
        index[one] = low[one] = len(index)
        stack.append(one)
        for other in graph.get(one, ()):
            if other not in index:
                visit(other)
                low[one] = min(low[one], low[other])
            elif other in stack:
                low[one] = min(low[one], index[other])
        if low[one] == index[one]:
            cut = stack.index(one)
            group, stack[cut:] = stack[cut:], []
            if len(group) > 1:
                found.append(sorted(group))

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        for name in MODULES:
            if name not in index:
                visit(name)
    finally:
        sys.setrecursionlimit(before)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(arrows()) == []


def test_rooms_use_only_rooms_below_them() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    rooms = {name.partition(".")[0] for name in MODULES if "." in name}
    assert rooms == floor.keys()
    up = {
        (one, other)
        for one, targets in arrows().items()
        for other in targets
        if floor.get(other.partition(".")[0], 0) > floor.get(one.partition(".")[0], len(FLOORS))
    }
    assert up == set()


def without_providers() -> list[str]:
    """Return the modules that have to work for any provider."""
    rooms = {"reconcile", "plan", "operations"}
    return [name for name in MODULES if name.split(".")[0] in rooms and name not in OF_ONE_PROVIDER]


def test_what_serves_all_providers_names_none() -> None:
    texts = {name: MODULES[name].read_text(encoding="utf-8").lower().replace(" ", "") for name in without_providers()}
    assert len(texts) > len(PROVIDERS)
    assert {(name, word) for name, text in texts.items() for word in PROVIDERS if word in text} == set()


def test_what_serves_all_providers_imports_none() -> None:
    folders = {path.parent.name for path in (PACKAGE / "providers").glob("*/*.py")} - {"folder", "selection"}
    assert folders >= {*PROVIDERS, "local", "url"}
    of_one, found = tuple(f"providers.{folder}." for folder in folders), arrows()
    assert {(name, used) for name in without_providers() for used in found[name] if used.startswith(of_one)} == set()


def lines_of_body(function: ast.FunctionDef) -> int:
    """Return how long a function is without its parameters and its docstring."""
    first = function.body[0] if ast.get_docstring(function) is None else function.body[min(1, len(function.body) - 1)]
    return (function.end_lineno or 0) - first.lineno + 1


def test_commands_are_short() -> None:
    """Their options take as many lines as they need: what they do is one operation and one view."""
    lengths = {
        f"{name}.{function.name}": lines_of_body(function)
        for name, path in MODULES.items()
        if name.startswith(("cli.commands.", "cli.scripts."))
        for function in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(function, ast.FunctionDef)
    }
    assert "cli.commands.follow.reconcile.reconcile_command" in lengths
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_COMMAND} == {}


def test_few_imports_stand_in_functions() -> None:
    """They are for what a command loads when it is meant, and for heavy libraries off the usual path."""
    found = 0
    for path in MODULES.values():
        inner = {
            node.lineno
            for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        found += len(inner)
    assert 0 < found <= MOST_INNER_IMPORTS


def test_no_room_is_crowded() -> None:
    rooms = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {room.as_posix(): count for room, count in rooms.items() if count > MOST_FILES} == {}
    assert rooms[PACKAGE / "reconcile"] <= 16


def test_a_private_module_of_a_library_is_imported_in_one_place() -> None:
    places: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        for line in path.read_text(encoding="utf-8").splitlines():
            found = re.match(r"\s*(?:from|import) (\w+(?:\.\w+)*\.)?(_\w+)", line)
            if found and found[2] != "__future__":
                places.setdefault((found[1] or found[2]).rstrip("."), set()).add(name)
    assert places
    assert {library: names for library, names in places.items() if len(names) > 1} == {}
