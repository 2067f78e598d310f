"""Names of codes and coded ads that several studies of ads without codes share; a model of ads fitted on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from common import data_folder, vacancies

from hjc.classifiers.ads import AdsClassifier
from hjc.classifiers.ads_settings import AdsSettings
from hjc.data import DataSettings, JobData, load_job_data
from hjc.evaluation.validation import describe_validation
from hjc.taxonomy import Taxonomy, isco08, load_taxonomy
from hjc.training.ready import ReadySettings, office_table

SEED = 1


def table_of(kind: str, paths: list[str], languages: list[str]) -> JobData:
    """The training table of ``hjc ready`` as rows."""
    rows, tree = office_table(kind, paths, ReadySettings(languages=tuple(languages), seed=SEED))
    rows = rows.drop_duplicates(["title", "body", "code"])
    joined = [f"{a}\n{b}" if b else a for a, b in zip(rows["title"], rows["body"], strict=True)]
    return JobData.from_lists(tree, joined, rows["code"].tolist(), sources=["names"] * len(rows))


def national_titles(languages: Sequence[str]) -> JobData:
    """National titles of other countries that have one unit group of ISCO-08.

    Raises:
        ValueError: a language of which there is none.
    """
    table = pd.read_csv(data_folder() / "national_titles_isco08" / "titles.csv.gz", dtype=str, keep_default_na=False)
    tree = isco08()
    table = table[table["isco_depth"].eq("4") & table["isco08"].isin(tree.leaf_codes) & table["lang"].isin(languages)]
    if lacking := set(languages) - set(table["lang"]):
        raise ValueError(f"there are no national titles in {', '.join(sorted(lacking))}")
    table = table.drop_duplicates(["title", "isco08"])
    return JobData.from_lists(tree, table["title"].tolist(), table["isco08"].tolist(), sources=["names"] * len(table))


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
        made.append(JobData.from_lists(tree, rows.texts, kept, groups=rows.group))
    return made[0], made[1]


def fitted(train: JobData, valid: JobData | None, uncoded: tuple[str, ...], **more) -> AdsClassifier:
    model = AdsClassifier(train.taxonomy, AdsSettings(seed=SEED, **more))
    model.compute_on("cpu", "auto")
    model.unlabelled = uncoded
    model.fit(train, valid)
    print("  ", model.fit_result, flush=True)
    return model


def calibrated_on(model: AdsClassifier, valid: JobData) -> None:
    """As ``hjc learn`` calibrates: on the ads that were held back, and on others where models have not seen these."""
    model.calibrator = describe_validation(model, valid).calibrator


def polish_names() -> JobData:
    """KZiS: names, thesaurus, syntheses and tasks."""
    return table_of("kzis", [str(data_folder() / "kzis")], ["pl"])


def federal() -> tuple[JobData, JobData, JobData]:
    """Names of the federal series, and pool and test of the vacancies, a half each; rows of one title or text lie on
    one side."""
    data, groups = vacancies()
    tree = data.taxonomy
    named = [(tree.title(i), tree.codes[i]) for i in tree.leaves.tolist() if tree.title(i)]
    side = np.random.default_rng(SEED).random(int(groups.max()) + 1)[groups] < 0.5
    names = JobData.from_lists(tree, [a for a, _ in named], [b for _, b in named], sources=["names"] * len(named))
    pool, test = (data.take(side), groups[side]), (data.take(~side), groups[~side])
    return names, *(JobData(tree, part.texts, part.gold, group=g) for part, g in (pool, test))


def keep(out: Path, line: Mapping[str, object], same: Sequence[str]) -> None:
    """Put a line into a table of results, in the place of one with the same values of these columns."""
    old = pd.read_csv(out, dtype=str) if out.exists() else pd.DataFrame(columns=list(line))
    new = pd.DataFrame([{k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in line.items()}])
    pd.concat([old, new]).drop_duplicates(same, keep="last").to_csv(out, index=False, lineterminator="\n")
