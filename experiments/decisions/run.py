"""Calibration, selective coding, back-off and conformal rules of linear models on real ads and vacancies.

python experiments/decisions/run.py [--collect]        # trains two linear models, minutes on one core
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT, data_folder

import hjc
from hjc.config import compose
from hjc.decision import back_off
from hjc.evaluate_calibrated import SELECTIVE_TABLE, decision_tables
from hjc.metrics import score_rows
from hjc.validation import ValidationScores
from hjc.workflow import load_inputs, run_training

DATA = data_folder()
OUTPUTS = ROOT / "outputs" / "decisions"
LINEAR = ["model=linear", "evaluation=quick", "data=csv"]
PLAN = {
    "kzis_ads": [
        *LINEAR, "taxonomy=kzis", f"taxonomy.path={DATA / 'kzis' / 'kzis_hierarchy_2023.csv'}",
        "data.default_language=pl", "data.text_columns=[title,description]",
        f"data.files=[{DATA / 'kzis_ads_pl' / 'ads.csv.gz'}]", "data.near_duplicates=0.9",
        "data.test_fraction=0.3", "data.valid_fraction=0.2",
    ],
    "usajobs": [
        *LINEAR, "taxonomy=csv", f"taxonomy.path={DATA / 'usajobs_opm' / 'opm_hierarchy.csv'}",
        "data.default_language=en", "data.text_columns=[title]",
        f"data.files=[{OUTPUTS / 'vacancies.csv.gz'}]", "data.group_column=title_key", "data.test_fraction=0.3",
        "data.valid_fraction=0.15",
    ],
}  # fmt: skip
BACK_OFF = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TARGETS = (0.8, 0.9, 0.95)
ALPHAS = (0.05, 0.1, 0.2)


def rules(tree, validation, log_proba, gold, calibrated):
    """Lines: rule, parameter, level, coded share, accuracy (or coverage), mean level of the codes, mean set size."""
    out = []

    def node_rule(name, parameter, node):
        coded = node >= 0
        hit = (tree.node_path[gold, np.maximum(tree.level[node] - 1, 0)] == node) & coded
        depth = tree.level[node[coded]].mean() if coded.any() else np.nan
        right = hit[coded].mean() if coded.any() else np.nan
        if name == "conformal node":  # no code holds everything
            right = (hit | ~coded).mean()
        out.append({"rule": name, "parameter": parameter, "coded": coded.mean(), "right": right, "mean_level": depth})

    for p in BACK_OFF:
        node_rule("back-off", p, back_off(tree, log_proba, p).node)
    for target in TARGETS:
        fitted = validation.thresholds(target, calibrated=calibrated).thresholds
        node_rule("target accuracy", target, back_off(tree, log_proba, fitted).node)
    for alpha in ALPHAS:
        node_rule(
            "conformal node", alpha, validation.conformal_node(alpha, calibrated=calibrated).decide(log_proba).node
        )
        for level in range(1, tree.depth + 1):
            sets = validation.conformal_sets(level, alpha, calibrated=calibrated).sets(log_proba)
            out.append({"rule": "conformal set", "parameter": alpha, "level": level, "coded": 1.0,
                        "right": sets.covers(tree, gold).mean(), "set_size": np.median(sets.sizes)})  # fmt: skip
    return out


def study(name, overrides, collect):
    """All lines of one data set, on its test rows."""
    config = compose([*overrides, f"run_dir={OUTPUTS / name}"])
    if not collect and not (OUTPUTS / name / SELECTIVE_TABLE).exists():
        run_training(config)
    model = hjc.load(OUTPUTS / name)
    tree, splits = load_inputs(config, None)
    test = splits.tests["test"]
    raw = model.predict_log_proba(test.texts)
    both = {"raw": raw, "calibrated": model.calibrator.transform(raw)}
    tables = decision_tables(tree, *(score_rows(tree, x, test.gold) for x in both.values()), replicates=300)
    lines = []
    keep = ["n", "log_loss", "accuracy", "ece", "automation@0.9", "automation@0.9_low", "automation@0.9_high",
            "automation@0.95", "automation@0.95_low", "automation@0.95_high", "aurc"]  # fmt: skip
    merged = tables.calibration.merge(
        tables.selective.drop(columns=["n", "accuracy"]), on=["set", "probabilities", "level"]
    )
    for line in merged.to_dict("records"):
        lines.append({"data": name, "table": "levels", "probabilities": line["probabilities"], "level": line["level"],
                      **{k: line[k] for k in keep}})  # fmt: skip
    validation = ValidationScores.load(OUTPUTS / name, tree)
    for kind, log_proba in both.items():
        for line in rules(tree, validation, log_proba, test.gold, kind == "calibrated"):
            lines.append({"data": name, "table": "rules", "probabilities": kind, **line})
    print(f"{name}: {model.calibrator!r}, {len(splits.train)} / {len(splits.valid)} / {len(test)} rows", flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collect", action="store_true", help="train nothing, only write results.csv")
    collect = parser.parse_args().collect
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(DATA / "usajobs_opm" / "questionnaires.csv.gz", dtype=str, keep_default_na=False)
    table["title_key"] = table["title"].str.casefold().str.split().str.join(" ")
    table.to_csv(OUTPUTS / "vacancies.csv.gz", index=False)
    lines = [line for name, plan in PLAN.items() for line in study(name, plan, collect)]
    frame = pd.DataFrame(lines)
    frame[["level", "n"]] = frame[["level", "n"]].astype("Int64")
    frame.to_csv(Path(__file__).with_name("results.csv"), index=False, float_format="%.4f", lineterminator="\n")


if __name__ == "__main__":
    main()
