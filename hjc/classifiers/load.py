"""``hjc.load``: a classifier from its model directory; and the card that lies beside it."""

import csv
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hjc.classifiers import read_classifier
from hjc.classifiers.base import Classifier
from hjc.classifiers.commit import model_root
from hjc.classifiers.record import PROVENANCE, stored_recipe, training_record
from hjc.classifiers.storage import CONFIG, ModelDir, ModelDirError, read_model_dir
from hjc.files import write_text

__all__ = ["PROVENANCE", "level_rows", "load", "training_record", "write_card"]

CARD = "README.md"
CALIBRATION = "calibration.json"

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


def load(directory: str | os.PathLike[str]) -> Classifier:
    """A fitted classifier from the directory that ``save_pretrained`` or ``train.py`` wrote.

    A calibration in the directory becomes ``classifier.calibrator``; ``classifier.calibrated()`` applies it.
    Needs no network, no base encoder and no training data; nothing that a file names is imported, only classes of the
    registry in :mod:`hjc.classifiers`.

    Raises:
        FileNotFoundError: there is nothing at ``directory``.
        ModelDirError: it is no model directory (a checkpoint, a Hugging Face model, a sweep of several runs), or a
            file is missing, truncated, altered or from a newer hjc.
    """
    path = Path(directory)
    if path.is_dir() and not (model_root(path) / CONFIG).exists():
        runs = sorted(p.parent for p in path.glob(f"*/{CONFIG}"))
        if runs:
            shown = ", ".join(str(p) for p in runs[:5])
            raise ModelDirError(f"{path} holds {len(runs)} runs, not one model; give one of them: {shown}")
        if (path.parent / CONFIG).exists():
            raise ModelDirError(f"{path} is a folder inside a run; give the run directory {path.parent}")
    classifier = read_classifier(path)
    if (model_root(path) / CALIBRATION).exists():
        from hjc.classifiers.calibration_file import read_calibration

        classifier.calibrator = read_calibration(path, classifier.taxonomy)
    return classifier


