"""Ideas for the encoder, fine-tuned, one after the other on the Polish ads: what it reads, how it learns.

python experiments/encoder_ablation/run.py --only NAME [--only NAME_seed2] [--collect]

A fifth of the ads validates; the tables of `valid` choose. results.csv has the runs, differences.csv each idea against
the base.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import numpy as np
from common import ROOT, mean_difference, run_plan, write_lines
from kzis_ads.run import GROUPED

from hjc.arrays import Float64, IntArray
from hjc.metrics import RowScores
from hjc.report.scores import StoredScores

SHORT = [
    *GROUPED,
    "data.valid_fraction=0.2",
    "model=e5",
    "model.capitals=keep",
    "model.max_length=64",
    "trainer.epochs=1",
    "trainer.learning_rate=1e-4",
    "trainer.head_learning_rate=1e-3",
    "trainer.ema_decay=0.995",
]
STEADY = ["trainer=steady", "model.max_length=128", "model.title_share=0.5"]
ADAPTED = ROOT / "outputs" / "encoder_ablation" / "adapted_esco"
#: written by passages.py, under the folder of the runs
PICKED = ROOT / "outputs" / "encoder_ablation" / "picked"
IDEAS = {
    "base": [],
    "rates_of_the_default": ["trainer.learning_rate=2e-4", "trainer.head_learning_rate=2e-3"],
    "no_moving_average": ["trainer.ema_decay=0"],
    "topdown": ["hierarchy=topdown"],
    "topdown_prior": ["hierarchy=topdown", "model.logit_adjustment=1"],
    "title_share": ["model.title_share=0.5"],
    "title_share_and_dropout": ["model.title_share=0.5", "trainer.field_dropout=0.2"],
    "length_128": ["model.max_length=128"],
    "windows_2": ["model.windows=2"],
    "layer_decay": ["trainer.layer_decay=0.9"],
    "noise": ["trainer.word_dropout=0.1", "trainer.typos=0.05"],
    "r_drop": ["trainer.r_drop=0.5"],
    "third_of_the_dictionary": ["trainer.source_share=[{source: dictionary, share: 0.33}]"],
    "steady_3": [*STEADY, "trainer.epochs=3"],
    # duties and requirements in the place of the first tokens: passages.py writes the tables
    "passages": [
        *("data.sources=[]", "data.near_duplicates=0", "data.text_columns=[text]", "data.source_column=source"),
        *(f"data.{name}=[{PICKED / name}.csv.gz]" for name in ("train", "valid")),
    ],
    # from `hjc adapt` on the names of ESCO: the README has the command
    "adapted": [f"model.encoder={ADAPTED}"],
    "average": ["trainer.average=both", "trainer.validate_per_epoch=4"],
}
#: an idea that may change a default is run with all of them; the split stays that of the first
SEEDS = (1, 2, 3)
BASE = "base"
METRICS = ("recall@1", "log_loss")


def run_name(idea: str, seed: int) -> str:
    return idea if seed == 1 else f"{idea}_seed{seed}"


PLAN = {
    run_name(name, seed): [*SHORT, *overrides, f"seed={seed}", "data.seed=1"]
    for seed in SEEDS
    for name, overrides in IDEAS.items()
}


def differences(outputs: Path) -> list[dict[str, object]]:
    """A line for each idea, level and metric: the idea minus the base of the same seeds, on the same validation rows.

    Values are as trained, before the calibrator. The 95 % interval covers rows, and seeds where there are several.
    """
    lines: list[dict[str, object]] = []
    for idea in IDEAS:
        pairs = [[outputs / run_name(name, s) / "scores_valid.parquet" for name in (idea, BASE)] for s in SEEDS]
        both = [[StoredScores.read(path) for path in pair] for pair in pairs if all(path.exists() for path in pair)]
        if not both or idea == BASE:
            continue
        group = both[0][1].group
        for level in range(1, both[0][1].taxonomy.depth + 1):
            for metric in METRICS:
                values = [[row_values(of_run.scores, level, metric) for of_run in pair] for pair in both]
                line: dict[str, object] = {"idea": idea, "level": level, "metric": metric, "seeds": len(both)}
                lines.append(line | paired_difference(np.stack([one - base for one, base in values]), group))
    return lines


def paired_difference(rows: Float64, group: IntArray | None) -> dict[str, object]:
    """The mean of ``rows`` (runs, n), paired values of two systems, with its 95 % interval."""
    found = mean_difference(rows, group)
    low, high = np.percentile(found[1:], (2.5, 97.5))
    return {"difference": float(found[0]), "low": float(low), "high": float(high)}


def row_values(scores: RowScores, level: int, metric: str) -> Float64:
    """(n,) 1 where the code is the most probable, or nats."""
    values = scores.rank[:, level - 1] == 1 if metric == "recall@1" else -scores.log_p[:, level - 1]
    return values.astype(np.float64)


if __name__ == "__main__":
    outputs = run_plan("encoder_ablation", PLAN, sets=("valid",))
    if lines := differences(outputs):
        write_lines("encoder_ablation", lines, ("idea",), "differences.csv")
