"""Runs of this study on the same test rows, paired: each against the encoder of ``grouped_best``; and other weighings.

python experiments/kzis_ads/paired.py [--outputs DIR]   (runs that lie there; precision bf16; writes paired.csv)
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, paired, write_lines
from kzis_ads.run import GROUPED

import hjc
from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.combine import Candidate, Rows, support_class
from hjc.data import JobData
from hjc.metrics import score_rows
from hjc.taxonomy import Taxonomy
from hjc.training.config import compose
from hjc.training.workflow import load_inputs

METRICS = ("recall@1", "log_loss")
#: other ways to weigh the parts of ``grouped_best``, fitted on the same validation rows
WEIGHINGS = {
    "powers": Candidate("loglinear"),
    "powers by support": Candidate("loglinear", by_support=True),
    "mixture by support": Candidate("mixture", by_support=True),
}
#: the first is what the others are compared with
RUNS = (
    "grouped_title_share",
    "grouped_steady_topdown",
    "grouped_steady_256",
    "grouped_from_titles",
    "grouped_from_adapted",
)
#: in the place of the encoder of ``grouped_best``, all weighed again
LONGER = "grouped_steady_256"
#: its encoders (a mean of two) and the whole
TWO_FOLDS = "grouped_best_two_folds"


class Study(NamedTuple):
    """The tree, the rows that ``grouped_best`` trained on, was weighed by and is tested on, and that model."""

    taxonomy: Taxonomy
    train: JobData
    valid: JobData
    test: JobData
    best: Classifier


def grouped_best(outputs: Path) -> Study:
    """Of the run directory ``outputs``/grouped_best; the model computes in bfloat16."""
    taxonomy, splits = load_inputs(compose([*GROUPED, "model=linear"]), None)
    assert splits.valid is not None
    best = hjc.load(outputs / "grouped_best")
    best.compute_on(precision="bf16")
    return Study(taxonomy, splits.train, splits.valid, splits.tests["test"], best)


def rows_of_leaves(train: JobData) -> IntArray:
    """(L,) training rows that are coded to each leaf."""
    return np.bincount(train.gold[train.gold >= 0], minlength=len(train.taxonomy))[train.taxonomy.leaves]


def weighed(
    candidate: Candidate, parts: Mapping[str, Sequence[FloatArray]], tree: Taxonomy, valid: JobData, counts: IntArray
) -> FloatArray:
    """(n, L) log probabilities of the test rows. ``parts``: of each part those of the validation and the test rows."""
    made = candidate.fit(Rows.make(tree, [both[0] for both in parts.values()], valid.target), support_class(counts))
    return made.log_proba([both[1] for both in parts.values()])


def main(outputs: Path) -> None:
    """paired.csv: a line for each model, level and metric."""
    taxonomy, train, valid, test, best = grouped_best(outputs)
    parts = {
        name: [part.leaf_log_proba(rows.texts) for rows in (valid, test)] for name, part in best.named_parts.items()
    }
    found = {"neural": parts["neural"][1]} | {name: both[1] for name, both in parts.items() if name != "neural"}
    found["whole"] = best.of_parts([both[1] for both in parts.values()])
    counts = rows_of_leaves(train)
    for name, candidate in WEIGHINGS.items():
        found[name] = weighed(candidate, parts, taxonomy, valid, counts)
    for name in RUNS:
        if (outputs / name / "config.json").exists():
            model = hjc.load(outputs / name)
            model.compute_on(precision="bf16")
            found[name] = model.leaf_log_proba(test.texts)
            if name == LONGER:
                longer = {**parts, "neural": [model.leaf_log_proba(valid.texts), found[name]]}
                found[f"whole with {name}"] = weighed(WEIGHINGS["powers"], longer, taxonomy, valid, counts)
        else:
            print(f"{name}: not run yet")
    if (outputs / TWO_FOLDS / "config.json").exists():
        two = hjc.load(outputs / TWO_FOLDS)
        two.compute_on(precision="bf16")
        own = {name: part.leaf_log_proba(test.texts) for name, part in two.named_parts.items()}
        found |= {f"{TWO_FOLDS}: neural": own["neural"], f"{TWO_FOLDS}: whole": two.of_parts(list(own.values()))}
    names = list(found)
    scores = [score_rows(taxonomy, log_proba, test.target) for log_proba in found.values()]
    lines = [
        line | {"model": names[int(str(line["model"]))]}
        for level in range(1, taxonomy.depth + 1)
        for line in paired(scores, taxonomy, level, METRICS, draws=2000)
    ]
    write_lines("kzis_ads", lines, ("model",), "paired.csv")  # lines of models that are not on this machine stay


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs" / "kzis_ads")
    main(parser.parse_args().outputs)
