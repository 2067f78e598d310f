"""Ideas for the encoder, fine-tuned, one after the other on the Polish ads: what it reads, how it learns.

python experiments/encoder_ablation/run.py --only NAME [--collect]

A fifth of the ads validates; the tables of `valid` choose.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import run_plan
from kzis_ads.run import GROUPED

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
    "steady_3": ["trainer=steady", "trainer.epochs=3", "model.max_length=128", "model.title_share=0.5"],
    "average": ["trainer.average=both", "trainer.validate_per_epoch=4"],
}
PLAN = {name: [*SHORT, *overrides] for name, overrides in IDEAS.items()}

if __name__ == "__main__":
    run_plan("encoder_ablation", PLAN, sets=("valid",))