def level_rows(directory: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Lines of metrics.csv that are about all rows of a set (no slice); empty when the model was not evaluated."""
    path = Path(directory) / "metrics.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [line for line in csv.DictReader(stream) if not line.get("slice_kind")]


# ---------------------------------------------------------------------- the card


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
        FileNotFoundError, ModelDirError: see :func:`load`.
    """
    model = read_model_dir(directory)
    record = training_record(directory)
    sections = [
        _header(model, record, licence),
        f"# {title or f'{model.classifier} classifier for {model.taxonomy.name}'}",
        _what(model),
        _data(record),
        _metrics(level_rows(directory)),
        notes.strip(),
        _USE.format(leaves=model.taxonomy.num_leaves, name=model.taxonomy.name),
        _licence(model, licence),
        _loading(stored_recipe(model.path, model.config).columns),
    ]
    return write_text(model.path / CARD, "\n\n".join(s for s in sections if s) + "\n")


def _header(model: ModelDir, record: Mapping[str, Any], licence: str | None) -> str:
    values: dict[str, Any] = {
        "library_name": "hjc",
        "pipeline_tag": "text-classification",
        "tags": ["occupation-coding", "hierarchical-classification", model.taxonomy.name],
    }
    languages = (record.get("config") or {}).get("data", {}).get("languages")
    if languages:
        values["language"] = list(languages)
    if licence:
        values["license"] = licence
    if encoder := model.parameters.get("encoder"):
        values["base_model"] = encoder
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _what(model: ModelDir) -> str:
    tree = model.taxonomy
    sizes = " / ".join(str(len(tree.level_nodes(d))) for d in range(1, tree.depth + 1))
    lines = [
        f"Codes texts about jobs to **{tree.name}** ({sizes} codes at levels 1 to {tree.depth}) with a probability for "
        "every code at every level. The probabilities are coherent: each is the sum of those of the codes below it.",
        "",
        "| setting | value |",
        "|---|---|",
        f"| classifier | {model.classifier} |",
        f"| taxonomy hash | `{tree.hash}` |",
        f"| hjc | {model.config.get('hjc_version', '?')} |",
    ]
    lines += [f"| {key} | {_cell(value)} |" for key, value in model.parameters.items()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
    text = text if len(text) <= 120 else text[:117] + "..."
    return text.replace("|", "\\|").replace("\n", " ")


def _data(record: Mapping[str, Any]) -> str:
    lines = ["## Training"]
    if not record:
        return "\n\n".join([*lines, "The model was saved without a record of its training (train.yaml)."])
    if record.get("command"):
        lines.append(f"    {record['command']}")
    ended = record.get("ended") or record.get("started", "")
    code = record.get("code") or {}
    state = (
        f", code at {code['commit'][:12]}{' with changes' if code.get('dirty') else ''}" if code.get("commit") else ""
    )
    status = str(record.get("outcome") or record.get("status", "unknown")).replace("_", " ")
    lines.append(f"{status} {ended}{state}, seed {record.get('seed', '?')}.")
    sets = record.get("data") or {}
    if sets:
        table = ["| set | rows | SHA-256 of texts and codes |", "|---|---:|---|"]
        table += [f"| {name} | {d.get('rows', 0):,} | `{d.get('hash', '?')}` |" for name, d in sets.items()]
        lines.append("\n".join(table))
    if record.get("rejected_rows"):
        lines.append(
            f"{record['rejected_rows']:,} rows could not be used (no text, no code, unknown code; rejects.csv)."
        )
    if calibration := record.get("calibration"):
        kind = calibration.get("kind")
        lines.append(
            f"Probabilities: calibration.json ({str(kind).replace('_', ' ')}) was fitted on {calibration['rows']:,} "
            "validation rows; it is applied only when asked (`--calibrated`)."
            if kind
            else "No calibration: there were no validation rows."
        )
    return "\n\n".join(lines)


_SHOWN = ("log_loss", "recall@1", "recall@5", "macro_recall", "hierarchical_f1", "ece")


def _metrics(rows: list[dict[str, str]]) -> str:
    lines = ["## Results"]
    if not rows:
        return "\n\n".join([*lines, "This model has not been evaluated: `hjc evaluate DIRECTORY DATA` does it."])
    lines.append("Log-loss in nats, the others as shares; 95 % bootstrap intervals in brackets.")
    for name in dict.fromkeys(row["set"] for row in rows):
        found = {(row["level"], row["metric"]): row for row in rows if row["set"] == name}
        levels = list(dict.fromkeys(level for level, _ in found))
        table = [f"**{name or 'data'}**", "", "| level | rows | " + " | ".join(_SHOWN) + " |"]
        table.append("|---|---:|" + "---:|" * len(_SHOWN))
        for level in levels:
            count = next(row["n"] for (at, _), row in found.items() if at == level)
            cells = " | ".join(_figure(found.get((level, metric))) for metric in _SHOWN)
            table.append(f"| {level} | {int(float(count)):,} | {cells} |")
        lines.append("\n".join(table))
    return "\n\n".join(lines)


def _figure(row: Mapping[str, str] | None) -> str:
    value, low, high = (float(row[key] or "nan") if row else math.nan for key in ("value", "low", "high"))
    if math.isnan(value):
        return ""
    return f"{value:.3f}" if math.isnan(low) or math.isnan(high) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


_USE = """## Intended use and limits

Coding job titles and job advertisements for statistics, research and search, with a person or a threshold deciding what
is done with uncertain codes. Not for decisions about individual people.

- The figures hold for texts like those of the test sets above. Other sources, languages and years have to be evaluated
  again before results are published: probabilities are calibrated only where the texts resemble the training data.
- Codes with few or no training rows are predicted worse than the average; macro_recall weighs all codes alike.
- Each level is ranked by itself: the first code of a level need not lie under the first code of the level above.
- A text that describes no job still gets a code out of the {leaves} of {name}; its probabilities then are spread."""


def _licence(model: ModelDir, licence: str | None) -> str:
    lines = ["## Licences"]
    lines.append(f"This model: {licence}." if licence else "The owner of this model has not stated a licence for it.")
    encoder = model.parameters.get("encoder")
    if encoder:
        known = next((v for k, v in LICENCES.items() if str(encoder).lower().startswith(k.lower())), None)
        if encoder == "tiny":
            lines.append("The encoder was trained from random weights; there is no base model.")
        elif known:
            lines.append(f"The base encoder {encoder} is published under {known}; its terms go with this model.")
        else:
            lines.append(f"The base encoder is {encoder}: read its licence before passing this model on.")
    lines.append("The terms of the training data and of the taxonomy may restrict what the model is used for.")
    return "\n\n".join(lines)


def _loading(columns: tuple[str, ...]) -> str:
    options = " ".join(f"--text-column {name}" for name in columns or ("text",))
    return f"""## Loading

```python
import hjc

classifier = hjc.load("DIRECTORY")
classifier.predict(["registered nurse, night shifts"], top_k=5)
```

```sh
hjc predict DIRECTORY ads.csv -o coded.csv {options} --top-k 5
```

Loading needs no network and no base encoder; sizes and checksums of all files are verified."""
