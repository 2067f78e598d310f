"""The linear models of the paper on the part of its data that is public: three hierarchies, two ways of splitting.

python experiments/paper_kzis/run.py [--only NAME] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import run_plan
from kzis_ads.run import DATA, GROUPED  # the very same rows as the neural runs

# one-versus-rest has 2,911 estimators that each see every row: word n-grams only, see README.md
WORDS = ["model=linear", "model.features=word"]

PLAN = {
    # one leaf has no training row: the floor that it had when these were run, see experiments/unseen_codes
    f"{split}_{name}": [*data, *overrides, "model.unseen=floor"]
    for split, data in (("exact", DATA), ("grouped", GROUPED))
    for name, overrides in (
        ("topdown", ["model=linear", "hierarchy=topdown"]),
        ("plt", ["model=linear", "hierarchy=plt"]),
        ("topdown_char", ["model=linear_char", "hierarchy=topdown"]),
        ("topdown_words", [*WORDS, "hierarchy=topdown"]),
        ("bottomup_words", [*WORDS, "hierarchy=bottomup"]),
    )
}

if __name__ == "__main__":
    run_plan("paper_kzis", PLAN)
