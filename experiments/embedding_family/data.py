"""The four data sets of the study, made from the real-data folder: tree.csv, labels.csv, train, valid and test of each.

Subsamples with fixed seeds, because every system of the study is trained on them on two cores: 6,000 training rows,
1,000 validation rows and 2,000 test rows (of the Polish ads all validation and test rows).
"""

from pathlib import Path

import pandas as pd

TRAIN, VALID, TEST = 6000, 1000, 2000
SEED = 1


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _write(folder: Path, **tables: pd.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def _sample(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    return table.sample(min(rows, len(table)), random_state=SEED)


def onet(real: Path, folder: Path, train: int = TRAIN) -> None:
    """O*NET alternate titles, split by title: no title of the test is a training title, whatever its code."""
    tree = read(real / "onet" / "soc2018_onet_hierarchy.csv")
    about = read(real / "onet" / "occupations.csv.gz").set_index("code")["description"]
    titles = read(real / "onet" / "titles.csv.gz").rename(columns={"title": "text"})[["text", "code"]].drop_duplicates()
    key = titles["text"].str.casefold().str.strip()
    order = pd.Series(key.unique()).sample(frac=1, random_state=SEED)
    part = {"test": set(order[:4000]), "valid": set(order[4000:6000])}
    test, valid = (titles[key.isin(part[name])] for name in ("test", "valid"))
    rest = titles[~key.isin(part["test"] | part["valid"])]
    _write(
        folder,
        tree=pd.DataFrame(
            {
                "code": tree["code"],
                "parent": tree["parent"],
                "title_en": tree["name"],
                "description_en": tree["code"].map(about).fillna(""),
            }
        ),
        train=_sample(rest, train),
        valid=_sample(valid, VALID),
        test=_sample(test, TEST),
    )


def _isco_tree(real: Path) -> pd.DataFrame:
    tree = read(real / "isco08_titles_24_languages" / "hierarchy.csv")
    return tree.rename(columns={"label": "title_en"})[["code", "parent", "title_en"]]


def _isco_labels(real: Path) -> pd.DataFrame:
    labels = read(real / "esco" / "isco08_group_labels_24_languages.csv.gz")
    labels = labels[labels["code"].str.len() == 4]
    return pd.DataFrame(
        {"code": labels["code"], "text": labels["label"], "language": labels["lang"], "kind": "group title"}
    )


def titles_24(real: Path, folder: Path) -> None:
    """ESCO labels and ISCO group names in 24 languages to ISCO-08, tested on titles from outside ESCO."""
    source = real / "isco08_titles_24_languages"
    tables = {name: read(source / f"{file}.csv.gz") for name, file in _FILES.items()}
    rows = {"train": TRAIN, "valid": VALID, "test": TEST}
    cut = {name: _sample(t[["text", "code", "lang"]], rows[name]) for name, t in tables.items()}
    _write(folder, tree=_isco_tree(real), labels=_isco_labels(real), **cut)


_FILES = {"train": "train", "valid": "validation", "test": "test"}


def national(real: Path, folder: Path) -> None:
    """ESCO labels (preferred and alternative) to ISCO-08, tested on national titles that no ESCO label spells."""
    titles = read(real / "national_titles_isco08" / "titles.csv.gz")
    test = titles[(titles["title_in_esco"] == "0") & (titles["isco_depth"] == "4")]
    test = test.rename(columns={"title": "text", "isco08": "code"})[["text", "code", "lang"]]
    labels = read(real / "esco" / "labels_26_languages.csv.gz")
    labels = labels[labels["lang"].isin(set(test["lang"]))]
    isco = read(real / "esco" / "occupations.csv.gz").set_index("esco_code")["isco08"]
    labels = labels.assign(code=labels["esco_code"].map(isco)).dropna(subset=["code"])
    rows = labels.rename(columns={"label": "text"})[["text", "code", "lang", "kind"]]
    shuffled = rows.sample(frac=1, random_state=SEED)
    _write(
        folder,
        tree=_isco_tree(real),
        labels=_isco_labels(real),
        train=shuffled[:TRAIN],
        valid=shuffled[TRAIN : TRAIN + VALID],
        test=_sample(test, TEST),
    )


def kzis(real: Path, folder: Path) -> None:
    """The KZiS tree with descriptions; the ads themselves are read where they lie."""
    tree = read(real / "kzis" / "kzis_hierarchy_2023.csv")
    about = read(real / "kzis" / "kzis_occupation_descriptions_2024.csv.gz").set_index("code")["synthesis"]
    _write(
        folder,
        tree=pd.DataFrame(
            {
                "code": tree["code"],
                "parent": tree["parent"],
                "title_pl": tree["name"],
                "description_pl": tree["code"].map(about).fillna(""),
            }
        ),
    )


DATASETS = {"onet": onet, "titles24": titles_24, "national": national, "kzis": kzis}
