"""What goes with a language being far behind English: the test titles' words beside the training titles of a language.

python experiments/titles_24_neural/languages.py [--run hybrid_steady]   (reads results.csv, writes languages.csv)
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, data_folder, write_lines

FOLDER = data_folder() / "isco08_titles_24_languages"
#: letters at the beginning of a word that stand for it, whatever its ending
BEGINNING = 5


def words(title: str) -> list[str]:
    """Words of three letters and more, in small letters."""
    return [word for word in re.findall(r"\w+", title.lower()) if len(word) > 2]


def known(titles: Iterable[str], among: set[str], letters: int | None = None) -> float:
    """Share of the words of titles, cut to so many letters, that are among these."""
    own = [word[:letters] in among for title in titles for word in words(title)]
    return sum(own) / len(own)


def main(run: str) -> None:
    """languages.csv: a line for each language, the worst first."""
    read = {name: pd.read_csv(FOLDER / f"{name}.csv.gz", dtype=str) for name in ("train", "validation", "test")}
    results = pd.read_csv(ROOT / "experiments" / "titles_24_neural" / "results.csv")
    at = results[
        (results["run"] == run) & (results["slice_kind"] == "language") & (results["level"].astype(str) == "4")
    ]
    lines = []
    for found in at.sort_values("recall@1").to_dict("records"):
        own = {name: table.loc[table["lang"] == found["slice"], "text"] for name, table in read.items()}
        learnt = {word for title in own["train"] for word in words(title)}
        begun = {word[:BEGINNING] for word in learnt}
        line: dict[str, object] = {"run": run, "language": found["slice"], "test_titles": found["rows"]}
        line |= {key: found[key] for key in ("recall@1", "recall@1_low", "recall@1_high")}
        line |= {"training_titles": len(own["train"])}
        for name in ("test", "validation"):
            line[f"words_known_{name}"] = known(own[name], learnt)
            line[f"beginnings_known_{name}"] = known(own[name], begun, BEGINNING)
        for name in ("test", "train"):
            line[f"titles_in_plain_letters_{name}"] = float(own[name].map(str.isascii).mean())
        lines.append(line)
    table = pd.DataFrame(lines)
    print(table.round(3).to_string(index=False))
    ranks = table.drop(columns=["run", "language"]).rank().corr()["recall@1"]
    print("Spearman's correlation with recall@1:", ranks.round(2).to_dict())
    write_lines("titles_24_neural", lines, (), "languages.csv")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", default="hybrid_steady")
    main(parser.parse_args().run)
