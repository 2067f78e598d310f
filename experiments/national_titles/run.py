"""Train on ESCO labels and ISCO group names, test on titles of national classifications that are not among them.

python experiments/national_titles/run.py [--only NAME] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pandas as pd
from common import ROOT, data_folder, run_plan

REAL = data_folder()
ESCO = REAL / "esco"
FOLDER = ROOT / "outputs" / "national_titles" / "data"
# those of the test; quoted, because an unquoted no is a boolean in YAML
LANGUAGES = "'bg','cs','da','de','es','et','fr','hr','hu','it','lt','lv','nl','no','pl','pt','ro','sk','sl','sv'"

DATA = [
    "taxonomy=csv",
    f"taxonomy.path={FOLDER / 'tree.csv'}",
    "taxonomy.depth=4",
    "data=csv",
    "data.language_column=lang",
    f"data.languages=[{LANGUAGES}]",
    "data.sources=["
    f"{{path: {ESCO / 'labels_26_languages.csv.gz'}, text_columns: [label], code_column: esco_code, "
    "default_source: esco}, "
    f"{{path: {ESCO / 'isco08_group_labels_24_languages.csv.gz'}, text_columns: [label], code_column: code, "
    "default_source: isco groups}, "
    f"{{path: {FOLDER / 'national.csv.gz'}, role: test, text_columns: [title], code_column: isco08, "
    "source_column: relation}]",
]
LINEAR = [*DATA, "model=linear"]

PLAN = {
    "topdown": [*LINEAR, "hierarchy=topdown"],
    "topdown_words": [*LINEAR, "hierarchy=topdown", "model.features=word"],
    "plt": [*LINEAR, "hierarchy=plt"],
}


def prepare() -> None:
    """The tree of ISCO-08 with ESCO below it, and the national titles that no ESCO label spells."""
    isco = pd.read_csv(REAL / "isco08_titles_24_languages" / "hierarchy.csv", dtype=str, keep_default_na=False)
    esco = pd.read_csv(ESCO / "occupations.csv.gz", dtype=str, keep_default_na=False)
    esco = esco.rename(columns={"esco_code": "code", "label_en": "label"})
    columns = ["code", "parent", "label"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    pd.concat([isco[columns], esco[columns]]).to_csv(FOLDER / "tree.csv", index=False)
    titles = pd.read_csv(REAL / "national_titles_isco08" / "titles.csv.gz", dtype=str, keep_default_na=False)
    keep = (titles["title_in_esco"] == "0") & (titles["isco_depth"] != "0")  # depth 0: no ISCO group is certain
    titles[keep].to_csv(FOLDER / "national.csv.gz", index=False)


if __name__ == "__main__":
    prepare()
    run_plan("national_titles", PLAN)
