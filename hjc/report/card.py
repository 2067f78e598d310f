"""The model card: README.md of a model directory, from what lies in it."""

import csv
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hjc.classifiers.load import stored_recipe, training_record
from hjc.classifiers.storage import read_model_dir
from hjc.files import write_text
from hjc.report.text import fill, interval

CARD = "README.md"
#: start of the encoder's name -> licence of its weights, as its authors state it
LICENCES = {
    "intfloat/multilingual-e5": "MIT",
    "FacebookAI/xlm-roberta": "MIT",
    "xlm-roberta": "MIT",
    "allegro/herbert": "CC BY 4.0",
    "sentence-transformers/all-MiniLM": "Apache-2.0",
    "jhu-clsp/mmBERT": "MIT",
    "BAAI/bge-m3": "MIT",
}
METRICS = ("log_loss", "recall@1", "recall@5", "macro_recall", "hierarchical_f1", "ece")


def level_rows(directory: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Lines of metrics.csv that are about all rows of a set (no slice); empty when the model was not evaluated."""
    path = Path(directory) / "metrics.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if not line.get("slice_kind")]
    if any(line["metric"] == "ece_debiased" for line in lines):  # of an older hjc, whose ``ece`` was the plain one
        lines = [{**line, "metric": "ece_plain"} if line["metric"] == "ece" else line for line in lines]
    return lines


def write_card(
    directory: str | os.PathLike[str], *, title: str | None = None, licence: str | None = None, notes: str = ""
) -> Path:
    """Write README.md: what the model is, what it was trained on, how good it is per level, its limits, how to load it.

    Everything comes from the directory itself (config.json, train.yaml, metrics.csv). The YAML header has the keys that
    model hubs read.

    Args:
        title: heading; default: classifier and taxonomy.
        licence: of the model, when its owner has chosen one.
        notes: Markdown put before the limits.

    Raises:
        FileNotFoundError, ModelDirError: see :func:`hjc.load`.
    """
    model = read_model_dir(directory)
    record = training_record(directory)
    tree, encoder = model.taxonomy, str(model.parameters.get("encoder") or "")
    header: dict[str, Any] = {
        "library_name": "hjc",
        "pipeline_tag": "text-classification",
        "tags": ["occupation-coding", "hierarchical-classification", tree.name],
        "language": (record.get("config") or {}).get("data", {}).get("languages"),
        "license": licence,
        "base_model": encoder,
    }
    header = {key: value for key, value in header.items() if value}
    columns = stored_recipe(model.path, model.config).columns
    text = fill(
        "card.md.j2",
        header=yaml.safe_dump(header, sort_keys=False, allow_unicode=True),
        title=title or f"{model.classifier} classifier for {tree.name}",
        model=model,
        settings={key: _cell(value) for key, value in model.parameters.items()},
        tree=tree,
        sizes=" / ".join(str(len(tree.level_nodes(d))) for d in range(1, tree.depth + 1)),
        record=record,
        metrics=METRICS,
        sets=_figures(level_rows(directory)),
        notes=notes.strip(),
        licence=licence,
        encoder=encoder,
        encoder_licence=next((v for k, v in LICENCES.items() if encoder.lower().startswith(k.lower())), None),
        options=" ".join(f"--text-column {name}" for name in columns or ("text",)),
    )
    return write_text(model.path / CARD, text)


def _cell(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
    text = text if len(text) <= 120 else text[:117] + "..."
    return text.replace("|", "\\|").replace("\n", " ")


def _figures(rows: list[dict[str, str]]) -> dict[str, list[tuple[str, str, list[str]]]]:
    """set -> (level, rows, a figure with its interval for each metric) for each of its levels."""
    found: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for row in rows:
        found.setdefault(row["set"], {}).setdefault(row["level"], {})[row["metric"]] = row
    return {
        name: [
            (level, f"{int(float(next(iter(lines.values()))['n'])):,}", [_figure(lines.get(m)) for m in METRICS])
            for level, lines in levels.items()
        ]
        for name, levels in found.items()
    }


def _figure(row: Mapping[str, str] | None) -> str:
    value, low, high = (float(row[key] or "nan") if row else math.nan for key in ("value", "low", "high"))
    return "" if math.isnan(value) else f"{value:.3f} {interval(low, high)}".strip()
