"""What a model directory holds, for people; ``hjc info``."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hjc.classifiers import stored_classifier
from hjc.classifiers.derived import verify_derived
from hjc.classifiers.load import training_record
from hjc.classifiers.paths import CONFIG, CONTENT
from hjc.classifiers.storage import read_model_dir
from hjc.report.card import level_rows
from hjc.report.text import size_text


def model_facts(run_dir: str | Path) -> dict[str, Any]:
    """Classifier, settings, taxonomy, sizes, metrics and provenance of a model. Verifies the checksums of its files.

    Raises:
        FileNotFoundError, ModelDirError: no model, or a damaged one.
    """
    stored_classifier(run_dir)
    model = read_model_dir(run_dir)
    record = training_record(run_dir)
    tree, derived = model.taxonomy, verify_derived(run_dir)
    return {
        "classifier": model.classifier,
        "parameters": model.parameters,
        "format_version": model.config["format_version"],
        "hjc_version": model.config.get("hjc_version"),
        "taxonomy": {
            "name": tree.name,
            "hash": tree.hash,
            "levels": [len(tree.level_nodes(d)) for d in range(1, tree.depth + 1)],
        },
        "files": {name: entry["size"] for name, entry in model.config["files"].items()},
        "derived_files": derived,
        "unchecked": [name for name, checked in {CONFIG: CONTENT in model.config, **derived}.items() if not checked],
        "metrics": level_rows(run_dir),
        "training": record,
    }


def show_facts(values: dict[str, Any], console: Console) -> None:
    """:func:`model_facts` on a terminal."""
    tree = values["taxonomy"]
    sizes = "/".join(map(str, tree["levels"]))
    console.print(
        f"classifier  {values['classifier']}  (format {values['format_version']}, hjc {values['hjc_version']})"
    )
    console.print(f"taxonomy    {tree['name']}, levels {sizes}, hash {tree['hash'][:12]}")
    total = sum(values["files"].values())
    shown = ", ".join(f"{name} {size_text(size)}" for name, size in values["files"].items())
    console.print(f"files       {size_text(total)}: {shown}")
    if values["unchecked"]:
        console.print(f"unchecked   {', '.join(values['unchecked'])}: written by an older hjc without a checksum")
    for key, value in values["parameters"].items():
        console.print(f"  {key} = {_short(value)}", markup=False)
    record = values["training"]
    if record:
        code = record.get("code") or {}
        for key, value in (
            ("status", record.get("status")),
            ("trained", record.get("ended") or record.get("started")),
            ("command", record.get("command")),
            ("code", (code.get("commit") or "")[:12] + (" with changes" if code.get("dirty") else "")),
            ("seed", record.get("seed")),
            ("calibration", ((record.get("calibration") or {}).get("kind") or "").replace("_", " ")),
        ):
            if value not in (None, ""):
                console.print(f"{key:<11} {value}", markup=False)
        for name, data in (record.get("data") or {}).items():
            console.print(
                f"{name:<11} {data.get('rows', 0):,} rows, hash {str(data.get('hash', '?'))[:12]}", markup=False
            )
    for name in dict.fromkeys(row["set"] for row in values["metrics"]):
        table = Table("level", "rows", "log-loss", "recall@1", "recall@5", "macro recall", title=name or "data")
        found = {(r["level"], r["metric"]): r for r in values["metrics"] if r["set"] == name}
        for level in dict.fromkeys(level for level, _ in found):
            row = [found.get((level, m)) for m in ("log_loss", "recall@1", "recall@5", "macro_recall")]
            count = next(r["n"] for (at, _), r in found.items() if at == level)
            table.add_row(level, f"{int(float(count)):,}", *(_figure(r) for r in row))
        console.print(table)
    if not values["metrics"]:
        console.print("no metrics: hjc evaluate RUN_DIR DATA scores the model")


def _figure(row: dict[str, str] | None) -> str:
    return f"{float(row['value']):.3f}" if row and row["value"] else ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."
