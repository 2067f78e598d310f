"""`hjc data synthesise` from end to end for codes without rows, with writers that are no language models.

python experiments/written_ads/run.py [--texts title]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from chat import Answer, chat_server  # noqa: E402
from common import data_folder, paired, write_lines  # noqa: E402
from side_variables.run import load  # noqa: E402

from hjc.classifiers.linear import LinearClassifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.data import JobData  # noqa: E402
from hjc.metrics import score_batches  # noqa: E402

CODES, PER_CODE, LEAST_TRAIN, LEAST_TEST = 60, 3, 4, 3
TEXTS = ("title", "title and text")
METRICS = ("recall@1", "recall@5", "log_loss")
Ads = list[dict[str, str]]
#: title of the code, of the group above, how many -> ads
Writer = Callable[[str, str, int], Ads]
#: what a model may write of a name: the three ways of the template
TITLES = ("{}", "Supervisory {}", "Lead {} (Term)")
BODY = "We look for a {}. The work is in the field of {}. You have experience as {} and work in a team."


def writing(known: Mapping[str, Writer]) -> Answer:
    """The name of the model is the writer."""

    def answer(model: str, user: str) -> dict[str, Ads]:
        title, number = re.search(r"occupation: (.*)", user)[1].strip(), int(re.search(r"Write (\d+)", user)[1])
        within = re.findall(r"within: (.*)", user)
        return {"ads": known[model](title, within[-1] if within else title, number)}

    return answer


def template(title: str, within: str, number: int) -> Ads:
    """Knows the name of the code and of the group above, no more."""
    return [{"title": form.format(title), "text": BODY.format(title, within, title)} for form in TITLES[:number]]


def recited(rows: JobData) -> Writer:
    """Real ads of the code, the first of each title."""
    tree, of = rows.taxonomy, {}
    for text, gold in zip(map(str, rows.texts), rows.gold.tolist(), strict=True):
        title, _, body = text.partition("\n")
        of.setdefault(tree.title(gold) or tree.codes[gold], {}).setdefault(title, body[:1000])

    def write(title: str, within: str, number: int) -> Ads:
        return [{"title": t, "text": b} for t, b in list(of.get(title, {}).items())[:number]]

    return write


def written(writer: str, folder: Path, endpoint: str, *more: str) -> tuple[pd.DataFrame, dict[str, object]]:
    """The command as a user gives it: the rows, and its log."""
    out = folder / f"{writer}.csv"
    command = [
        "data", "synthesise", folder / "train.csv", "-o", out, "--model", writer, "--test", folder / "test.csv",
        "-t", "title", "-t", "text", "--taxonomy", folder / "tree.csv", "--per-code", PER_CODE,
        "--endpoint", endpoint, "--max-requests", 10_000, *more,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "hjc.cli", *map(str, command)], capture_output=True, text=True, check=False
    )
    print(writer, done.stderr, flush=True)
    done.check_returncode()
    facts = json.loads(out.with_name(out.name + ".log.json").read_text("utf-8"))
    return pd.read_csv(out, dtype=str, keep_default_na=False), facts


def table(rows: JobData, path: Path) -> None:
    parts = [str(text).partition("\n") for text in rows.texts]
    pd.DataFrame({"title": [p[0] for p in parts], "text": [p[2] for p in parts], "code": rows.codes}).to_csv(
        path, index=False
    )


def models_of(texts: str, kept: JobData, held: JobData, added: dict[str, pd.DataFrame]) -> dict[str, LinearClassifier]:
    """Name -> a model of the rows that are left and what is added to them."""
    tree = kept.taxonomy

    def plain(rows: JobData) -> list[str]:
        return [str(t).partition("\n")[0] if texts == "title" else str(t) for t in rows.texts]

    def fit(more: Sequence[str] = (), codes: Sequence[str] = (), weight: float = 1.0) -> LinearClassifier:
        weights = [1.0] * len(kept) + [weight] * len(more)
        rows = JobData.from_lists(tree, [*plain(kept), *more], [*kept.codes, *codes], weights=weights)
        return LinearClassifier(tree, LinearSettings(features="word", max_features=30_000)).fit(rows)

    models = {"no rows": fit()}
    for name, frame in added.items():
        lines = (frame["title"] if texts == "title" else frame["title"] + "\n" + frame["body"]).tolist()
        models[name] = fit(lines, frame["code"].tolist())
        if texts == "title" and name == "template":
            models[f"{name}, weight 0.25"] = fit(lines, frame["code"].tolist(), 0.25)
    models["all rows of the codes"] = fit(plain(held), list(held.codes))
    return models


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", choices=TEXTS, action="append", help="only models of these texts (both)")
    wanted = parser.parse_args().texts or TEXTS
    _, data = load("vacancies", "title and text", near=False)
    tree, test, train = data["train"].taxonomy, data["test"], JobData.concat([data["train"], data["valid"]])
    count = [np.bincount(rows.gold, minlength=len(tree)) for rows in (train, test)]
    enough = np.flatnonzero((count[0] >= LEAST_TRAIN) & (count[1] >= LEAST_TEST) & tree.is_leaf)
    chosen = np.sort(np.random.default_rng(1).choice(enough, CODES, replace=False))
    gone, of_test = np.isin(train.gold, chosen), np.isin(test.gold, chosen)
    kept, held = train.take(np.flatnonzero(~gone)), train.take(np.flatnonzero(gone))
    writers = {"template": template, "people": recited(held), "reciter of the test": recited(test)}
    lines: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name, chat_server(writing(writers)) as endpoint:
        folder = Path(name)
        table(kept, folder / "train.csv")
        table(test, folder / "test.csv")
        # only codes that lost their rows are to be written for: the other empty ones have no test rows
        official = pd.read_csv(data_folder() / "usajobs_opm" / "opm_hierarchy.csv", dtype=str, keep_default_na=False)
        asked = {tree.codes[v] for v in chosen.tolist()} | set(kept.codes)
        official[(official["level"] != "3") | official["code"].isin(asked)].rename(columns={"name": "title_en"}).to_csv(
            folder / "tree.csv", index=False
        )
        made = {}
        for writer in writers:
            rows, facts = written(writer, folder, endpoint)
            near, every = (facts["refused"].get("near-duplicate of a test row", 0), sum(facts["refused"].values()))
            line = {"part": "written", "texts": "", "model": writer, "codes": facts["codes"], "written": len(rows)}
            asked = facts["codes"] * PER_CODE
            lines.append({**line, "asked": asked, "near test rows": near, "other refused": every - near})
            print(lines[-1], flush=True)
            made[writer] = rows
    write_lines("written_ads", lines, ("part", "texts"))
    names = pd.DataFrame({"title": [tree.title(v) for v in chosen.tolist()], "body": "",
                          "code": [tree.codes[v] for v in chosen.tolist()]})  # fmt: skip
    added = {"official title": names, "template": made["template"], "people": made["people"]}
    for texts in wanted:
        models = models_of(texts, kept, held, added)
        tests = [str(t).partition("\n")[0] if texts == "title" else str(t) for t in test.texts]
        scores = [score_batches(tree, m.iter_log_proba(tests), test.gold) for m in models.values()]
        for group, where in (("the codes", of_test), ("other codes", ~of_test)):
            part = [s.take(np.flatnonzero(where)) for s in scores]
            for level in (2, tree.depth):
                for x in paired(part, tree, level, METRICS):
                    lines.append({"part": group, "texts": texts, **x, "model": list(models)[int(x["model"])]})
                    print(lines[-1], flush=True)
    write_lines("written_ads", lines, ("part", "texts"))


if __name__ == "__main__":
    main()
