"""Texts for a student of a model of Polish ads, without codes: ads.csv, and pieces.csv with parts of the same ads.

    python experiments/export/ad_texts.py TEST.csv -o FOLDER

ads.csv: the ads of `kzis_ads_pl` but those of TEST.csv (column `text`), names and descriptions of the occupations, and
the titles of the thesaurus. pieces.csv: of each of these ads the title alone, and the title with half of the rest.
"""

import argparse
import csv
import os
from pathlib import Path

import pandas as pd

DATA = Path(os.environ.get("HJC_DATA", "../shared/data"))


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA / name, dtype=str, keep_default_na=False)


def halves(title: str, rest: str) -> list[str]:
    words = rest.split()
    middle = len(words) // 2
    return [f"{title}\n{' '.join(part)}" for part in (words[:middle], words[middle:]) if part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    tested = set(pd.read_csv(given.test, dtype=str, keep_default_na=False)["text"])
    ads = read("kzis_ads_pl/ads.csv.gz")
    ads = ads[~(ads["title"] + "\n" + ads["description"]).isin(tested)]
    work = read("kzis/kzis_occupation_descriptions_2024.csv.gz")
    described = (work["name"] + "\n" + work[column] for column in ("synthesis", "tasks"))
    texts = [*(ads["title"] + "\n" + ads["description"]), *work["name"], *(text for part in described for text in part)]
    texts += read("kzis/kzis_gus_thesaurus_titles.csv.gz")["title"].tolist()
    pairs = zip(ads["title"], ads["description"], strict=True)
    pieces = [*ads["title"], *(part for title, rest in pairs for part in halves(title, rest))]
    given.output.mkdir(parents=True, exist_ok=True)
    for name, found in (("ads", texts), ("pieces", pieces)):
        different = [[text] for text in dict.fromkeys(found) if text.strip()]
        with (given.output / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([["text"], *different])
        print(f"{name}.csv: {len(different):,} texts")


if __name__ == "__main__":
    main()
