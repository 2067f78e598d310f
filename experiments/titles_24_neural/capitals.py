"""What titles in capitals do to an encoder: the same weights, texts as they stand and in small letters.

python experiments/titles_24_neural/capitals.py [RUN_DIR]   (needs the run bottomup_all)
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, data_folder

import hjc
from hjc.classifiers.hybrid import part_line
from hjc.nn.settings import CAPITALS


def main(run: str) -> None:
    """A line for each way of reading, and recall@1 at the deepest level in each language that moves."""
    table = pd.read_csv(data_folder() / "isco08_titles_24_languages" / "test.csv.gz", dtype=str, keep_default_na=False)
    model = hjc.load(run)
    model.compute_on(precision="bf16")
    tree = model.taxonomy
    gold = tree.encode(table["code"].tolist())
    right = {}
    for way in reversed(CAPITALS):
        model.settings.capitals = way
        log_proba = model.leaf_log_proba(table["text"].tolist())
        line = part_line(tree, way, log_proba, gold)
        print(way, "recall@1", line["recall@1"], "log-loss", line["log_loss"])
        right[way] = tree.leaves[log_proba.argmax(1)] == gold
    both = pd.DataFrame(right).groupby(table["lang"]).mean()
    print(both[both["lower"] != both["keep"]].round(3))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "outputs" / "titles_24_neural" / "bottomup_all"))
