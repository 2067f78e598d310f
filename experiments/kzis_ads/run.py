"""Polish job ads coded to KZiS: the three heads at one budget, the best one for longer, two ways of splitting.

python experiments/kzis_ads/run.py [--only NAME] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, data_folder, kzis_ads_data, run_plan

KZIS = data_folder() / "kzis"

DATA = [
    "taxonomy=kzis",
    f"taxonomy.path={KZIS / 'kzis_hierarchy_2023.csv'}",
    *kzis_ads_data(),
]
GROUPED = [*DATA, "data.near_duplicates=0.9"]
# titles in capitals as they stand, as it was when these were run; today they are read in small letters
KEPT = "model.capitals=keep"
SHORT = ["model=e5", KEPT, "model.max_length=48", "trainer.epochs=1"]
LONG = ["model=e5", KEPT, "model.max_length=64", "trainer.epochs=2"]
# what the runs above asked for: half the rates, a moving average, longer texts, and the title with a share of its own
CALM = [
    "model=e5",
    KEPT,
    "model.max_length=128",
    "model.title_share=0.5",
    "trainer.epochs=2",
    "trainer.learning_rate=1e-4",
    "trainer.head_learning_rate=1e-3",
    "trainer.ema_decay=0.995",
]
# the recipe that the best model trains its encoder by
STEADY = ["model=e5", KEPT, "model.max_length=128", "model.title_share=0.5", "trainer=steady"]

PLAN = {
    "grouped_topdown": [*GROUPED, *SHORT, "hierarchy=topdown"],
    "grouped_bottomup": [*GROUPED, *SHORT, "hierarchy=bottomup"],
    "grouped_pathsum": [*GROUPED, *SHORT, "hierarchy=pathsum"],
    "exact_long": [*DATA, *LONG, "hierarchy=bottomup"],
    "grouped_long": [*GROUPED, *LONG, "hierarchy=bottomup"],
    "grouped_title_share": [*GROUPED, *CALM, "hierarchy=bottomup"],
    "grouped_steady_topdown": [*GROUPED, *STEADY, "hierarchy=topdown"],
    # twice the tokens of grouped_best's encoder
    "grouped_steady_256": [*GROUPED, *STEADY, "model.max_length=256", "hierarchy=bottomup"],
    # from the encoder of the run bottomup_steady of the study titles_24_neural
    "grouped_from_titles": [
        *GROUPED,
        *("model=e5", f"model.encoder={ROOT / 'outputs/titles_24_neural/bottomup_steady'}", "model.max_length=128"),
        *("model.title_share=0.5", "trainer=steady", "hierarchy=bottomup"),
    ],
    # from the folder that `hjc adapt` wrote on the names of ESCO: see the study adaptation
    "grouped_from_adapted": [
        *GROUPED,
        *STEADY,
        f"model.encoder={ROOT / 'outputs/encoder_ablation/adapted_esco'}",
        "hierarchy=bottomup",
    ],
    "grouped_best": [
        *GROUPED,
        "experiment=best",
        "model.neural.capitals=keep",
        "model.biencoder.capitals=keep",
    ],
    # twice the tokens, and capitals as they are read today
    "grouped_best_256": [*GROUPED, "experiment=best", "model.neural.max_length=256"],
    # every part twice, and capitals as they are read today
    "grouped_best_two_folds": [*GROUPED, "experiment=best", "model.folds=2"],
}

if __name__ == "__main__":
    run_plan("kzis_ads", PLAN)
