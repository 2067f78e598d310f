"""From names to coded ads: Polish ads (KZiS, ISCO-08), federal vacancies, the bundled ads; without and with coded ads.

python experiments/no_labelled_ads/run.py [--only NAME ...]
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, data_folder, vacancies

from hjc.classifiers.ads import AdsClassifier
from hjc.classifiers.ads_settings import AdsSettings
from hjc.corpus.from_taxonomy import TaxonomyTexts, texts_from_taxonomy
from hjc.data import DataSettings, JobData, load_job_data
from hjc.evaluation import evaluate_model
from hjc.taxonomy import Taxonomy, isco08, load_taxonomy
from hjc.taxonomy.readers import import_taxonomy
from hjc.training.ready import ReadySettings, on_tree, training_table

FIGURES = ("recall@1", "recall@5", "log_loss", "ece")
SEED = 1
OUT = Path(__file__).resolve().parent / "results.csv"


def table_of(kind: str, paths: list[str], languages: list[str], tree: Taxonomy | None = None) -> JobData:
    """The training table of ``hjc ready`` as rows."""
    from hjc.taxonomy.readers import ImportOptions

    imported = import_taxonomy(kind, paths, ImportOptions(languages=tuple(languages)))
    target = tree or imported.taxonomy
    sources = ["title", "alternative", "example", "description", "definition", "task"]
    shared = "keep_all" if tree is not None else "drop"
    wanted = TaxonomyTexts(sources=sources, languages=languages, shared=shared, context={})
    texts = texts_from_taxonomy(imported.taxonomy, imported.to_frame(), wanted).texts
    rows = training_table(on_tree(texts, imported.taxonomy, target), ReadySettings(seed=SEED))
    rows = rows.drop_duplicates(["title", "body", "code"])
    joined = [f"{a}\n{b}" if b else a for a, b in zip(rows["title"], rows["body"], strict=True)]
    return JobData.from_lists(target, joined, rows["code"].tolist(), sources=["names"] * len(rows))


def polish_ads(tree: Taxonomy, digits: int) -> tuple[JobData, JobData]:
    """Pool (its codes only where a row of the table says so) and test; near-duplicates lie on one side. Rows whose
    first digits are no code of the tree are left out."""
    folder = data_folder()
    settings = DataSettings(
        files=[str(folder / "kzis_ads_pl" / "ads.csv.gz")], text_columns=["title", "description"], test_fraction=0.3,
        valid_fraction=0.0, near_duplicates=0.9,
    )  # fmt: skip
    own = load_taxonomy(str(folder / "kzis" / "kzis_hierarchy_2023.csv"))
    splits = load_job_data(settings, own)
    made = []
    for data in (splits.train, splits.tests["test"]):
        codes = [code[:digits] for code in data.codes]
        known = np.array([code in tree.index_of for code in codes])
        rows = data.take(known)
        kept = [code for code, ok in zip(codes, known.tolist(), strict=True) if ok]
        groups = None if rows.group is None else rows.group
        made.append(JobData.from_lists(tree, rows.texts, kept, groups=groups))
    return made[0], made[1]


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


def fitted(train: JobData, valid: JobData | None, uncoded: tuple[str, ...], **more) -> AdsClassifier:
    model = AdsClassifier(train.taxonomy, AdsSettings(seed=SEED, **more))
    model.unlabelled = uncoded
    model.fit(train, valid)
    print("  ", model.fit_result, flush=True)
    return model


def calibrated_on(model: AdsClassifier, valid: JobData) -> None:
    from hjc.calibration import fit_calibrator

    found = fit_calibrator(model.taxonomy, model.iter_log_proba(valid.texts), valid.gold, groups=valid.group)
    model.calibrator = found.calibrator


def ladder(study: str, names: JobData, pool: JobData, test: JobData, coded: tuple[int, ...]) -> Iterator[dict]:
    """Names alone, with uncoded ads, with so many coded ads drawn at random."""
    yield from scored(fitted(names, None, ()), test, study, "names")
    for n in coded:
        train, valid = draw(pool, min(n, len(pool)))
        model = fitted(JobData.concat([names, train]), valid, ())
        calibrated_on(model, valid)
        yield from scored(model, test, study, f"names, {len(train) + len(valid):,} coded ads", calibrated=True)
    yield from scored(fitted(names, None, pool.texts), test, study, f"names, {len(pool):,} uncoded ads")


def kzis(coded: tuple[int, ...] = (300, 100_000)) -> Iterator[dict]:
    names = table_of("kzis", [str(data_folder() / "kzis")], ["pl"])
    yield from ladder("kzis ads, 6 digits", names, *polish_ads(names.taxonomy, 6), coded)


def esco(coded: tuple[int, ...] = ()) -> Iterator[dict]:
    names = table_of(
        "esco", [str(data_folder() / "raw" / f"esco_v1.2.1_{x}") for x in ("pl", "en")], ["pl", "en"], isco08()
    )
    yield from ladder("kzis ads, ISCO-08 from ESCO", names, *polish_ads(isco08(), 4), coded)
    yield from bundled(names)


def bundled(names: JobData) -> Iterator[dict]:
    from hjc.data.sample import load_sample

    test = load_sample(isco08(), None, False).tests["ads"]
    yield from scored(fitted(names, None, ()), test, "bundled ads", "names")


def usajobs(coded: tuple[int, ...] = (300,)) -> Iterator[dict]:
    data, groups = vacancies()
    tree = data.taxonomy
    names = [(tree.title(i), tree.codes[i]) for i in tree.leaves.tolist() if tree.title(i)]
    side = np.random.default_rng(SEED).random(int(groups.max()) + 1)[groups] < 0.5
    pool, test = (JobData(tree, part.texts, part.gold, group=g) for part, g in
                  ((data.take(side), groups[side]), (data.take(~side), groups[~side])))  # fmt: skip
    rows = JobData.from_lists(tree, [a for a, _ in names], [b for _, b in names], sources=["names"] * len(names))
    yield from ladder("usajobs", rows, pool, test, coded)


STUDIES: dict[str, Callable[[], Iterator[dict]]] = {"kzis": kzis, "usajobs": usajobs, "esco": esco}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=list(STUDIES))
    chosen = parser.parse_args().only or list(STUDIES)
    for key in chosen:
        for line in STUDIES[key]():
            old = pd.read_csv(OUT, dtype=str) if OUT.exists() else pd.DataFrame(columns=list(line))
            same = ["study", "model", "text", "level", "metric"]
            new = pd.DataFrame([{k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in line.items()}])
            kept = pd.concat([old, new]).drop_duplicates(same, keep="last")
            kept.to_csv(OUT, index=False, lineterminator="\n")
    print(f"{OUT.relative_to(ROOT)}: {len(pd.read_csv(OUT)):,} figures")
