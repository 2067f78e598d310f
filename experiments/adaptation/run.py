"""What does an encoder gain that has read the names of ESCO first? National titles and Polish ads, by rows that train.

python experiments/adaptation/run.py --tree FILE      # the tree of ESCO for `hjc adapt`, see the README
python experiments/adaptation/run.py [--only NAME] [--collect]

The runs start from e5-small as it comes, or from the folder that `hjc adapt` wrote.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pandas as pd
from common import data_folder, run_plan
from encoder_ablation.run import ADAPTED
from titles_24_neural.run import ALL

TITLES = [*ALL, "model=e5", "hierarchy=bottomup", "model.max_length=32", "trainer.epochs=2", "trainer.batch_size=64"]
NEAREST = ["model=prototype", "model.prototype=average", "model.max_length=32", "data.max_train_rows=16000"]
ROWS = (2_000, 16_000)
STARTS = {"plain": [], "adapted": [f"model.encoder={ADAPTED}"]}

PLAN = {
    **{
        # nothing is fine-tuned: the nearest mean of the titles of a code decides
        f"nearest_{start}": [*ALL, *NEAREST, *overrides]
        for start, overrides in STARTS.items()
    },
    **{
        f"titles_{rows}_{start}": [*TITLES, *overrides, f"data.max_train_rows={rows}"]
        for rows in ROWS
        for start, overrides in STARTS.items()
    },
}


def write_tree(path: Path) -> None:
    """Codes and parents of ISCO-08 and of the occupations of ESCO below it."""
    groups = pd.read_csv(data_folder() / "isco08_titles_24_languages" / "hierarchy.csv", dtype=str)
    occupations = pd.read_csv(data_folder() / "esco" / "occupations.csv.gz", dtype=str)
    below = occupations.rename(columns={"esco_code": "code"})[["code", "parent"]]
    tree = pd.concat([groups[["code", "parent"]], below], ignore_index=True)
    tree.to_csv(path, index=False)
    print(f"{len(tree):,} codes in {path}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--tree"]:
        write_tree(Path(sys.argv[2]))
    else:
        run_plan("adaptation", PLAN)
