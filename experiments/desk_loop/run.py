"""What 300 corrections give: a simulated clerk codes US federal vacancies at the desk, in several orders of the queue.

python experiments/desk_loop/run.py [--seeds 3] [--way random --way diverse ...]

The clerk answers with the code of the vacancy. Everything goes through the routes of hjc serve, in this process:
a batch is made in an order, /v1/desk/next gives the ads, /v1/desk/decisions takes the codes, /v1/learn trains again.
Recall@1 of the series on 1,500 rows that are never shown. Writes results.csv.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
from common import ROOT, data_folder, write_lines
from fastapi.testclient import TestClient

from hjc.data.reading import read_job_data
from hjc.data.settings import DataSettings
from hjc.serve.app import create_app
from hjc.serve.service import Service
from hjc.serve.settings import Limits, ServeSettings
from hjc.taxonomy import load_taxonomy
from hjc.training.config import compose
from hjc.training.workflow import run_training

START, VALID, POOL, TEST, CODED = 300, 150, 4000, 1500, 300
ORDERS = ("random", "uncertain", "margin", "diverse")
#: the orders, and corrections that are sent without the desk
WAYS = (*ORDERS, "/v1/learn")
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


def recall(desk: Any, test: list[Row], *, learned: bool) -> float:
    """Share of the test rows whose first code is right."""
    right = 0
    for start in range(0, len(test), 500):
        some = test[start : start + 500]
        body = {"texts": [text for text, _ in some], "learned": learned, "calibrated": True}
        rows = desk.post("/v1/predict", json=body).json()["rows"]
        right += sum(bool(r["levels"]) and r["levels"][0]["codes"][0]["code"] == code
                     for r, (_, code) in zip(rows, some, strict=True))  # fmt: skip
    return right / len(test)


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


def study(seeds: int, ways: Sequence[str], folder: Path) -> Iterator[dict[str, object]]:
    rows = vacancies()
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(rows))
        parts, at = [], 0
        for size in (START, VALID, TEST, POOL):
            parts.append([rows[i] for i in order[at : at + size]])
            at += size
        start, valid, test, pool = parts
        home = folder / str(seed)
        home.mkdir(parents=True)
        model = train(home, start, valid)
        for way in ways:
            for old in home.glob("desk.db*"):
                old.unlink()
            service = Service({"model": model}, home / "desk.db", ServeSettings(limits=Limits(seconds=3600)))
            headers = {"x-hjc-request": "1"}
            with TestClient(create_app(service), base_url="http://localhost", headers=headers) as desk:
                before = recall(desk, test, learned=True)
                sent(desk, pool, seed) if way == "/v1/learn" else at_the_desk(desk, pool, way, seed)
                at_once = recall(desk, test, learned=True)
                memory = service.board.get().memory
                new = job_done(desk, desk.post("/v1/learn", json={"retrain": True}).json()["job"])["directory"]
                service.board.replace("model", new)
                line = {"way": way, "seed": seed, "before": before, "at_once": at_once,
                        "trained": recall(desk, test, learned=False),
                        "trained_and_memory": recall(desk, test, learned=True),
                        "least": memory.least, "strength": memory.strength}  # fmt: skip
                shutil.rmtree(new)
                print(line, flush=True)
                yield line


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--way", action="append", choices=WAYS, help="repeatable; all")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "outputs" if (ROOT / "outputs").is_dir() else None) as made:
        write_lines("desk_loop", list(study(args.seeds, args.way or WAYS, Path(made))))
