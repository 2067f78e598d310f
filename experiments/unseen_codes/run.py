"""What probability should codes without training rows get? `model.unseen=floor` against `estimated`, one fit each.

python experiments/unseen_codes/run.py
"""

import csv
import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
from common import data_folder, vacancies  # noqa: E402
from embedding_family import data as family  # noqa: E402

from hjc.classifiers.linear import LinearClassifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.data import DataSettings, load_job_data  # noqa: E402
from hjc.data.jobdata import JobData  # noqa: E402
from hjc.data.splitting import split_rows  # noqa: E402
from hjc.metrics import level_metrics, score_rows  # noqa: E402
from hjc.taxonomy import load_taxonomy  # noqa: E402

REAL = data_folder()
FOLDER = ROOT / "outputs" / "unseen_codes"


def of_family(name: str) -> tuple[JobData, JobData]:
    """6,000 training and 2,000 test titles of a data set of the embedding family's study."""
    folder = FOLDER / name
    {"onet": family.onet, "titles_24": family.titles_24, "national": family.national}[name](REAL, folder)
    settings = DataSettings(
        train=[str(folder / "train.csv")], test=[str(folder / "test.csv")], text_columns=["text"], code_column="code",
        valid_fraction=0.0,
    )  # fmt: skip
    splits = load_job_data(settings, load_taxonomy(str(folder / "tree.csv")))
    return splits.train.labelled(), splits.tests["test"].labelled()


def drawn(rows: int) -> tuple[JobData, JobData]:
    """``rows`` vacancies drawn to train on, and test rows of which no title or text is a training one."""
    data, groups = vacancies()
    rng = np.random.default_rng(1)
    test = np.isin(groups, rng.permutation(np.unique(groups))[: len(np.unique(groups)) // 4])
    chosen = rng.permutation(np.flatnonzero(~test))[:rows]
    return data.take(np.sort(chosen)), data.take(np.flatnonzero(test)[:2000])


def by_code() -> tuple[JobData, JobData]:
    """The same, split as hjc splits: a code's only row, or group of rows, is in training, so no test code is unseen."""
    data, groups = vacancies()
    side = split_rows(data.taxonomy, data.gold, groups=groups, test_fraction=0.25, valid_fraction=0.0, seed=1)
    return data.take(np.flatnonzero(side == 0)), data.take(np.flatnonzero(side == 2)[:2000])


SETS = {
    "onet": lambda: of_family("onet"),
    "titles_24": lambda: of_family("titles_24"),
    "national": lambda: of_family("national"),
    "vacancies, 1,500": lambda: drawn(1_500),
    "vacancies, 8,000": lambda: drawn(8_000),
    "vacancies by code": by_code,
}


def main() -> None:
    rows: list[dict[str, object]] = []
    for name, load in SETS.items():
        train, test = load()
        tree = train.taxonomy
        for hierarchy in ("topdown", "plt"):
            settings = LinearSettings(hierarchy=hierarchy)
            if name.startswith("vacancies"):
                settings.features, settings.max_features = "word", 20_000  # for speed
            model = LinearClassifier(tree, settings).fit(train)
            unseen = model.row_counts[test.gold] == 0
            for choice in ("floor", "estimated"):
                model.settings.unseen = choice
                model._ready()
                scores = score_rows(tree, model.predict_log_proba(test.texts), test.gold)
                found = [level_metrics(scores, tree, level) for level in range(1, tree.depth + 1)]
                own = -scores.log_p[np.arange(len(test)), tree.level[test.gold] - 1]
                rows.append({
                    "data": name, "hierarchy": hierarchy, "unseen": choice, "train": len(train), "test": len(test),
                    "theta": f"{model._unseen.theta:.3f}" if model._unseen else "",
                    "leaves": tree.num_leaves, "unseen_leaves": int((model.row_counts[tree.leaves] == 0).sum()),
                    "unseen_test_rows": int(unseen.sum()),
                    "recall@1": f"{found[-1]['recall@1']:.4f}", "recall@10": f"{found[-1]['recall@10']:.4f}",
                    "ece_plain": f"{found[-1]['ece_plain']:.4f}",
                    "log_loss": " ".join(f"{level['log_loss']:.3f}" for level in found),
                    "log_loss_of_unseen": f"{own[unseen].mean():.2f}" if unseen.any() else "",
                    "log_loss_of_seen": f"{own[~unseen].mean():.3f}",
                    "mass_on_unseen": f"{mass(model, test):.4f}",
                })  # fmt: skip
                print(rows[-1], flush=True)
    with (Path(__file__).resolve().parent / "results.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def mass(model: LinearClassifier, test: JobData) -> float:
    """Mean probability of all leaves without training rows together."""
    unseen = model.row_counts[model.taxonomy.leaves] == 0
    return float(np.exp(model.predict_log_proba(test.texts)[:, unseen]).sum(axis=1).mean())


if __name__ == "__main__":
    main()
