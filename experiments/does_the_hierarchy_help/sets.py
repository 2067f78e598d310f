"""The six data sets of the study: a pool of training rows, validation and test rows, on one tree each."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
from common import data_folder, kzis_ads_data, vacancies  # noqa: E402
from embedding_family import data as family  # noqa: E402
from national_titles import run as national_titles  # noqa: E402
from not_only_jobs import run as clinc  # noqa: E402
from titles_24_languages import run as titles_24  # noqa: E402

from hjc.data import DataSettings, load_job_data  # noqa: E402
from hjc.data.jobdata import JobData  # noqa: E402
from hjc.taxonomy import load_taxonomy  # noqa: E402
from hjc.training.config import compose  # noqa: E402
from hjc.training.workflow import load_inputs  # noqa: E402

OUT = ROOT / "outputs" / "does_the_hierarchy_help"
SEED = 1
#: rows at most that calibrate, and that are tested: drawn once with SEED
VALID_ROWS, TEST_ROWS = 1_000, 2_000


@dataclass(frozen=True)
class Rows:
    """``pool`` is what training rows are drawn from; no text of the test is in it."""

    pool: JobData
    valid: JobData
    test: JobData


def of_overrides(overrides: list[str]) -> Rows:
    """The splits that a study's overrides give, as ``train.py`` would load them."""
    _, splits = load_inputs(compose([*overrides, "model=linear"]), None)
    return Rows(splits.train, splits.valid, splits.tests["test"])


def onet() -> Rows:
    """O*NET titles, split by title: all that neither test nor validate are the pool."""
    folder = OUT / "data" / "onet"
    family.onet(data_folder(), folder, train=10**9)
    files = {part: [str(folder / f"{part}.csv")] for part in ("train", "valid", "test")}
    tree = load_taxonomy(str(folder / "tree.csv"))
    splits = load_job_data(DataSettings(**files, text_columns=["text"], code_column="code"), tree)
    return Rows(splits.train.labelled(), splits.valid.labelled(), splits.tests["test"].labelled())


def usajobs() -> Rows:
    """Federal vacancies: no title or text of the test is in the pool; a quarter of the groups tests, a twelfth
    validates."""
    data, groups = vacancies()
    order = np.random.default_rng(SEED).permutation(np.unique(groups))
    at = {"test": order[: len(order) // 4], "valid": order[len(order) // 4 : len(order) // 3]}
    test, valid = (data.take(np.isin(groups, at[name])) for name in ("test", "valid"))
    return Rows(data.take(np.isin(groups, order[len(order) // 3 :])), valid, test)


def national() -> Rows:
    national_titles.prepare()
    return of_overrides(national_titles.DATA)


def intents() -> Rows:
    clinc.prepare()
    return of_overrides(clinc.DATA)


def ads() -> Rows:
    """The ads' training part and the official dictionary and thesaurus; tested on ads alone, grouped split."""
    kzis = data_folder() / "kzis" / "kzis_hierarchy_2023.csv"
    return of_overrides(["taxonomy=csv", f"taxonomy.path={kzis}", *kzis_ads_data(), "data.near_duplicates=0.9"])


SETS: dict[str, Callable[[], Rows]] = {
    "ads": ads,
    "titles_24": lambda: of_overrides(titles_24.DATA),
    "national": national,
    "onet": onet,
    "vacancies": usajobs,
    "intents": intents,
}
#: characters of a text that the linear models read, where it is not the default
MAX_CHARS = {"ads": 400, "vacancies": 600}


def load(name: str) -> Rows:
    """A set with its validation and test rows cut to what the study uses; the pool whole."""
    rows, rng = SETS[name](), np.random.default_rng(SEED)
    valid, test = (
        data.take(np.sort(rng.permutation(len(data))[:most]))
        for data, most in ((rows.valid, VALID_ROWS), (rows.test, TEST_ROWS))
    )
    return Rows(rows.pool, valid, test)


def drawn(pool: JobData, size: int, draw: int) -> JobData:
    """``size`` rows of the pool, all of them where it has no more; another draw gives other rows."""
    return pool.take(np.sort(np.random.default_rng([SEED, draw]).permutation(len(pool))[:size]))
