"""The bundled sample: ISCO-08 job titles in six languages and short ads in two, written for this project.

The split is fixed and stands in the files. Of the four titles of each code and language one tests and three
train (where there are three, two train); of the training titles about one in ten validates. The ads are a
second test set and are never trained on.
"""

import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from hjc.data.jobdata import JobData
from hjc.data.splits import Splits
from hjc.errors import name_some
from hjc.taxonomy.tree import Taxonomy

#: training titles of a code (all languages together) for each one that validates
TRAIN_PER_VALID = 10


def sample_titles() -> pd.DataFrame:
    """The titles: code, language, title, split (train, valid or test), all as text."""
    return _read("titles.csv.gz")


def sample_ads() -> pd.DataFrame:
    """The ads: code, language, title, text, all as text."""
    return _read("ads.csv.gz")


def load_sample(taxonomy: Taxonomy | None = None, languages: Sequence[str] | None = None) -> Splits:
    """The bundled sample on ISCO-08, or on a taxonomy that has its 436 unit groups.

    Args:
        taxonomy: default ISCO-08.
        languages: keep only these of en, pl, de, fr, es, uk (ads: en, pl); others count as filtered.

    Returns:
        Splits with ``tests`` "titles" and, where a language has any, "ads". An ad's text is its title, a line
        break and its body.

    Raises:
        TaxonomyError: the taxonomy has not got the codes.
        ValueError: a language is not in the sample.
    """
    if taxonomy is None:
        from hjc.taxonomy import isco08

        taxonomy = isco08()
    titles, ads = sample_titles(), sample_ads()
    total = len(titles) + len(ads)
    if languages:
        present = sorted(set(titles["language"]))
        if unknown := [x for x in languages if x not in present]:
            raise ValueError(f"data.languages: the sample has no {name_some(unknown)}, it has {', '.join(present)}")
        titles = titles[titles["language"].isin(list(languages))]
        ads = ads[ads["language"].isin(list(languages))]
    title_data = _job_data(taxonomy, titles, titles["title"], "titles")
    split = titles["split"].to_numpy()
    tests = {"titles": title_data.take(split == "test")}
    if len(ads):
        tests["ads"] = _job_data(taxonomy, ads, ads["title"] + "\n" + ads["text"], "ads")
    return Splits(
        train=title_data.take(split == "train"),
        valid=title_data.take(split == "valid"),
        tests=tests,
        counts={"read": total, "filtered": total - len(titles) - len(ads)},
    )


def write_sample_esco(directory: Path | str, language: str = "en") -> Path:
    """A small bundle of files in the layout in which ESCO publishes its csv bundles, made from this sample.

    ``ISCOGroups_xx.csv`` has the groups of ISCO-08, ``occupations_xx.csv`` one occupation below each of the 436 unit
    groups (code 2221.1, the training titles of the sample as its preferred and alternative labels), and
    ``broaderRelationsOccPillar_xx.csv`` who is above whom. The occupations are not ESCO's: it is a stand-in for trying
    out ``hjc taxonomy import esco``.

    Raises:
        ValueError: the sample has no titles in the language.
    """
    from hjc.taxonomy import isco08

    titles = sample_titles()
    if language not in set(titles["language"]):
        raise ValueError(f"language: got {language!r}, the sample has {', '.join(sorted(set(titles['language'])))}")
    titles = titles[(titles["language"] == language) & (titles["split"] == "train")]
    tree, base = isco08(), "http://data.europa.eu/esco"
    names = dict(zip(tree.codes, tree.titles[language], strict=True))
    groups: list[tuple[str, ...]] = []
    occupations: list[tuple[str, ...]] = []
    broader: list[tuple[str, ...]] = []
    for i, code in enumerate(tree.codes):
        uri, above = f"{base}/isco/C{code}", int(tree.parents[i])
        groups.append(("ISCOGroup", uri, code, names[code], "released", "", ""))
        if above >= 0:
            broader.append(("ISCOGroup", uri, "ISCOGroup", f"{base}/isco/C{tree.codes[above]}"))
        if len(labels := titles.loc[titles["code"] == code, "title"].tolist()):
            own = f"{base}/occupation/sample-{code}-1"
            occupations.append(
                ("Occupation", own, code, labels[0], "\n".join(labels[1:]), "", "released", "", f"{code}.1")
            )
            broader.append(("Occupation", own, "ISCOGroup", uri))
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, tuple[list[tuple[str, ...]], str]] = {
        "ISCOGroups": (groups, "conceptType conceptUri code preferredLabel status altLabels description"),
        "occupations": (
            occupations,
            "conceptType conceptUri iscoGroup preferredLabel altLabels hiddenLabels status description code",
        ),
        "broaderRelationsOccPillar": (broader, "conceptType conceptUri broaderType broaderUri"),
    }
    for name, (rows, header) in columns.items():
        frame = pd.DataFrame(rows, columns=header.split(" "), dtype=str)
        frame.to_csv(folder / f"{name}_{language}.csv", index=False, encoding="utf-8", lineterminator="\n")
    return folder


def fixed_split(titles: pd.DataFrame) -> list[str]:
    """The rule behind the column ``split`` of the titles: n of train, valid, test.

    In each cell of a code and a language the title with the smallest SHA-256 of "code|language|title" tests; a
    title that stands in several languages is passed over, so no text is on both sides. Then, over all languages
    of a code, the training titles in the order of their SHA-256 go to validation, one for each ten.
    """
    keys = titles["title"].str.casefold()
    common = keys.isin(set(keys[keys.duplicated()])).to_numpy()
    digests = [_digest("|".join(row)) for row in titles[["code", "language", "title"]].itertuples(index=False)]
    frame = pd.DataFrame(
        {
            "code": titles["code"].to_numpy(),
            "language": titles["language"].to_numpy(),
            "common": common,
            "digest": digests,
        }
    )
    ordered = frame.sort_values(["common", "digest"])
    split = np.full(len(titles), "train", dtype=object)
    split[ordered.groupby(["code", "language"], sort=False).head(1).index.to_numpy()] = "test"
    rest = ordered[(split[ordered.index.to_numpy()] == "train") & ~ordered["common"]]
    # 18 training titles a code: every code gives one, and by its digest four of five give a second
    wanted = rest.groupby("code").size() / TRAIN_PER_VALID
    for code, rows in rest.groupby("code", sort=True):
        chance = int(_digest(str(code))[:8], 16) / 2**32
        split[rows.index.to_numpy()[: int(wanted[code] + chance)]] = "valid"
    return [str(x) for x in split]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(name: str) -> pd.DataFrame:
    with resources.as_file(resources.files("hjc.data") / "sample" / name) as path:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")


def _job_data(taxonomy: Taxonomy, frame: pd.DataFrame, texts: pd.Series, source: str) -> JobData:
    return JobData(
        taxonomy=taxonomy,
        texts=tuple(texts.tolist()),
        gold=taxonomy.encode(frame["code"].tolist()),
        language=tuple(frame["language"].tolist()),
        source=(source,) * len(frame),
        row=frame.index.to_numpy(dtype=np.int64),
    )
