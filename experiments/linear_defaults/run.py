"""Penalty C and score scale of the linear top-down model, chosen on held-out rows that no test of a study holds.

python experiments/linear_defaults/run.py
"""

import csv
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
from common import data_folder, vacancies  # noqa: E402

from hjc.classifiers.linear import LinearClassifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.classifiers.topdown import scale_scores  # noqa: E402
from hjc.data import DataSettings, load_job_data  # noqa: E402
from hjc.data.jobdata import JobData  # noqa: E402
from hjc.data.splitting import split_rows  # noqa: E402
from hjc.metrics import level_metrics, score_rows  # noqa: E402
from hjc.taxonomy import load_taxonomy  # noqa: E402

PENALTIES = (3.0, 10.0, 30.0, 100.0)
SCALES = (1.0, 0.9, 0.8, 0.7, 0.6)


def titles() -> tuple[JobData, JobData]:
    """French, Polish, Spanish and Italian titles; the study of peers tests on English and German ones."""
    folder = data_folder() / "isco08_titles_24_languages"
    settings = DataSettings(
        train=[str(folder / "train.csv.gz")],
        valid=[str(folder / "validation.csv.gz")],
        text_columns=["text"],
        language_column="lang",
        languages=["fr", "pl", "es", "it"],
        test_fraction=0.0,
    )
    splits = load_job_data(settings, load_taxonomy(str(folder / "hierarchy.csv")))
    return splits.train.labelled(), splits.valid.labelled()


def usajobs() -> tuple[JobData, JobData]:
    """Vacancies of the training side of experiments/peers, split again; one title, or one text, is on one side."""
    data, groups = vacancies()
    tree = data.taxonomy
    side = split_rows(tree, data.gold, groups=groups, test_fraction=0.3, valid_fraction=0.0, seed=1)
    ours = np.flatnonzero(side == 0)
    data, groups = data.take(ours), groups[ours]
    side = split_rows(tree, data.gold, groups=groups, test_fraction=0.25, valid_fraction=0.0, seed=2)
    return data.take(np.flatnonzero(side == 0)), data.take(np.flatnonzero(side == 2))


def measure(name: str, train: JobData, check: JobData, settings: LinearSettings) -> Iterator[dict[str, object]]:
    """One fit, scored with every scale."""
    tree = train.taxonomy
    started = time.process_time()
    model = LinearClassifier(tree, settings).fit(train)
    seconds = time.process_time() - started
    plain = model.nodes
    assert plain is not None and settings.score_scale == 1
    for scale in SCALES:
        model.nodes = scale_scores(plain, tree, scale)
        scores = score_rows(tree, model.predict_log_proba(check.texts), check.gold)
        for level in range(1, tree.depth + 1):
            found = level_metrics(scores, tree, level)
            yield {
                "data": name,
                "train": len(train),
                "check": len(check),
                "C": f"{settings.C:g}",
                "score_scale": scale,
                "level": level,
                **{key: f"{found[key]:.4f}" for key in ("recall@1", "log_loss", "ece_plain")},
                "fit_cpu_seconds": f"{seconds:.1f}",
                "weights": plain.weights.nnz,
            }


def main() -> None:
    rows: list[dict[str, object]] = []
    plan = (
        ("titles", titles, (3_000, 20_000), LinearSettings(score_scale=1.0, unseen="floor")),
        (
            "usajobs",
            usajobs,
            (3_000, 7_000),
            LinearSettings(score_scale=1.0, unseen="floor", features="word", max_features=20_000),
        ),
    )
    for name, load, sizes, settings in plan:
        train, check = load()
        order = np.random.default_rng(1).permutation(len(train))
        for size in sizes:
            part = train.take(np.sort(order[:size]))
            for penalty in PENALTIES:
                settings.C = penalty
                rows += measure(name, part, check, settings)
                print({k: rows[-1][k] for k in ("data", "train", "C", "score_scale", "log_loss", "fit_cpu_seconds")})
    with (Path(__file__).resolve().parent / "results.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
