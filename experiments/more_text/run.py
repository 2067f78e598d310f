"""Is any model right less often by title and text than by the title alone? The commands of hjc, on the same rows.

python experiments/more_text/run.py [--demo outputs/demo] [--only vacancies]
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, data_folder, vacancies, write_lines

from hjc.cli import main
from hjc.data.sample import sample_rows
from hjc.taxonomy import isco08

SEED, MOST = 1, 1000
OUT = ROOT / "outputs" / "more_text"
#: a model may lose so much of its right codes with the text, in points
ALLOWED = 0.5
SIDES = (("", "value"), ("_low", "low"), ("_high", "high"))


def hjc(*words: object) -> None:
    """A command of hjc, in this process. Ends the program where it fails."""
    print("hjc", *words, flush=True)
    sys.argv = ["hjc", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


def models_of_isco(demo: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Name -> model and name -> table of ads, coded to four digits of ISCO-08."""
    ads = sample_rows(())[1]["sample_ads"].rename(columns={"body": "text"})
    polish = pd.read_csv(data_folder() / "kzis_ads_pl" / "ads.csv.gz", dtype=str, keep_default_na=False)
    polish["code"] = polish["code"].str[:4]
    polish = polish[polish["code"].isin(isco08().leaf_codes) & polish["title"].ne("") & polish["description"].ne("")]
    polish = polish.sample(MOST, random_state=SEED).rename(columns={"description": "text"})
    tables = {"872 bundled ads (written)": ads, "1,000 Polish ads": polish[["title", "text", "code"]]}
    if not (OUT / "ready" / "metrics.csv").exists():
        hjc("ready", "isco08", "-o", OUT / "ready")
    if not (OUT / "linear" / "metrics.csv").exists():
        hjc("train", "model=linear", f"run_dir={OUT / 'linear'}")
    models = {"hjc ready isco08": OUT / "ready", "model=linear on the sample": OUT / "linear"}
    if demo.is_dir():
        models["make demo (e5)"] = demo
    return models, {name: written(table, f"isco{i}") for i, (name, table) in enumerate(tables.items())}


def models_of_series() -> tuple[dict[str, Path], dict[str, Path]]:
    """The same for federal vacancies: rows of one title or text lie on one side."""
    data, groups = vacancies()
    title, _, text = zip(*(row.partition("\n") for row in data.texts), strict=True)
    table = pd.DataFrame({"title": title, "text": text, "code": [data.taxonomy.codes[i] for i in data.gold.tolist()]})
    table = table[table["text"].ne("")]
    tested = np.random.default_rng(SEED).random(int(groups.max()) + 1)[groups[table.index]] < 0.5
    train = written(table[~tested].sample(3 * MOST, random_state=SEED), "vacancies_train")
    test = written(table[tested].sample(MOST, random_state=SEED), "vacancies_test")
    tree = data_folder() / "usajobs_opm" / "opm_hierarchy.csv"
    if not (OUT / "series" / "metrics.csv").exists():
        hjc("ready", "csv", tree, "-o", OUT / "series", "--test", test)
    own = (f"taxonomy.path={tree}", "taxonomy=csv", "data=csv", f"data.files=[{train}]", "data.test_fraction=0.01")
    for name, columns in (("by_title", "[title]"), ("by_both", "[title,text]")):
        if not (OUT / name / "metrics.csv").exists():
            hjc("train", "model=linear", *own, f"data.text_columns={columns}", f"run_dir={OUT / name}")
    models = {"hjc ready csv (names of series)": OUT / "series", "model=linear on titles": OUT / "by_title"}
    return models | {"model=linear on title and text": OUT / "by_both"}, {"1,000 vacancies": test}


def written(table: pd.DataFrame, name: str) -> Path:
    OUT.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUT / f"{name}.csv", index=False)
    return OUT / f"{name}.csv"


def compared(models: Mapping[str, Path], tables: Mapping[str, Path]) -> list[dict[str, object]]:
    """A line for each model, table and choice of columns: right codes at the deepest level, log-loss and ECE."""
    lines: list[dict[str, object]] = []
    for model, folder in models.items():
        for name, table in tables.items():
            for columns in (("title",), ("title", "text")):
                out = OUT / "found"
                chosen = [word for column in columns for word in ("-t", column)]
                hjc("evaluate", folder, table, *chosen, "-c", "code", "-o", out, "--bootstrap", 300)
                found = pd.read_csv(out / "metrics.csv", dtype={"level": str}, keep_default_na=False)
                found = found[found["slice_kind"].eq("") & found["level"].ne("overall")]
                found = found[found["level"].eq(found["level"].max())].set_index("metric")
                line: dict[str, object] = {"model": model, "rows": name, "by": " and ".join(columns)}
                for metric in ("recall@1", "log_loss", "ece"):
                    of = found.loc[metric]
                    line |= {f"{metric}{side}": float(of[k]) for side, k in SIDES}
                lines.append(line)
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["isco", "vacancies"])
    parser.add_argument("--demo", type=Path, default=ROOT / "outputs" / "demo", help="where make demo left its model")
    args = parser.parse_args()
    made = compared(*models_of_isco(args.demo)) if args.only != "vacancies" else []
    made += compared(*models_of_series()) if args.only != "isco" else []
    write_lines("more_text", made, ("model", "rows"))
    worse = []
    for alone, both in zip(made[::2], made[1::2], strict=True):
        lost = 100 * (float(str(alone["recall@1"])) - float(str(both["recall@1"])))
        print(f"{alone['model']}, {alone['rows']}: {-lost:+.1f} points by the text")
        worse += [alone["model"]] * (lost > ALLOWED)
    sys.exit(f"more text costs more than {ALLOWED} points: {worse}" if worse else None)
