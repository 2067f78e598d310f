"""Calibration, selective coding, back-off, thresholds and conformal rules on real ads, vacancies and titles.

python experiments/decisions/run.py [--only NAME] [--collect]

Trains five linear models (about 15 minutes on one core) where outputs/decisions does not hold them yet, and writes
results.csv and the plots. titles_24_neural is the run of experiments/titles_24_neural, left out where it is missing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT, data_folder
from plots import draw

import hjc
from hjc.classifiers.base import Classifier
from hjc.data.splitting import identical_groups, merge_groups, split_rows
from hjc.decision import check_exchangeability
from hjc.evaluation import evaluate_model
from hjc.evaluation.validation import describe_validation
from hjc.taxonomy import load_taxonomy
from hjc.training.config import compose
from hjc.training.workflow import load_inputs, run_training

DATA = data_folder()
OUTPUTS = ROOT / "outputs" / "decisions"
VACANCIES = OUTPUTS / "vacancies.csv.gz"
TITLES = DATA / "isco08_titles_24_languages"
# codes without training rows had a fixed floor when these were run; see experiments/unseen_codes
LINEAR = ["model=linear", "model.unseen=floor", "evaluation=quick", "data=csv"]
USAJOBS = [
    *LINEAR, "taxonomy=csv", f"taxonomy.path={DATA / 'usajobs_opm' / 'opm_hierarchy.csv'}",
    "data.default_language=en", f"data.files=[{VACANCIES}]", "data.split_column=split",
]  # fmt: skip
TITLES_24 = [
    "taxonomy=csv", f"taxonomy.path={TITLES / 'hierarchy.csv'}", "data=csv", f"data.train=[{TITLES / 'train.csv.gz'}]",
    f"data.valid=[{TITLES / 'validation.csv.gz'}]", f"data.test=[{TITLES / 'test.csv.gz'}]",
    "data.language_column=lang",
]  # fmt: skip
PLAN = {
    "kzis_ads": [
        *LINEAR, "taxonomy=kzis", f"taxonomy.path={DATA / 'kzis' / 'kzis_hierarchy_2023.csv'}",
        "data.default_language=pl", "data.text_columns=[title,description]",
        f"data.files=[{DATA / 'kzis_ads_pl' / 'ads.csv.gz'}]", "data.near_duplicates=0.9",
        "data.test_fraction=0.3", "data.valid_fraction=0.2",
    ],
    "usajobs_title": [*USAJOBS, "data.text_columns=[title]"],
    "usajobs_text": [*USAJOBS, "data.text_columns=[description]", "model.lead_weight=0"],
    "usajobs_both": [*USAJOBS, "data.text_columns=[title,description]"],
    "titles_24": [*LINEAR, *TITLES_24],
}  # fmt: skip
#: rows drawn of its validation and of its test titles: a transformer without a GPU codes some 30 a second
NEURAL_ROWS = 1200
NEURAL = {"titles_24_neural": ROOT / "outputs" / "titles_24_neural" / "bottomup_16k"}
LEVELS = [
    "n", "log_loss", "accuracy", "ece", "ece_plain", "classwise_ece", "top_brier", "reliability", "resolution",
    "uncertainty", "aurc", "aurc_low", "aurc_high", "automation@0.9", "automation@0.9_low", "automation@0.9_high",
    "automation@0.95", "automation@0.95_low", "automation@0.95_high",
]  # fmt: skip


class Known(Classifier):
    """Probabilities that were computed once, by text."""

    name = "known"

    def __init__(self, model, texts):
        super().__init__(model.taxonomy)
        self.at = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        self.log_proba = model.predict_log_proba(list(self.at))

    is_fitted = True
    parameters = {}  # noqa: RUF012

    def iter_log_proba(self, texts):
        for start in range(0, len(texts), 1024):
            rows = np.arange(start, min(start + 1024, len(texts)))
            yield rows, self.log_proba[[self.at[texts[i]] for i in rows]]

    fit = save_pretrained = from_pretrained = None


def prepare():
    """Vacancies with a column ``split``, the same for title, text and both: no title and no text on two sides."""
    table = pd.read_csv(DATA / "usajobs_opm" / "questionnaires.csv.gz", dtype=str, keep_default_na=False)
    tree = load_taxonomy(DATA / "usajobs_opm" / "opm_hierarchy.csv")
    groups = merge_groups(identical_groups(table["title"]), identical_groups(table["description"]))
    side = split_rows(tree, tree.encode(table["code"]), groups=groups, test_fraction=0.3, valid_fraction=0.15, seed=1)
    table["split"] = [("train", "valid", "test")[i] for i in side]
    table.to_csv(VACANCIES, index=False)


def lines_of(name, fitted_on, model, valid, test):
    """All lines of results.csv for rules fitted on ``valid`` and tried on ``test``."""
    found = describe_validation(model, valid)
    model.calibrator = found.calibrator
    tables = evaluate_model(model, test, name=name, validation=found.scores, slices=(), progress=False).decided
    scores = tables.scores["raw"]
    head = {"data": name, "fitted_on": fitted_on, "calibrator": found.fit.kind, "fitted_rows": len(valid)}
    lines = []
    both = tables.calibration.merge(
        tables.selective.drop(columns=["n", "accuracy"]), on=["set", "probabilities", "level"]
    )
    for line in both.to_dict("records"):
        lines.append({**head, "table": "levels", **{k: line[k] for k in ("probabilities", "level", *LEVELS)}})
    for line in tables.rules.drop(columns="set").to_dict("records"):
        lines.append({**head, "table": "rules", **line})
    spoken = len(set(valid.language)) > 1
    check = check_exchangeability(
        found.scores.outcomes().confidence, scores.confidence, least=0.05,
        reference_groups=np.array(valid.language) if spoken else None,
        new_groups=np.array(test.language) if spoken else None,
    )  # fmt: skip
    lines.append({**head, "table": "exchangeability", "right": float(not check.doubtful), "rule": check.message})
    print(
        f"{name}, fitted on {fitted_on}: {found.calibrator!r}, {len(valid)} / {len(test)} rows; {check.message}",
        flush=True,
    )
    return lines, tables.scores


def study(name, directory, overrides, collect):
    """Train where needed; rules from validation rows, and for titles also from a random half of the test titles."""
    config = compose([*overrides, f"run_dir={directory}"])
    if not collect and not (directory / "selective.csv").exists():
        run_training(config)
    _, splits = load_inputs(config, None)
    valid, test = splits.valid, splits.tests["test"]
    if name in NEURAL:
        rng = np.random.default_rng(0)
        valid, test = (x.take(np.sort(rng.permutation(len(x))[:NEURAL_ROWS])) for x in (valid, test))
    model = Known(hjc.load(directory), [*valid.texts, *test.texts])
    lines, scores = lines_of(name, "validation rows", model, valid, test)
    if name.startswith("titles_24"):  # validation rows are ESCO labels, test rows national titles: not exchangeable
        order = np.random.default_rng(0).permutation(len(test))
        half = len(test) // 2
        more, _ = lines_of(name, "half of the test titles", model, test.take(order[:half]), test.take(order[half:]))
        lines += more
    return lines, scores


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collect", action="store_true", help="train nothing, only write results.csv")
    parser.add_argument("--only", action="append", choices=[*PLAN, *NEURAL], help="repeatable; other lines stay")
    args = parser.parse_args()
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    if not VACANCIES.exists():
        prepare()
    plan = {name: (OUTPUTS / name, overrides) for name, overrides in PLAN.items()}
    for name, directory in NEURAL.items():
        if (directory / "selective.csv").exists():
            plan[name] = (directory, TITLES_24)
        else:
            print(f"{name}: left out, experiments/titles_24_neural has not been run")
    path = Path(__file__).with_name("results.csv")
    frames, scores = [], {}
    for name, (directory, overrides) in plan.items():
        if not args.only or name in args.only:
            lines, scores[name] = study(name, directory, overrides, args.collect)
            frames.append(pd.DataFrame(lines))
    if args.only and path.exists():
        old = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"slice": str})
        frames.insert(0, old[~old["data"].isin(args.only)])
    table = pd.concat(frames, ignore_index=True)
    whole = ["level", "n", "rows", "fitted_rows"]
    table[whole] = table[whole].astype("Int64")
    order = {name: i for i, name in enumerate([*PLAN, *NEURAL])}
    table = table.sort_values("data", key=lambda names: names.map(order), kind="stable")
    table.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    draw(pd.read_csv(path, keep_default_na=False), scores, Path(__file__).parent)


if __name__ == "__main__":
    main()
