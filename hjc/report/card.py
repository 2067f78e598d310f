"""The model card: README.md of a model directory, from what lies in it."""

import csv
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hjc.classifiers.load import stored_recipe, training_data_settings, training_record
from hjc.classifiers.paths import model_root
from hjc.classifiers.storage import CONFIG, TAXONOMY, ModelDir, read_model_dir
from hjc.files import read_json, write_text
from hjc.report.text import fill, interval
from hjc.taxonomy import read_taxonomy_csv

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
    "EuroBERT/EuroBERT": "Apache-2.0",
    "Qwen/Qwen3-Embedding": "Apache-2.0",
    "jjzha/esco-xlm-roberta": "Apache-2.0",
    "google/embeddinggemma": "the Gemma terms",
}
#: licences that hubs know by a name of their own; any other is "other" there, with its name beside it
LICENCE_IDS = frozenset({"mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
                         "gpl-3.0", "lgpl-3.0", "eupl-1.2", "odc-by", "pddl"})  # fmt: skip
NO_LICENCE = "The owner of this model has not stated a licence for it."
METRICS = ("log_loss", "recall@1", "recall@5", "macro_recall", "hierarchical_f1", "ece")
#: our metric -> its type in a hub's model-index; recall@1 of all rows is the share of right first codes
METRIC_TYPES = {"recall@1": "accuracy", "macro_recall": "recall", "log_loss": "log_loss", "ece": "ece"}


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
    model hubs read: languages, licence, base model, and the figures of the test sets as model-index (not those of the
    validation rows, by which the model was chosen).

    Args:
        title: heading; default: classifier and taxonomy.
        licence: of the model, when its owner has chosen one.
        notes: Markdown put before the limits.

    Raises:
        FileNotFoundError, ModelDirError: see :func:`hjc.load`.
    """
    text = card_text(directory, title=title, licence=licence, notes=notes)
    return write_text(model_root(directory) / CARD, text)


def card_text(
    directory: str | os.PathLike[str], *, title: str | None = None, licence: str | None = None, notes: str = ""
) -> str:
    """What :func:`write_card` writes."""
    model = read_model_dir(directory)
    record = training_record(directory)
    tree, parts = model.taxonomy, parts_of(model)
    encoders = list(dict.fromkeys([*_encoders(model.parameters), *chain(*(part["encoders"] for part in parts))]))
    on_hubs = [name for name in encoders if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not Path(name).is_dir()]
    title = title or f"{model.classifier} classifier for {tree.name}"
    figures = level_rows(directory)
    languages = training_data_settings(directory).get("languages")
    header = ModelCardData(
        library_name="hjc",
        pipeline_tag="text-classification",
        tags=["occupation-coding", "hierarchical-classification", tree.name],
        language=[str(language) for language in languages] if languages else None,
        base_model=(on_hubs[0] if len(on_hubs) == 1 else on_hubs) or None,
        model_name=title,
        eval_results=list(_hub_results(figures)) or None,
        **_hub_licence(licence),
    ).to_dict()
    columns = stored_recipe(model.path, model.config).columns
    return fill(
        "card.md.j2",
        header=yaml.safe_dump(header, sort_keys=False, allow_unicode=True),
        title=title,
        model=model,
        settings={key: _cell(value) for key, value in model.parameters.items()},
        tree=tree,
        sizes=" / ".join(str(len(tree.level_nodes(d))) for d in range(1, tree.depth + 1)),
        record=record,
        metrics=METRICS,
        sets=_figures(figures),
        notes=notes.strip(),
        licence=f"This model: {licence}." if licence else NO_LICENCE,
        parts=parts,
        encoders={name: _licence_of(name) for name in encoders},
        calibration=calibration_sentence(record.get("calibration") or {}),
        options=" ".join(f"--text-column {name}" for name in columns or ("text",)),
    )


def parts_of(model: ModelDir) -> list[dict[str, Any]]:
    """The models inside a model (of a hybrid, of a model of ads, behind an index), at any depth: where in the
    directory, classifier, tree and its codes, and the encoders."""
    found = []
    for name in sorted(name for name in model.config["files"] if name.endswith(f"/{CONFIG}")):
        folder = (model.path / name).parent
        inner = read_json(model.path / name)
        codes = read_taxonomy_csv(folder / TAXONOMY).num_leaves if (folder / TAXONOMY).is_file() else 0
        found.append(
            {
                "where": name.removesuffix(f"/{CONFIG}"), "classifier": str(inner.get("classifier")),
                "tree": str(inner.get("taxonomy_name")), "codes": f"{codes:,}",
                "encoders": _encoders(inner.get("parameters") or {}),
            }
        )  # fmt: skip
    return found


def _encoders(parameters: Mapping[str, Any]) -> list[str]:
    return [str(name) for key in ("encoder", "cross_encoder") if (name := parameters.get(key))]


def _licence_of(encoder: str) -> str:
    """As the authors of the weights state it; "" where it is not known here."""
    return next((v for k, v in LICENCES.items() if encoder.lower().startswith(k.lower())), "")


#: kind of calibrator -> what it is, in words
CALIBRATORS = {
    "temperature": "one temperature", "level_temperature": "a temperature for each level",
    "group_temperature": "a temperature for each group of sibling codes", "vector": "slopes and shifts of codes",
}  # fmt: skip


def calibration_sentence(made: Mapping[str, Any]) -> str:
    """What calibration changes, of what train.yaml keeps of it; "" where nothing is known."""
    if not made:
        return ""
    if not (kind := made.get("kind")):
        return "No calibration: there were no validation rows."
    rows, lines = f"{made.get('rows') or 0:,}", made.get("candidates") or []
    chosen = next((line for line in lines if line.get("chosen")), None)
    if kind == "identity":
        return (
            f"Calibration changes nothing: no correction lowered the log-loss of the {rows} validation rows by more "
            "than chance. `--calibrated` gives the same probabilities."
        )
    what = CALIBRATORS.get(str(chosen["kind"]), str(kind)) if chosen else str(kind).replace("_", " ")
    gain = (
        f", and lowers their cross-validated log-loss from {lines[0]['log_loss']:.3f} to {chosen['log_loss']:.3f}"
        if chosen
        else ""
    )
    return (
        f"Calibration: {what} was fitted on {rows} validation rows{gain}. It is applied only when asked "
        "(`--calibrated`)."
    )


def with_licence(card: str, licence: str) -> str:
    """The text of a card with the licence that its owner has chosen since."""
    made = ModelCard(card, ignore_metadata_errors=True)
    for key, value in _hub_licence(licence).items():
        setattr(made.data, key, value)
    return str(made).replace(NO_LICENCE, f"This model: {licence}.")


def _hub_licence(licence: str | None) -> dict[str, str]:
    """The keys by which hubs know a licence."""
    if not licence:
        return {}
    name = licence.strip().lower().replace(" ", "-")
    return {"license": name} if name in LICENCE_IDS else {"license": "other", "license_name": name}


def _hub_results(rows: list[dict[str, str]]) -> Iterator[EvalResult]:
    """Figures of test sets as a model-index has them; what is NaN or infinite is left out."""
    for row in rows:
        kind, value = METRIC_TYPES.get(row["metric"]), float(row["value"] or "nan")
        if kind is None or row["set"] == "valid" or not math.isfinite(value):
            continue
        yield EvalResult(
            task_type="text-classification",
            dataset_type=re.sub(r"[^\w.-]+", "-", row["set"]) or "data",
            dataset_name=row["set"] or "data",
            metric_type=kind,
            metric_value=round(value, 4),
            metric_name=f"{row['metric']} at level {row['level']} ({int(float(row['n'])):,} rows)",
        )


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
