"""Only some hundred coded ads: a model of them alone, or one that also learns from the titles that come with hjc?

    python experiments/few_ads/run.py [--rows 300] [--draws 1]

Polish ads at the first four digits of KZiS, which are those of ISCO-08 but for some groups (their ads are left out);
near-duplicates lie on one side. Writes results.csv beside this file. Needs the real data (HJC_DATA).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ads_data import polish_ads
from common import write_lines

import hjc
from hjc.data import JobData
from hjc.taxonomy import isco08
from hjc.training.config import compose
from hjc.training.ready import learn, make_ready
from hjc.training.workflow import run_training

FIGURES = ("level_1/recall@1", "level_4/recall@1", "level_4/recall@5", "level_4/log_loss", "level_4/ece")


def scored(name: str, rows: int, draw: int, folder: Path, test: JobData) -> list[dict[str, object]]:
    """Lines of results.csv: the calibrated model of a directory on the test ads."""
    found = hjc.evaluate_model(hjc.load(folder).calibrated(), test, bootstrap=500)
    lines = []
    for figure in FIGURES:
        low, high = found.intervals.get(figure, (np.nan, np.nan))
        line = {"model": name, "coded_ads": rows, "draw": draw, "figure": figure, "value": found.metrics[figure]}
        lines.append(line | {"low": low, "high": high, "test_ads": len(test)})
        print(name, rows, figure, round(found.metrics[figure], 3), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="300")
    parser.add_argument("--draws", type=int, default=1)
    options = parser.parse_args()
    pool, test = polish_ads(isco08(), 4)
    lines = []
    with tempfile.TemporaryDirectory() as here:
        folder = Path(here)
        make_ready("isco08", [], folder / "ready")
        lines += scored("titles of hjc", 0, 0, folder / "ready", test)
        for rows in map(int, options.rows.split(",")):
            for draw in range(options.draws):
                at = np.random.default_rng(draw).choice(len(pool), rows, replace=False)
                parts = [pool.texts[i].partition("\n") for i in at.tolist()]
                table = pd.DataFrame({"title": [p[0] for p in parts], "body": [p[2] for p in parts]})
                table["code"] = [pool.codes[i] for i in at.tolist()]
                path, alone, both = (folder / f"{kind}_{rows}_{draw}" for kind in ("coded", "alone", "both"))
                path = path.with_suffix(".csv")
                table.to_csv(path, index=False)
                run_training(
                    compose(
                        ["model=linear", "data=csv", f"data.files=[{path}]", "data.text_columns=[title,body]",
                         "data.code_column=code", "data.test_fraction=0", "data.valid_fraction=0.2",
                         "data.near_duplicates=0.9", f"run_dir={alone}"]
                    )
                )  # fmt: skip
                lines += scored("the coded ads alone", rows, draw, alone, test)
                learn(folder / "ready", [str(path)], both)
                lines += scored("titles of hjc and the coded ads", rows, draw, both, test)
    write_lines("few_ads", lines, ("model", "coded_ads", "draw"))


if __name__ == "__main__":
    main()
