"""Category vectors on O*NET titles: direct, average, fine-tuned; accuracy, time, accuracy by size of the category.

    python experiments/embedding_family/prototypes.py

Writes prototypes.csv (a row a run) and prototypes_by_size.csv (a row a run and number of training titles). Runs that
are there already are not repeated; delete the files to start over.
"""

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from onet_titles import MINILM, CachedEncoder, encode_once, load

from hjc.classifiers.embedding.prototype import PrototypeClassifier
from hjc.classifiers.embedding.settings import PrototypeSettings
from hjc.evaluation import evaluate_model
from hjc.nn.settings import TrainerSettings

FOLDER = Path(__file__).resolve().parent
FROZEN = {"batch_size": 256, "patience": 3, "schedule": "linear", "warmup_steps": 20, "threads": 1}
#: name -> model settings, trainer settings
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "direct": ({"prototype": "direct"}, {}),
    "average": ({"prototype": "average"}, {}),
    "average, no label text": ({"prototype": "average", "label_weight": 0.0}, {}),
    "finetuned, contrastive, 5 epochs": ({"loss": "contrastive", "margin": 0.5}, {"epochs": 5}),
    "finetuned, contrastive, 12 epochs": ({"loss": "contrastive", "margin": 0.5}, {"epochs": 12}),
    "finetuned, contrastive, margin 1": ({"loss": "contrastive", "margin": 1.0}, {"epochs": 12}),
    "finetuned, softmax, 5 epochs": ({"loss": "softmax"}, {"epochs": 5}),
    "finetuned, softmax, 12 epochs": ({"loss": "softmax"}, {"epochs": 12}),
    "finetuned, softmax, no label text": ({"loss": "softmax", "label_weight": 0.0}, {"epochs": 12}),
    "finetuned with the encoder, softmax, 1 epoch": (
        {"loss": "softmax", "freeze_encoder": False},
        {"epochs": 1, "batch_size": 64, "warmup_steps": 50, "learning_rate": 1e-4, "loggers": []},
    ),
}
SIZES = ((0, 0), (1, 4), (5, 9), (10, 19), (20, 49), (50, 10_000))


def main() -> None:
    encode_once()
    tree, train, valid, test = load()
    print(f"{tree!r}\ntrain {train!r}\nvalid {valid!r}\ntest {test!r}", flush=True)
    counts = np.bincount(train.gold, minlength=len(tree))[test.gold]
    rows, by_size = read(FOLDER / "prototypes.csv"), read(FOLDER / "prototypes_by_size.csv")
    for name, (model, trainer) in RUNS.items():
        if any(row["run"] == name for row in rows):
            continue
        classifier = PrototypeClassifier(
            tree, PrototypeSettings(**MINILM, **model), TrainerSettings(**{**FROZEN, **trainer})
        )
        classifier.fit(train, valid)
        fit = classifier.fit_result
        assert fit is not None and classifier.encoder is not None
        cached = classifier.encoder if isinstance(classifier.encoder, CachedEncoder) else None
        encode_seconds = cached.seconds if cached is not None else fit.encode_seconds
        if cached is not None:
            cached.seconds = 0.0
        started = time.monotonic()
        found = evaluate_model(classifier, test, slices=(), bootstrap=100, progress=False)
        seconds = found.seconds + (cached.seconds if cached is not None else 0.0)
        print(f"{name}: evaluated in {time.monotonic() - started:.0f} s", flush=True)
        row: dict[str, Any] = {"run": name, "train_rows": len(train), "test_rows": len(test)}
        for level in (1, tree.depth):
            for metric in ("recall@1", "recall@3", "recall@5", "macro_recall", "log_loss", "ece_plain"):
                key = f"level_{level}/{metric}"
                row[key] = f"{found.metrics[key]:.4f}"
                if metric in ("recall@1", "log_loss") and level == tree.depth:
                    low, high = found.intervals[key]
                    row[f"{key}_low"], row[f"{key}_high"] = f"{low:.4f}", f"{high:.4f}"
        row |= {
            "scale": f"{fit.scale:.1f}",
            "epochs": fit.epochs,
            "encode_seconds": f"{encode_seconds:.1f}",
            "fit_seconds": f"{fit.train_seconds:.1f}",
            "test_rows_per_second": f"{len(test) / seconds:.0f}",
        }
        rows.append(row)
        rank = found.scores.rank[:, -1]
        for low_, high_ in SIZES:
            some = (counts >= low_) & (counts <= high_)
            if some.any():
                accuracy = {f"recall@{k}": f"{(rank[some] <= k).mean():.4f}" for k in (1, 3, 5)}
                size = f"{low_}-{high_}" if high_ < 10_000 else f"{low_} and more"
                codes = len(np.unique(test.gold[some]))
                by_size.append({"run": name, "training_titles": size, "codes": codes, "rows": some.sum(), **accuracy})
        print({k: v for k, v in row.items() if "level_5" in k or "seconds" in k}, flush=True)
        write(FOLDER / "prototypes.csv", rows)
        write(FOLDER / "prototypes_by_size.csv", by_size)


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a table of earlier runs, if there is one."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
