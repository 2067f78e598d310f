"""How often `hjc drift` says anything but "proceed": where nothing changed, and where half of the rows are others.

    python benchmarks/drift_alarms.py [--draws 200] [--rows 20,50,100,200] [--titles FILE]

The linear baseline is fitted on the bundled sample. Its titles that are not trained on are dealt out anew in each draw:
1,500 for the profile, some of the others for a batch; "shifted": every second row of the batch is an ad. Compared are
languages, lengths, unknown words, confidence, predicted shares and vectors. The level is 5 %
(``hjc.statistics.drift.LEVEL``). ``--titles``: a table of other titles (text, lang) in place of the sample's.
"""

import argparse
from collections import Counter

import numpy as np

from hjc.arrays import IntArray
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.vectors import dense
from hjc.data.sample import load_sample
from hjc.index import normalise
from hjc.statistics.drift import Profile, compare_profiles
from hjc.tables import read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rows", default="20,50,100,200")
    parser.add_argument("--profile", type=int, default=1500)
    parser.add_argument("--titles")
    given = parser.parse_args()
    sample = load_sample()
    model = LinearClassifier(sample.train.taxonomy).fit_data(sample.train)
    parts = [sample.valid, sample.tests["titles"]]
    texts = [text for part in parts for text in part.texts]
    languages = [language for part in parts for language in part.language]
    if given.titles:
        frame = read_table(given.titles)
        texts, languages = frame["text"].tolist(), frame["lang"].tolist()
    count = len(texts)
    texts += sample.tests["ads"].texts
    languages += sample.tests["ads"].language
    log_proba = np.empty((len(texts), model.taxonomy.num_leaves), dtype=np.float32)
    for at, x in model.iter_log_proba(texts):
        log_proba[at] = x
    vectors = normalise(dense(model.text_vectors(texts)))

    def profile(rows: IntArray, seed: int) -> Profile:
        made = Profile(model.taxonomy, oov=model.oov_share, seed=seed)
        some = rows.tolist()
        made.update(log_proba[rows], texts=[texts[i] for i in some], languages=[languages[i] for i in some])
        made.keep(vectors[rows[made.choose(len(rows))]])
        return made

    print(f"{'rows':>6}  {'unchanged':>9}  {'shifted':>9}   checks that raised an alarm where nothing changed")
    for rows in map(int, given.rows.split(",")):
        alarms, checks = Counter[str](), Counter[str]()
        for draw in range(given.draws):
            order = np.random.default_rng([draw, rows]).permutation(count)
            reference = profile(order[: given.profile], draw)
            reference.project()
            batch = order[given.profile : given.profile + rows]
            other = np.where(np.arange(rows) % 2, batch, np.random.default_rng(draw).integers(count, len(texts), rows))
            for name, new in (("unchanged", batch), ("shifted", other)):
                found = compare_profiles(reference, profile(new, draw), seed=draw)
                alarms[name] += found.verdict != "proceed"
                if name == "unchanged":
                    checks.update(set(found.table.loc[found.table["status"] != "stable", "check"]))
        shares = [f"{alarms[name] / given.draws:9.1%}" for name in ("unchanged", "shifted")]
        print(f"{rows:>6}  {'  '.join(shares)}   {dict(checks)}", flush=True)


if __name__ == "__main__":
    main()
