"""`hjc label` from end to end with simulated judges: a server process that knows the right code and errs at random.

python experiments/silver_labels/run.py
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from chat import Answer, chat_server  # noqa: E402
from common import paired, write_lines  # noqa: E402
from side_variables.run import load  # noqa: E402

from hjc.classifiers.linear import LinearClassifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.data import JobData, TextRecipe  # noqa: E402
from hjc.metrics import score_batches  # noqa: E402

CODED, SILVER, AUDITED, TOP = 500, 400, 100, 10
#: of every judge: how often it is right where the right code is among the candidates
RIGHT = (0.8,)
#: share of the errors that both judges make alike
ALIKE = 0.5
METRICS = ("recall@1", "log_loss")


def chance(*what: object) -> float:
    """A number from 0 to 1 that depends on ``what`` alone: a judge answers the same question the same way."""
    return int(sha256("|".join(map(str, what)).encode()).hexdigest()[:12], 16) / 16**12


def judges(truth: Mapping[str, str]) -> Answer:
    """The model "judge_a:0.85" is right in 85 of 100 cases. ``truth``: text -> title of its code."""

    def answer(model: str, user: str) -> dict[str, object]:
        text = user.split("<ad>")[1].split("</ad>")[0].strip()
        lines = {title.strip(): int(n) for n, title in re.findall(r"^(\d+)\. (.*)$", user, re.MULTILINE)}
        who, _, right = model.partition(":")
        mood = "both" if chance(text, "alike") < ALIKE else who
        pick = next((lines[t] for t in lines if t == truth.get(text)), 0)
        if not pick or chance(text, mood) > float(right):
            wrong = sorted(number for number in lines.values() if number != pick)
            pick = wrong[int(chance(text, mood, "which") * len(wrong))]
        return {"outcome": "choose", "number": pick, "confidence": 0.9, "reason": "as told"}

    return answer


def fit(rows: JobData) -> LinearClassifier:
    model = LinearClassifier(rows.taxonomy, LinearSettings(features="word", min_df=1, weights="ignore"))
    model.recipe = TextRecipe(("title",))
    return model.fit(rows)


def main() -> None:
    _, data = load("vacancies", "title", near=False)
    tree, test = data["train"].taxonomy, data["test"]
    every = data["train"]
    order = np.random.default_rng(1).permutation(len(every))
    coded, new = every.take(order[:CODED]), every.take(order[CODED : CODED + SILVER + AUDITED])
    texts = [str(t) for t in new.texts]
    truth = {t: tree.title(g) for t, g in zip(texts, new.gold.tolist(), strict=True)}
    with tempfile.TemporaryDirectory() as name, chat_server(judges(truth)) as endpoint:
        folder, models, facts = Path(name), {"coded alone": fit(coded)}, {}
        models["coded alone"].save_pretrained(folder / "model")
        audit = [code if i < AUDITED else "" for i, code in enumerate(new.codes)]
        pd.DataFrame({"title": texts, "expert": audit}).to_csv(folder / "ads.csv", index=False)
        for right in RIGHT:
            out = folder / f"silver_{right}.csv"
            command = (
                f"-m hjc.cli label {folder}/model {folder}/ads.csv -o {out} -t title -k {TOP} --audit-code-column "
            )
            command += f"expert --model judge_a:{right} --model judge_b:{right} --endpoint {endpoint} "
            command += "--max-requests 10000"
            done = subprocess.run([sys.executable, *command.split()], capture_output=True, text=True, check=False)
            print(right, done.stderr, flush=True)
            done.check_returncode()
            found = pd.read_csv(out, dtype=str, keep_default_na=False)["label_code"][AUDITED:].to_numpy()
            has = found != ""
            true = np.array(new.codes[AUDITED:])
            facts[right] = {"labelled": float(has.mean()), "silver_right": float((found == true)[has].mean())}
            rows = [t for t, ok in zip(texts[AUDITED:], has, strict=True) if ok]
            silver = JobData.from_lists(tree, rows, found[has].tolist())
            plain = JobData.from_lists(tree, list(map(str, coded.texts)), list(coded.codes))
            models[f"and silver, judges {right}"] = fit(JobData.concat([plain, silver]))
        truly = JobData.from_lists(tree, [*map(str, coded.texts), *texts[AUDITED:]], [*coded.codes, *true.tolist()])
        models["and the same rows coded by people"] = fit(truly)
    scores = [score_batches(tree, m.iter_log_proba(test.texts), test.gold) for m in models.values()]
    lines = []
    for x in paired(scores, tree, tree.depth, METRICS):
        way = list(models)[int(x["model"])]
        judged = next((facts[r] for r in RIGHT if way.endswith(str(r))), {})
        lines.append({"data": "vacancies", **x, "model": way, **judged})
        print(lines[-1], flush=True)
    write_lines("silver_labels", lines, ("data",))


if __name__ == "__main__":
    main()
