"""Job titles in 24 languages to ISCO-08: e5-small on a subsample of the training titles, tested by language.

python experiments/titles_24_neural/run.py [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import data_folder, run_plan

FOLDER = data_folder() / "isco08_titles_24_languages"

PLAN = {
    "bottomup_16k": [
        "model=e5",
        "hierarchy=bottomup",
        "model.max_length=32",
        "data=csv",
        f"data.train=[{FOLDER / 'train.csv.gz'}]",
        f"data.valid=[{FOLDER / 'validation.csv.gz'}]",
        f"data.test=[{FOLDER / 'test.csv.gz'}]",
        "data.language_column=lang",
        "data.source_column=source",
        "data.max_train_rows=16000",
        "trainer.epochs=2",
        "trainer.batch_size=64",
    ],
}

if __name__ == "__main__":
    run_plan("titles_24_neural", PLAN)
