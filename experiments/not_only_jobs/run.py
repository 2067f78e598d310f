"""CLINC150 intents: ten domains, 150 intents, nothing about jobs.

python experiments/not_only_jobs/run.py [--only NAME] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pandas as pd
from common import ROOT, data_folder, run_plan

FOLDER = ROOT / "outputs" / "not_only_jobs" / "data"

DATA = [
    "taxonomy=csv",
    f"taxonomy.path={FOLDER / 'tree.csv'}",
    "data=csv",
    f"data.files=[{FOLDER / 'intents.csv.gz'}]",
    "data.code_column=intent",
    "data.split_column=split",
    "data.default_language=en",
]

PLAN = {
    hierarchy: [*DATA, "model=linear", f"hierarchy={hierarchy}"]
    for hierarchy in ("topdown", "bottomup", "plt", "flat_logreg")
}


def prepare() -> None:
    """The tree from the columns domain and intent; the rows without those that are out of scope by design."""
    table = pd.read_csv(data_folder() / "htc_clinc150" / "clinc150.csv.gz", dtype=str, keep_default_na=False)
    table = table[~table["split"].str.startswith("oos")]
    # an intent and a domain may share a name, codes may not
    table["domain"] = "domain:" + table["domain"]
    edges = table[["intent", "domain"]].drop_duplicates().rename(columns={"intent": "code", "domain": "parent"})
    tops = pd.DataFrame({"code": sorted(table["domain"].unique()), "parent": ""})
    FOLDER.mkdir(parents=True, exist_ok=True)
    pd.concat([tops, edges.sort_values("code")]).to_csv(FOLDER / "tree.csv", index=False)
    table.to_csv(FOLDER / "intents.csv.gz", index=False)


if __name__ == "__main__":
    prepare()
    run_plan("not_only_jobs", PLAN)
