"""The shape of the house, read from its folders: what may import what, no circles, no private names of others."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import hjc

ROOT = Path(hjc.__file__).parent

#: from the ground up; a file imports its own room and those above this line, none below
ROOMS = (
    ("hjc.errors", "hjc.arrays", "hjc.progress", "hjc.files", "hjc.plugins"),
    ("hjc.tables",),
    ("hjc.taxonomy",),
    ("hjc.crosswalk",),
    ("hjc.index",),
    ("hjc.taxonomy.graph",),
    ("hjc.data",),
    ("hjc.metrics",),
    ("hjc.calibration",),
    ("hjc.decision",),
    ("hjc.statistics",),
    ("hjc.corpus",),
    ("hjc.nn",),
    ("hjc.rerank",),
    ("hjc.classifiers",),
    ("hjc.evaluation",),
    ("hjc.apply",),
    ("hjc.sklearn", "hjc.mlflow", "hjc.spark"),
    ("hjc.explain",),
    ("hjc.report",),
    ("hjc.training", "hjc.configs"),
    ("hjc.serve",),
    ("hjc.cli",),
)
#: may name anything: the package's own list of lazy names
FACADES = {"hjc"}
#: plain dataclasses that every room may read
SETTINGS = {
    "hjc.nn.settings",
    "hjc.data.settings",
    "hjc.classifiers.linear_settings",
    "hjc.classifiers.embedding.settings",
}
#: outermost modules that may import these packages, also inside functions
ONLY_IN = {
    "torch": ("hjc.nn.", "hjc.classifiers.neural"),
    "pytorch_lightning": ("hjc.nn.",),
    "hydra": ("hjc.training.config", "hjc.cli"),
    "omegaconf": ("hjc.training.config", "hjc.cli"),
    "typer": ("hjc.cli",),
    "mlflow": ("hjc.nn.tracking", "hjc.mlflow"),
    "ray": ("hjc.apply.folder.ray_engine",),
    "pyspark": ("hjc.spark",),
    "fastapi": ("hjc.serve.app", "hjc.serve.routes"),
    "sqlalchemy": ("hjc.serve",),
    "alembic": ("hjc.serve.store",),
}
NAMEDTUPLE = {"_replace", "_asdict", "_fields", "_make"}


def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["hjc", *path.relative_to(ROOT).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = modules()


@cache
def parsed(name: str) -> list[ast.AST]:
    """The nodes of a module, without those for type checkers only. Of a package these are the names that it imports
    when they are asked for: they count."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    ignored = {
        id(node)
        for block in ast.walk(tree)
        if MODULES[name].name != "__init__.py"
        and isinstance(block, ast.If)
        and ast.unparse(block.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    return [node for node in ast.walk(tree) if id(node) not in ignored]


@cache
def imported(name: str) -> frozenset[tuple[str, str]]:
    """(module, name taken from it) of every import, functions included; the name is "" for the module itself."""
    found = set()
    for node in parsed(name):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add((whole, "") if whole in MODULES else (base, alias.name))
    return frozenset(found)


def floor(name: str) -> int:
    """The room of a module, counted from the ground; a room within a room is its own."""
    fits = [(len(room), i) for i, rooms in enumerate(ROOMS) for room in rooms if f"{name}.".startswith(f"{room}.")]
    return max(fits)[1] if fits else -1


def upward() -> list[str]:
    return [
        f"{name} imports {other}"
        for name in MODULES
        if name not in FACADES
        for other, _ in sorted(imported(name))
        if other in MODULES and other not in SETTINGS | FACADES and floor(other) > floor(name)
    ]


def private() -> list[str]:
    """Names that begin with _ and are taken from another module, or read from another object."""
    found = []
    for name in MODULES:
        found += [f"{name}: {taken} of {other}" for other, taken in imported(name)
                  if other in MODULES and taken.startswith("_") and not taken.startswith("__")]  # fmt: skip
        for node in parsed(name):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
                continue
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "mcs")
            parent = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
            if not own and not parent and node.attr not in NAMEDTUPLE:
                found.append(f"{name}:{node.lineno} {ast.unparse(node)}")
    return found


def circles() -> list[list[str]]:
    """Files that import each other, imports inside functions included; a package's own list of names is no circle."""
    graph = {n: {o for o, _ in imported(n) if o in MODULES and o != n} for n in MODULES if n not in FACADES}
    graph = {n: {o for o in to if not n.startswith(f"{o}.")} for n, to in graph.items()}
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, stack = set(), [*graph[start]]
        while stack:
            if (n := stack.pop()) not in seen:
                seen.add(n)
                stack += graph.get(n, ())
        reach[start] = seen
    rings = {tuple(sorted(m for m in reach[n] if n in reach.get(m, ()))) for n in graph if n in reach[n]}
    return [list(ring) for ring in sorted(rings)]


def test_every_module_stands_in_a_room() -> None:
    assert [name for name in MODULES if floor(name) < 0 and name not in FACADES] == []
    assert [r for rooms in ROOMS for r in rooms if r not in MODULES] == []


@pytest.mark.slow
def test_imported_files_are_there() -> None:
    """mypy lets a module of ours that is gone pass as one that is not installed."""
    ours = {(n, other) for n in MODULES for other, _ in imported(n) if other.split(".")[0] == "hjc"}
    assert [f"{n} imports {other}" for n, other in sorted(ours) if other not in MODULES] == []


def test_imports_point_downward() -> None:
    assert upward() == []


def test_no_circles_between_files() -> None:
    assert circles() == []


def test_no_private_names_of_others() -> None:
    assert private() == []


def test_no_file_over_400_lines() -> None:
    assert [n for n, p in MODULES.items() if len(p.read_text("utf-8").splitlines()) > 400] == []


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_heavy_packages_stay_where_they_belong(package: str) -> None:
    allowed = tuple(prefix.rstrip(".") + "." for prefix in ONLY_IN[package])
    users = {n for n in MODULES for other, _ in imported(n) if other.split(".")[0] == package}
    assert [n for n in users if not f"{n}.".startswith(allowed)] == []


def test_settings_are_plain() -> None:
    heavy = {"torch", "numpy", "hydra", "omegaconf"}
    assert [n for n in SETTINGS for other, _ in imported(n) if other.split(".")[0] in heavy] == []


@pytest.mark.slow
def test_baseline_and_metrics_run_without_torch() -> None:
    """A fresh interpreter imports everything that does without torch, and torch is not there."""
    wanted = ["hjc", "hjc.taxonomy", "hjc.data", "hjc.metrics", "hjc.evaluation.evaluate", "hjc.classifiers.base",
              "hjc.classifiers.linear", "hjc.training.config", "hjc.training.workflow", "hjc.apply"]  # fmt: skip
    code = (
        f"import sys\nfor name in {wanted!r}:\n    __import__(name)\n"
        "bad = sorted({'torch', 'transformers', 'pytorch_lightning'} & set(sys.modules))\nassert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent, timeout=120)
