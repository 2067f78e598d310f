"""Duties and requirements of each ad in the place of its first tokens: the tables that the runs ``passages`` train on.

python experiments/encoder_ablation/passages.py [--outputs DIR]   (then run.py --only passages)

The rows are those of the other runs. Of an ad the title stays, and of its text the passages that hjc.rerank.extraction
finds, duties first; an ad without any stays whole. Names of the dictionary and the thesaurus stay as they are.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pandas as pd
from common import ROOT
from encoder_ablation.run import SHORT

from hjc.data import JobData
from hjc.rerank.extraction import extract
from hjc.training.config import compose
from hjc.training.workflow import load_inputs


def picked(text: str) -> str:
    """Title, duties and skills on lines of their own; the text itself where no passage is found."""
    title, _, body = text.partition("\n")
    found = extract(body, title)
    return "\n".join([title, *filter(None, (found.duties, found.skills))]) if found.duties or found.skills else text


def table(rows: JobData) -> pd.DataFrame:
    codes = [rows.taxonomy.codes[g] for g in rows.gold]
    texts = [picked(t) if s == "ads" else t for t, s in zip(rows.texts, rows.source, strict=True)]
    changed = sum(new != old for new, old in zip(texts, rows.texts, strict=True))
    print(f"{len(texts):,} rows, {changed:,} of them with picked passages")
    return pd.DataFrame({"text": texts, "code": codes, "source": rows.source})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs" / "encoder_ablation")
    folder = parser.parse_args().outputs / "picked"
    _, splits = load_inputs(compose([*SHORT, "data.seed=1"]), None)
    assert splits.valid is not None
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", splits.train), ("valid", splits.valid)):
        table(rows).to_csv(folder / f"{name}.csv.gz", index=False)
