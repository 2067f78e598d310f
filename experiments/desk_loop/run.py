"""What 300 corrections give: a simulated clerk codes US federal vacancies at the desk, in several orders of the queue.

python experiments/desk_loop/run.py [--seed 0 --seed 1 ...] [--way random --way diverse ...] [--collect]

The clerk answers with the code of the vacancy. Everything goes through the routes of hjc serve, in this process:
a batch is made in an order, /v1/desk/next gives the ads, /v1/desk/decisions takes the codes, /v1/learn trains again.
Recall@1 of the series on 1,500 rows that are never shown. Which of them were right is kept in outputs/desk_loop, a file
a seed and way, so that an interrupted study goes on. Writes results.csv (a line a seed) and intervals.csv (all seeds).
"""

import argparse
import csv
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
from common import ROOT, data_folder, write_lines
from fastapi.testclient import TestClient

from hjc.arrays import BoolArray, Float64
from hjc.data.reading import read_job_data
from hjc.data.settings import DataSettings
from hjc.serve.app import create_app
from hjc.serve.service import Service
from hjc.serve.settings import Limits, ServeSettings
from hjc.taxonomy import load_taxonomy
from hjc.training.config import compose
from hjc.training.workflow import run_training

START, VALID, POOL, TEST, CODED = 300, 150, 4000, 1500, 300
SEEDS = (0, 1, 2)
ORDERS = ("random", "uncertain", "margin", "diverse")
#: the orders, and corrections that are sent without the desk
WAYS = (*ORDERS, "/v1/learn")
#: when the test rows are coded
TIMES = ("before", "at_once", "trained", "trained_and_memory")
RESAMPLES = 2000
Row = tuple[str, str]


def vacancies() -> list[Row]:
    """Title and code of the vacancies whose code is a series."""
    folder = data_folder() / "usajobs_opm"
    tree = load_taxonomy(folder / "opm_hierarchy.csv")
    settings = DataSettings(text_columns=["title"], code_column="code")
    data = read_job_data(folder / "questionnaires.csv.gz", tree, settings)[0].labelled()
    leaves = data.take(tree.is_leaf[data.gold])
    return list(zip(leaves.texts, leaves.codes, strict=True))


def write(path: Path, rows: list[Row]) -> str:
    path.write_text("text\tcode\n" + "".join(f"{text}\t{code}\n" for text, code in rows), encoding="utf-8")
    return str(path)


def train(folder: Path, start: list[Row], valid: list[Row]) -> Path:
    """The model that the desk begins with."""
    tree = data_folder() / "usajobs_opm" / "opm_hierarchy.csv"
    run = folder / "model"
    run_training(compose([
        "model=linear", "model.min_df=1", "data=csv", f"data.train=['{write(folder / 'start.tsv', start)}']",
        f"data.valid=['{write(folder / 'valid.tsv', valid)}']", "taxonomy=csv", f"taxonomy.path='{tree}'",
        f"run_dir='{run}'", "evaluation.report=false", "evaluation.bootstrap=0",
    ]))  # fmt: skip
    return run


def right(desk: Any, test: list[Row], *, learned: bool) -> BoolArray:
    """(rows,) whether the first code of a test row is right."""
    found = []
    for start in range(0, len(test), 500):
        some = test[start : start + 500]
        body = {"texts": [text for text, _ in some], "learned": learned, "calibrated": True}
        rows = desk.post("/v1/predict", json=body).json()["rows"]
        found += [bool(r["levels"]) and r["levels"][0]["codes"][0]["code"] == code
                  for r, (_, code) in zip(rows, some, strict=True)]  # fmt: skip
    return np.array(found)


def job_done(desk: Any, name: str) -> dict[str, Any]:
    while (found := desk.get(f"/v1/jobs/{name}").json())["state"] not in ("done", "failed"):
        time.sleep(0.2)
    if found["state"] == "failed":
        raise RuntimeError(found["error"])
    return dict(found["result"])


def at_the_desk(desk: Any, pool: list[Row], order: str, seed: int) -> None:
    """The clerk codes CODED ads of the queue."""
    answers = dict(pool)
    body = {"name": order, "texts": list(answers), "order": order, "seed": seed}
    made = desk.post("/v1/desk/batches", json=body).json()
    job_done(desk, made["job"])
    for i in range(CODED):
        (task,) = desk.post("/v1/desk/next", json={"batch": made["batch"], "n": 1}).json()["tasks"]
        decided = {"key": f"{order}-{seed}-{i:04}", "task": task["task"], "kind": "code", "shown": task["shown"],
                   "codes": [answers[task["text"]]]}  # fmt: skip
        desk.post("/v1/desk/decisions", json=decided).raise_for_status()


