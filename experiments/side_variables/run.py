"""What do columns beside the text give, and what does a model lose that was trained with them and gets none?

python experiments/side_variables/run.py [--tune] [--kind linear] [--data NAME] [--texts NAME]
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
from common import data_folder, paired, write_lines  # noqa: E402

from hjc.classifiers import build  # noqa: E402
from hjc.classifiers.base import Classifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.data import DataSettings, TextRecipe, load_job_data  # noqa: E402
from hjc.data.jobdata import JobData  # noqa: E402
from hjc.data.settings import SideSettings  # noqa: E402
from hjc.data.splitting import identical_groups, merge_groups, near_duplicate_groups, split_rows  # noqa: E402
from hjc.metrics import RowScores, level_metrics, score_batches  # noqa: E402
from hjc.nn.settings import NeuralSettings, TrainerSettings  # noqa: E402
from hjc.taxonomy import load_taxonomy  # noqa: E402

REAL = data_folder()
SETS = {
    "kzis ads": (
        REAL / "kzis_ads_pl" / "ads.csv.gz",
        REAL / "kzis" / "kzis_hierarchy_2023.csv",
        ("portal", "category", "position_level", "contract_type"),
    ),
    "vacancies": (
        REAL / "usajobs_opm" / "questionnaires.csv.gz",
        REAL / "usajobs_opm" / "opm_hierarchy.csv",
        ("agency",),
    ),
}
TEXTS = {"title": ["title"], "title and text": ["title", "description"]}
WEIGHTS = (0.1, 0.25, 0.5, 1.0)
METRICS = ("recall@1", "recall@5", "log_loss")
QUICK = {"epochs": 8, "batch_size": 64, "learning_rate": 1e-3, "head_learning_rate": 3e-3, "precision": "32"}


def load(name: str, texts: str, near: bool = True) -> tuple[TextRecipe, dict[str, JobData]]:
    """Recipe and rows by side; rows that share a title, and with ``near`` nearly all of a text, lie on one side."""
    path, tree, columns = SETS[name]
    side = [SideSettings(column=column) for column in columns]
    settings = DataSettings(train=[str(path)], text_columns=TEXTS[texts], side=side, valid_fraction=0.0)
    taxonomy = load_taxonomy(str(tree), digits=[1, 2, 3, 4, 6] if name == "kzis ads" else None)
    rows = load_job_data(settings, taxonomy).train
    groups = identical_groups([text.partition("\n")[0] for text in rows.texts])
    whole = (
        rows if not near else load_job_data(replace(settings, text_columns=["title", "description"]), taxonomy).train
    )
    if near:
        groups = merge_groups(groups, near_duplicate_groups(list(map(str, whole.texts)), 0.9))
    part = split_rows(taxonomy, rows.gold, groups=groups, test_fraction=0.3, valid_fraction=0.1, seed=1)
    by_side = {side: rows.take(np.flatnonzero(part == i)) for i, side in enumerate(("train", "valid", "test"))}
    return TextRecipe.of(settings), by_side


def fit(kind: str, data: dict[str, JobData], recipe: TextRecipe, texts: str, **settings: object) -> Classifier:
    tree = data["train"].taxonomy
    if kind == "linear":
        short = {} if texts == "title" else {"features": "word", "max_features": 60_000}
        model = build(tree, LinearSettings(**short, **settings))
    else:
        tiny = {"encoder": "tiny", "tiny_hidden": 128, "tiny_layers": 1, "max_length": 16 if texts == "title" else 64}
        model = build(tree, NeuralSettings(**tiny), TrainerSettings(**QUICK, loggers=[], threads=1))
    model.recipe = recipe
    return model.fit(data["train"], data["valid"])


def scored(model: Classifier, rows: JobData, given: bool) -> RowScores:
    texts = list(rows.texts) if given else list(map(str, rows.texts))  # plain texts carry no variables
    return score_batches(rows.taxonomy, model.iter_log_proba(texts), rows.gold)


def tune() -> None:
    """Validation log-loss of the linear model by weight, variables given and not given."""
    for name in SETS:
        for texts in TEXTS:
            recipe, data = load(name, texts)
            depth = data["valid"].taxonomy.depth
            found = [(0.0, fit("linear", data, replace(recipe, side=()), texts))]
            found += [(w, fit("linear", data, recipe, texts, side_weight=w)) for w in WEIGHTS]
            for weight, model in found:
                both = [
                    level_metrics(scored(model, data["valid"], given), model.taxonomy, depth) for given in (True, False)
                ]
                print(name, texts, weight, *(f"{m['log_loss']:.4f} {m['recall@1']:.4f}" for m in both), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tune", action="store_true", help="only show the validation rows by model.side_weight")
    parser.add_argument("--kind", choices=("linear", "neural"), action="append", help="only these models (both)")
    parser.add_argument("--data", choices=list(SETS), action="append", help="only these data (both)")
    parser.add_argument("--texts", choices=list(TEXTS), action="append", help="only these texts (both)")
    args = parser.parse_args()
    if args.tune:
        return tune()
    for name in args.data or SETS:
        for texts in args.texts or TEXTS:
            for kind in ("linear", "neural"):
                if kind not in (args.kind or ("linear", "neural")):
                    continue
                if kind == "neural" and texts != "title":
                    continue  # a small encoder of titles; long texts take long
                lines = []
                recipe, data = load(name, texts)
                alone, model = fit(kind, data, replace(recipe, side=()), texts), fit(kind, data, recipe, texts)
                test, tree = data["test"], data["test"].taxonomy
                rows = {
                    "text alone": scored(alone, test, False),
                    "with side variables": scored(model, test, True),
                    "trained with, none given": scored(model, test, False),
                }
                for level in (1, 2, tree.depth):
                    for x in paired(list(rows.values()), tree, level, METRICS):
                        way = list(rows)[int(x["model"])]
                        lines.append({"data": name, "texts": texts, "kind": kind, **x, "model": way})
                        if x["metric"] != "recall@5":
                            print(name, texts, kind, way, {k: v for k, v in x.items() if k != "model"}, flush=True)
                write_lines("side_variables", lines, ("data", "texts", "kind"))


if __name__ == "__main__":
    main()
