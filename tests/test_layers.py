"""The import direction of the design, and that nothing pulls in torch that can do without."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hjc

ROOT = Path(hjc.__file__).parent

#: the part of hjc that a module belongs to -> its layer; a module imports its own layer or lower ones
LAYERS = {
    "errors": 0,
    "progress": 0,
    "index": 1,
    "taxonomy": 1,
    "data": 2,
    "metrics": 2,
    "rerank": 2,
    "decision": 2,
    "calibration": 2,
    "statistics": 2,
    "selective": 2,
    "drift": 2,
    "nn": 3,
    "classifiers": 4,
    "evaluate": 5,
    "evaluate_table": 5,
    "report": 5,
    "persistence": 5,
    "prediction_io": 5,
    "provenance": 5,
    "validation": 5,
    "validation_scores": 5,
    "drift_file": 5,
    "evaluate_calibrated": 5,
    "evaluate_rules": 5,
    "estimation": 5,
    "estimation_change": 5,
    "estimation_rows": 5,
    "explain": 5,
    "job_classifier": 5,
    "vectors": 5,
    "reviewing": 5,
    "config": 6,
    "workflow": 6,
    "configs": 6,
    "cli": 7,
}
#: plain dataclasses that every layer may read
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
}


def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["hjc", *path.relative_to(ROOT).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = modules()


def imports(name: str, path: Path) -> set[str]:
    """Dotted names that a module imports anywhere, functions included; not those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ignored = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names}
    return found


def test_every_part_has_a_layer() -> None:
    parts = {name.split(".")[1] for name in MODULES if name != "hjc"}
    assert parts <= set(LAYERS), f"give {sorted(parts - set(LAYERS))} a layer in this test"


@pytest.mark.parametrize("name", [name for name in MODULES if name != "hjc"])
def test_imports_point_downward(name: str) -> None:
    own = LAYERS[name.split(".")[1]]
    for other in imports(name, MODULES[name]):
        if other.startswith("hjc.") and other not in SETTINGS:
            layer = LAYERS[other.split(".")[1]]
            assert layer <= own, f"{name} (layer {own}) imports {other} (layer {layer})"


@pytest.mark.parametrize("name", list(MODULES))
def test_heavy_packages_stay_where_they_belong(name: str) -> None:
    if name in SETTINGS:
        assert not {i.split(".")[0] for i in imports(name, MODULES[name])} & {"torch", "numpy", "hydra", "omegaconf"}
    for other in imports(name, MODULES[name]):
        allowed = ONLY_IN.get(other.split(".")[0])
        if allowed is not None:
            inside = any(name == prefix.rstrip(".") or name.startswith(prefix.rstrip(".") + ".") for prefix in allowed)
            assert inside, f"{name} imports {other}, which belongs in {', '.join(allowed)}"


@pytest.mark.parametrize("forbidden", ["torch,transformers,pytorch_lightning"])
def test_baseline_and_metrics_run_without_torch(forbidden: str) -> None:
    """A fresh interpreter imports everything that does without torch, and torch is not there."""
    wanted = ["hjc", "hjc.taxonomy", "hjc.data", "hjc.metrics", "hjc.evaluation.evaluate", "hjc.classifiers.base",
              "hjc.classifiers.linear", "hjc.training.config", "hjc.training.workflow"]  # fmt: skip
    wanted = [name for name in wanted if name in MODULES]
    code = (
        f"import sys\nfor name in {wanted!r}:\n    __import__(name)\n"
        f"bad = sorted(set({forbidden!r}.split(',')) & set(sys.modules))\nassert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent, timeout=120)
