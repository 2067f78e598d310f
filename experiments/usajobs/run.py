"""US federal vacancies coded to the OPM series: what do title and text give, alone and together?

python experiments/usajobs/run.py [--only NAME] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import pandas as pd
from common import ROOT, data_folder, run_plan

from hjc.data.splitting import identical_groups, merge_groups, split_rows
from hjc.taxonomy import load_taxonomy

FOLDER = data_folder() / "usajobs_opm"
ROWS = ROOT / "outputs" / "usajobs" / "data" / "vacancies.csv.gz"

DATA = [
    "taxonomy=csv",
    f"taxonomy.path={FOLDER / 'opm_hierarchy.csv'}",
    "data=csv",
    f"data.files=[{ROWS}]",
    "data.split_column=split",
    "data.default_language=en",
]
TITLE, TEXT, BOTH = ("data.text_columns=[" + x + "]" for x in ("title", "description", "title,description"))
# codes without training rows had a fixed floor when these were run; see experiments/unseen_codes
FLOOR = ["model=linear", "model.unseen=floor"]
LINEAR = [*FLOOR, "hierarchy=topdown"]

PLAN = {
    "title_topdown": [*DATA, TITLE, *LINEAR],
    "text_topdown": [*DATA, TEXT, *LINEAR, "model.lead_weight=0"],  # no title, so no lead field
    "both_topdown": [*DATA, BOTH, *LINEAR],
    "title_bottomup": [*DATA, TITLE, *FLOOR, "hierarchy=bottomup"],
    "both_plt": [*DATA, BOTH, *FLOOR, "hierarchy=plt"],
    "both_bottomup": [*DATA, BOTH, *FLOOR, "hierarchy=bottomup"],
}


def prepare() -> None:
    """Add a column ``split``, the same for every choice of columns; one title, or one text, is on one side only."""
    table = pd.read_csv(FOLDER / "questionnaires.csv.gz", dtype=str, keep_default_na=False)
    tree = load_taxonomy(FOLDER / "opm_hierarchy.csv")
    groups = merge_groups(identical_groups(table["title"]), identical_groups(table["description"]))
    side = split_rows(tree, tree.encode(table["code"]), groups=groups, test_fraction=0.3, valid_fraction=0.05, seed=1)
    table["split"] = [("train", "valid", "test")[i] for i in side]
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(ROWS, index=False)


if __name__ == "__main__":
    prepare()
    run_plan("usajobs", PLAN)
