"""Write hjc/corpus/prepare/words.tsv.gz, and measure the quick look at languages by frequent words.

    python experiments/prepare_rate/language_words.py [--write]

Without --write the table is made from one half of the occupations and asked about the other half, about Polish ads
and about vacancies: how often it is sure, how often wrong, how often other than lingua, and the time of both.
"""

import argparse
import csv
import gzip
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from common import ROOT, data_folder

from hjc.corpus.prepare.language import LanguageIdentifier
from hjc.corpus.prepare.language_words import OTHER_SCRIPTS, WordModel

TOP = 300
WORD = re.compile(r"[^\W\d_]+")


def lines_of(descriptions: pd.DataFrame) -> list[str]:
    """word, then language:millionths: the TOP words of each language, with their shares in every language."""
    counts: dict[str, Counter[str]] = {}
    for language, part in descriptions.groupby("lang"):
        counts[language] = Counter(word for text in part["description"] for word in WORD.findall(text.casefold()))
    total = {language: count.total() for language, count in counts.items()}
    words = sorted({word for count in counts.values() for word, _ in count.most_common(TOP)})
    out = []
    for word in words:
        shares = {language: round(1e6 * count[word] / total[language]) for language, count in counts.items()}
        out.append("\t".join([word, *(f"{language}:{share}" for language, share in shares.items() if share > 10)]))
    return [line for line in out if "\t" in line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the table of hjc, from all descriptions")
    args = parser.parse_args()
    folder = data_folder()
    files = sorted((folder / "esco").glob("descriptions_*.csv.gz"))
    texts = pd.concat([pd.read_csv(f, dtype=str, keep_default_na=False) for f in files])
    texts = texts[(texts["description"].str.len() > 40) & ~texts["lang"].isin(OTHER_SCRIPTS)]
    if args.write:
        path = ROOT / "hjc" / "data" / "prepare" / "words.tsv.gz"
        data = "".join(f"{line}\n" for line in lines_of(texts)).encode()
        path.write_bytes(gzip.compress(data, 9, mtime=0))
        print(f"{len(data.splitlines())} words, {path.stat().st_size} bytes -> {path.name}")
        return
    codes = texts["esco_code"].unique()
    half = set(np.random.default_rng(0).choice(codes, len(codes) // 2, replace=False))
    model = WordModel(lines_of(texts[texts["esco_code"].isin(half)]))
    lingua = LanguageIdentifier(quick=False)
    other = texts[~texts["esco_code"].isin(half) & texts["lang"].isin(lingua.languages)]
    other = other.groupby("lang").sample(200, random_state=1)
    sets = {"ESCO descriptions, other half": (other["description"].tolist(), other["lang"].tolist())}
    vacancies = (("Polish ads", "kzis_ads_pl/ads", "pl"), ("US vacancies", "usajobs_opm/questionnaires", "en"))
    for name, file, code in vacancies:
        ads = pd.read_csv(folder / f"{file}.csv.gz", dtype=str, keep_default_na=False).sample(4000, random_state=1)
        sets[name] = ((ads["title"] + "\n" + ads["description"]).tolist(), [code] * len(ads))
    rows = []
    for name, (ads, truth) in sets.items():
        started = time.process_time()
        quick = [found[0] if (found := model.sure(text[: lingua.window])) else "" for text in ads]
        middle = time.process_time()
        slow = [lingua.identify(text)[0] for text in ads]
        ended = time.process_time()
        n, sure = len(ads), [i for i, found in enumerate(quick) if found]
        rows.append({
            "texts": name, "n": n, "sure": round(len(sure) / n, 4),
            "not the label": sum(quick[i] != truth[i] for i in sure),
            "lingua: not the label": sum(slow[i] != truth[i] for i in sure),
            "other than lingua": sum(quick[i] != slow[i] for i in sure),
            "microseconds": round((middle - started) / n * 1e6),
            "lingua: microseconds": round((ended - middle) / n * 1e6),
        })  # fmt: skip
        print(rows[-1])
    with (Path(__file__).parent / "languages.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
