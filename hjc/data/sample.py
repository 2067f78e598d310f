"""The bundled sample: ISCO-08 job titles in six languages and short ads in two, written for this project.

The split is fixed and stands in the files. Of the four titles of each code and language one tests and three
train (where there are three, two train); of the training titles about one in ten validates. The ads are a
second test set and are never trained on; other ads, written for training, come in only when they are asked for.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from hjc.data.jobdata import JobData
from hjc.data.splits import Splits
from hjc.errors import name_some
from hjc.taxonomy.tree import Taxonomy


def sample_titles() -> pd.DataFrame:
    """The titles: code, language, title, split (train, valid or test), all as text."""
    return _read("titles.csv.gz")


def sample_ads() -> pd.DataFrame:
    """The ads: code, language, title, text, all as text."""
    return _read("ads.csv.gz")


def sample_training_ads() -> pd.DataFrame:
    """The ads to train on: code, language, title, text, all as text. None is like one of :func:`sample_ads`."""
    return _read("training_ads.csv.gz")


def load_sample(
    taxonomy: Taxonomy | None = None, languages: Sequence[str] | None = None, training_ads: bool = False
) -> Splits:
    """The bundled sample on ISCO-08, or on a taxonomy that has its 436 unit groups.

    Args:
        taxonomy: default ISCO-08.
        languages: keep only these of en, pl, de, fr, es, uk (ads: en, pl); others count as filtered.
        training_ads: add the 872 ads written for training, of which one in ten validates.

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
    titles, ads, more = sample_titles(), sample_ads(), sample_training_ads()
    more = more if training_ads else more[:0]
    total = len(titles) + len(ads) + len(more)
    if languages:
        present = sorted(set(titles["language"]))
        if unknown := [x for x in languages if x not in present]:
            raise ValueError(f"data.languages: the sample has no {name_some(unknown)}, it has {', '.join(present)}")
        titles = titles[titles["language"].isin(list(languages))]
        ads, more = (frame[frame["language"].isin(list(languages))] for frame in (ads, more))
    title_data = _job_data(taxonomy, titles, titles["title"], "titles")
    split = titles["split"].to_numpy()
    tests = {"titles": title_data.take(split == "test")}
    if len(ads):
        tests["ads"] = _job_data(taxonomy, ads, ads["title"] + "\n" + ads["text"], "ads")
    train, valid = title_data.take(split == "train"), title_data.take(split == "valid")
    if len(more):
        ad_data = _job_data(taxonomy, more, more["title"] + "\n" + more["text"], "training ads")
        held_out = ad_data.row % 10 == 9
        train = JobData.concat([train, ad_data.take(~held_out)])
        valid = JobData.concat([valid, ad_data.take(held_out)])
    counts = {"read": total, "filtered": total - len(titles) - len(ads) - len(more)}
    return Splits(train=train, valid=valid, tests=tests, counts=counts)


def sample_rows(languages: Sequence[str]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The sample as rows of title, body, code, language and source: those to train on, and its test sets by name.

    Raises:
        ValueError: the sample has none of the languages.
    """
    columns = ["title", "body", "code", "language", "source"]
    titles, ads = sample_titles().assign(body="", source="sample_titles"), []
    for found, name in ((sample_training_ads(), "sample_training_ads"), (sample_ads(), "sample_ads")):
        ads.append(found.rename(columns={"text": "body"}).assign(source=name))
    if languages:
        titles, *ads = (frame[frame["language"].isin(list(languages))] for frame in (titles, *ads))
    if not len(titles):
        raise ValueError(f"--languages: the bundled sample has no titles in {', '.join(languages)}")
    read = set(ads[0]["title"].str.casefold())  # an ad to train on may have the title of a row that tests titles
    tested = titles[(titles["split"] == "test") & ~titles["title"].str.casefold().isin(read)]
    tests = {"sample_titles": tested, "sample_ads": ads[1]}
    train = pd.concat([titles[titles["split"] != "test"], ads[0]])
    return train[columns], {name: found[columns] for name, found in tests.items() if len(found)}


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
    for name, rows, header in (
        ("ISCOGroups", groups, "conceptType conceptUri code preferredLabel status altLabels description"),
        ("occupations", occupations,
         "conceptType conceptUri iscoGroup preferredLabel altLabels hiddenLabels status description code"),
        ("broaderRelationsOccPillar", broader, "conceptType conceptUri broaderType broaderUri"),
    ):  # fmt: skip
        frame = pd.DataFrame(rows, columns=header.split(" "), dtype=str)
        frame.to_csv(folder / f"{name}_{language}.csv", index=False, encoding="utf-8", lineterminator="\n")
    return folder


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
