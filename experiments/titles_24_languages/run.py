"""Job titles in 24 languages coded to ISCO-08: one linear model for all languages, scored by language.

python experiments/titles_24_languages/run.py [--only NAME] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import data_folder, run_plan

FOLDER = data_folder() / "isco08_titles_24_languages"

DATA = [
    "taxonomy=csv",
    f"taxonomy.path={FOLDER / 'hierarchy.csv'}",
    "data=csv",
    f"data.train=[{FOLDER / 'train.csv.gz'}]",
    f"data.valid=[{FOLDER / 'validation.csv.gz'}]",
    f"data.test=[{FOLDER / 'test.csv.gz'}]",
    "data.language_column=lang",
    "evaluation.slices=[language]",
]
LINEAR = [*DATA, "model=linear"]

PLAN = {
    "topdown": [*LINEAR, "hierarchy=topdown"],
    "topdown_words": [*LINEAR, "hierarchy=topdown", "model.features=word"],
    "topdown_char": [*DATA, "model=linear_char", "hierarchy=topdown"],
    "plt": [*LINEAR, "hierarchy=plt"],
    "plt_char": [*DATA, "model=linear_char", "hierarchy=plt"],
    # one-versus-rest sees every row 436 times: word n-grams only, see README.md
    "bottomup_words": [*LINEAR, "hierarchy=bottomup", "model.features=word"],
}

if __name__ == "__main__":
    run_plan("titles_24_languages", PLAN, sets=("valid", "test"))
