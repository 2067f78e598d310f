"""Job titles in 24 languages to ISCO-08: e5-small on a subsample and on all training titles, and with the label tree.

python experiments/titles_24_neural/run.py [--only NAME] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, data_folder, run_plan

FOLDER = data_folder() / "isco08_titles_24_languages"

DATA = [
    "data=csv",
    f"data.train=[{FOLDER / 'train.csv.gz'}]",
    f"data.valid=[{FOLDER / 'validation.csv.gz'}]",
    f"data.test=[{FOLDER / 'test.csv.gz'}]",
    "data.language_column=lang",
]
# titles in capitals as they stand, as it was when these were run: see capitals.py
E5 = ["model=e5", "hierarchy=bottomup", "model.max_length=32", "model.capitals=keep"]
ALL = [*DATA, "taxonomy=csv", f"taxonomy.path={FOLDER / 'hierarchy.csv'}", "evaluation.slices=[language]"]
#: the label tree on characters of the linear study: run `titles_24_languages/run.py --only plt_char` before the hybrid
TREE = ROOT / "outputs" / "titles_24_languages" / "plt_char"
ENCODER = ROOT / "outputs" / "titles_24_neural" / "bottomup_all"
STEADY = ENCODER.with_name("bottomup_steady")

PLAN = {
    "bottomup_16k": [
        *E5,
        *DATA,
        "data.source_column=source",
        "data.max_train_rows=16000",
        "trainer.epochs=2",
        "trainer.batch_size=64",
    ],
    "bottomup_all": [
        *ALL,
        *E5,
        "trainer.epochs=1",
        "trainer.batch_size=96",
        "trainer.learning_rate=3e-4",
        "trainer.head_learning_rate=3e-3",
    ],
    # titles in capitals read in small letters, marks lost at random, two passes with noise
    "bottomup_steady": [
        *ALL,
        "model=e5",
        "hierarchy=bottomup",
        "model.max_length=32",
        "trainer=steady",
        "trainer.batch_size=96",
        "trainer.learning_rate=2e-4",
        "trainer.head_learning_rate=2e-3",
        "trainer.word_dropout=0.1",
        "trainer.plain_letters=0.2",
    ],
    "hybrid_steady": [*ALL, "model=hybrid", f"model.parts=[{TREE},{STEADY}]"],
    "hybrid_all": [*ALL, "model=hybrid", f"model.parts=[{TREE},{ENCODER}]"],
}

if __name__ == "__main__":
    run_plan("titles_24_neural", PLAN)
