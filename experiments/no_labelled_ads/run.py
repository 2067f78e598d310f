"""From names to coded ads: Polish ads (KZiS, ISCO-08), federal vacancies, the bundled ads; without and with coded ads.

python experiments/no_labelled_ads/run.py [--only NAME ...] [--row NAME ...] [--part RUN_DIR] [--national LANG ...]

--row: names, uncoded (ads without codes beside the names) or a number of coded ads. --part: a model of titles, over the
tree or a coarser one with the same codes, as further evidence; it computes in bfloat16 where the hardware does.
--national: in the study of ESCO, titles of national_titles_isco08 in these languages too. --write FOLDER writes the
Polish ads as tables for the commands of hjc, and runs nothing.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ads_data import (
    SEED,
    calibrated_on,
    federal,
    fitted,
    keep,
    national_titles,
    polish_ads,
    polish_names,
    table_of,
)
from common import ROOT, data_folder

from hjc.classifiers.ads import AdsClassifier
from hjc.data import JobData
from hjc.evaluation import evaluate_model
from hjc.taxonomy import isco08

FIGURES = ("recall@1", "recall@5", "log_loss", "ece")
OUT = Path(__file__).resolve().parent / "results.csv"
#: what is run, and run directories of further models: of the command line
ROWS: list[str] = ["names", "uncoded", "300", "100000"]
PARTS: list[str] = []
#: languages of national titles that train beside the names of ESCO
NATIONAL: list[str] = []


def also() -> str:
    national = f", national titles in {', '.join(NATIONAL)}" if NATIONAL else ""
    return (", a model of titles" if PARTS else "") + national


def titles(data: JobData) -> JobData:
    """The same rows with the first line of their texts alone."""
    return JobData(data.taxonomy, tuple(t.partition("\n")[0] for t in data.texts), data.gold, group=data.group)


def scored(model: AdsClassifier, test: JobData, study: str, name: str, calibrated: bool = False) -> Iterator[dict]:
    """A line a level, a figure and a kind of text."""
    for kind, rows in (("title", titles(test)), ("title and body", test)):
        found = evaluate_model(
            model, rows, bootstrap=300, decisions=False, slices=(), progress=False, calibrated=calibrated
        )
        frame = found.frame[found.frame["metric"].isin(FIGURES)]
        for line in frame.to_dict("records"):
            yield {"study": study, "model": name, "text": kind,
                   **{k: line[k] for k in ("level", "metric", "value", "low", "high", "n")}}  # fmt: skip
        level = str(min(4, test.taxonomy.depth))
        shown = {
            m: round(float(v), 3)
            for m, v, d in zip(frame["metric"], frame["value"], frame["level"], strict=True)
            if d == level
        }
        print(study, "|", name, "|", kind, "| level", level, shown, flush=True)


def draw(pool: JobData, n: int, seed: int = SEED) -> tuple[JobData, JobData]:
    """``n`` coded rows, of which a fifth (at least 40) validates."""
    order = np.random.default_rng(seed).permutation(len(pool))[:n]
    valid = max(40, n // 5)
    return pool.take(np.sort(order[valid:])), pool.take(np.sort(order[:valid]))


def ladder(study: str, names: JobData, pool: JobData, test: JobData, coded: tuple[int, ...]) -> Iterator[dict]:
    """Names alone, with uncoded ads, with so many coded ads drawn at random."""
    own = {"parts": PARTS}
    if "names" in ROWS:
        yield from scored(fitted(names, None, (), **own), test, study, f"names{also()}")
    if "uncoded" in ROWS:
        learnt = fitted(names, None, pool.texts, **own)
        yield from scored(learnt, test, study, f"names, {len(pool):,} uncoded ads{also()}")
    for n in coded:
        if str(n) not in ROWS:
            continue
        train, valid = draw(pool, min(n, len(pool)))
        model = fitted(JobData.concat([names, train]), valid, (), **own)
        calibrated_on(model, valid)
        yield from scored(model, test, study, f"names, {len(train) + len(valid):,} coded ads{also()}", calibrated=True)


def kzis(coded: tuple[int, ...] = (300, 100_000)) -> Iterator[dict]:
    names = polish_names()
    yield from ladder("kzis ads, 6 digits", names, *polish_ads(names.taxonomy, 6), coded)


def esco(coded: tuple[int, ...] = ()) -> Iterator[dict]:
    folders = [str(data_folder() / "raw" / f"esco_v1.2.1_{language}") for language in ("pl", "en")]
    names = table_of("isco08", folders, ["pl", "en"])
    if NATIONAL:
        names = JobData.concat([names, national_titles(NATIONAL)])
    yield from ladder("kzis ads, ISCO-08 from ESCO", names, *polish_ads(isco08(), 4), coded)
    if "names" in ROWS:
        yield from bundled(names)


def bundled(names: JobData | None = None) -> Iterator[dict]:
    """The ads that come with hjc only test. Names of ESCO train, or titles of hjc without and with its other ads."""
    from hjc.data.sample import load_sample, sample_rows

    test = load_sample(isco08(), ["en", "pl"], False).tests["ads"]
    if names is not None:
        yield from scored(fitted(names, None, (), parts=PARTS), test, "bundled ads", "names of ESCO" + also())
        return
    made, _ = sample_rows(["en", "pl"])
    for name, rows in (("titles of hjc", made[made["body"] == ""]), ("titles and training ads of hjc", made)):
        joined = [f"{a}\n{b}" if b else a for a, b in zip(rows["title"], rows["body"], strict=True)]
        train = JobData.from_lists(isco08(), joined, rows["code"].tolist(), sources=["names"] * len(rows))
        yield from scored(fitted(train, None, (), parts=PARTS), test, "bundled ads", name + also())


def usajobs(coded: tuple[int, ...] = (300,)) -> Iterator[dict]:
    yield from ladder("usajobs", *federal(), coded)


def write_polish_ads(folder: Path) -> None:
    """pool.csv without codes, coded_300.csv of it, and test.csv."""
    pool, test = polish_ads(polish_names().taxonomy, 6)
    coded = pool.take(np.sort(np.random.default_rng(SEED).permutation(len(pool))[:300]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("pool", pool), ("coded_300", coded), ("test", test)):
        cells = [text.partition("\n")[::2] for text in data.texts]
        table = pd.DataFrame(cells, columns=["title", "description"])
        if name != "pool":
            table["code"] = list(data.codes)
        table.to_csv(folder / f"{name}.csv", index=False)


STUDIES: dict[str, Callable[[], Iterator[dict]]] = {"kzis": kzis, "usajobs": usajobs, "esco": esco, "bundled": bundled}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=list(STUDIES))
    parser.add_argument("--row", action="append", choices=ROWS)
    parser.add_argument("--part", action="append", default=[], metavar="RUN_DIR")
    parser.add_argument("--national", nargs="+", default=[], metavar="LANG")
    parser.add_argument("--write", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.write:
        write_polish_ads(args.write)
        sys.exit()
    chosen, PARTS, NATIONAL = args.only or list(STUDIES), args.part, args.national
    if NATIONAL and chosen != ["esco"]:
        parser.error("--national: give --only esco too")
    ROWS = args.row or ROWS
    for key in chosen:
        for line in STUDIES[key]():
            keep(OUT, line, ["study", "model", "text", "level", "metric"])
    print(f"{OUT.relative_to(ROOT)}: {len(pd.read_csv(OUT)):,} figures")