def sent(desk: Any, pool: list[Row], seed: int) -> None:
    """The same number of corrections by /v1/learn alone, drawn by chance."""
    drawn = np.random.default_rng(seed).choice(len(pool), CODED, replace=False)
    rows = [{"text": pool[i][0], "codes": [pool[i][1]]} for i in drawn]
    desk.post("/v1/learn", json={"corrections": rows}).raise_for_status()


def study(seed: int, ways: Sequence[str], kept: Path) -> None:
    """Run the ways of a seed that are not there yet."""
    rows = vacancies()
    order = np.random.default_rng(seed).permutation(len(rows))
    ends = np.cumsum([START, VALID, TEST, POOL])
    start, valid, test, pool = ([rows[i] for i in part] for part in np.split(order, ends)[:4])
    with tempfile.TemporaryDirectory(dir=kept) as made:
        home = Path(made)
        model = train(home, start, valid)
        for way in ways:
            for old in home.glob("desk.db*"):
                old.unlink()
            service = Service({"model": model}, home / "desk.db", ServeSettings(limits=Limits(seconds=3600)))
            headers = {"x-hjc-request": "1"}
            with TestClient(create_app(service), base_url="http://localhost", headers=headers) as desk:
                found = {"before": right(desk, test, learned=True)}
                sent(desk, pool, seed) if way == "/v1/learn" else at_the_desk(desk, pool, way, seed)
                found["at_once"] = right(desk, test, learned=True)
                memory = service.board.get().memory
                mix = np.array([memory.least, memory.strength])
                new = job_done(desk, desk.post("/v1/learn", json={"retrain": True}).json()["job"])["directory"]
                service.board.replace("model", new)
                found |= {"trained": right(desk, test, learned=False),
                          "trained_and_memory": right(desk, test, learned=True)}  # fmt: skip
                shutil.rmtree(new)
            np.savez(file_of(kept, seed, way), mix=mix, **found)
            print(seed, way, {name: round(100 * float(hit.mean()), 1) for name, hit in found.items()}, flush=True)


def file_of(kept: Path, seed: int, way: str) -> Path:
    return kept / f"{seed}-{way.strip('/').replace('/', '-')}.npz"


def collect(kept: Path) -> None:
    """results.csv of what is there, beside the lines of others; intervals.csv where all ways and seeds are there."""
    lines, hits = [], dict[tuple[str, int], dict[str, BoolArray]]()
    for seed in range(100):
        for way in WAYS:
            if (path := file_of(kept, seed, way)).exists():
                with np.load(path, allow_pickle=False) as found:
                    hits[way, seed] = {name: found[name] for name in TIMES}
                    least, strength = found["mix"].tolist()
                means = {name: float(hit.mean()) for name, hit in hits[way, seed].items()}
                lines.append({"way": way, "seed": seed, **means, "least": least, "strength": strength})
    write_lines("desk_loop", lines, ("way", "seed"))
    if missing := [f"{way}, seed {seed}" for way in WAYS for seed in SEEDS if (way, seed) not in hits]:
        print(f"intervals.csv stays as it is: {kept} lacks {'; '.join(missing)}")
        return
    path = ROOT / "experiments" / "desk_loop" / "intervals.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["way", "figure", "against", "seeds", "rows", "value", "low", "high"])
        for way in WAYS:
            mine = [seed for one, seed in hits if one == way]
            for name in TIMES:
                own = {seed: hits[way, seed][name].astype(np.float64) for seed in mine}
                of = {"": own, "before": {seed: own[seed] - hits[way, seed]["before"] for seed in mine}}
                both = [seed for seed in mine if ("random", seed) in hits]
                of["random"] = {seed: own[seed] - hits["random", seed][name] for seed in both}
                for against, rows in of.items():
                    if not rows or (against and name == "before") or (against, way) == ("random", "random"):
                        continue
                    value, low, high = (f"{x:.5f}" for x in interval(list(rows.values())))
                    writer.writerow([way, name, against, len(rows), len(rows) * TEST, value, low, high])
    print(path)


def interval(seeds: list[Float64]) -> tuple[float, float, float]:
    """Mean over seeds with its 95 % percentile interval; a resample draws the test rows of each seed anew."""
    rng = np.random.default_rng(0)
    means = np.mean([rows[rng.integers(0, len(rows), (RESAMPLES, len(rows)))].mean(axis=1) for rows in seeds], axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([rows.mean() for rows in seeds])), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, action="append", help="repeatable; 0, 1 and 2")
    parser.add_argument("--way", action="append", choices=WAYS, help="repeatable; all")
    parser.add_argument("--collect", action="store_true", help="run nothing, only write the tables")
    args = parser.parse_args()
    kept = ROOT / "outputs" / "desk_loop"
    kept.mkdir(parents=True, exist_ok=True)
    for seed in () if args.collect else args.seed or SEEDS:
        if ways := [way for way in args.way or WAYS if not file_of(kept, seed, way).exists()]:
            study(seed, ways, kept)
    collect(kept)


if __name__ == "__main__":
    main()
