"""An index of titles with their codes, and how a text is found in it. E entries, T words, n texts, L leaves."""

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from scipy import sparse

from hjc.arrays import Float32, Float64, IntArray
from hjc.classifiers.features import has_stemmer, make_stemmer
from hjc.classifiers.lookup_settings import STAGES
from hjc.classifiers.words import lead, normalise, tokens
from hjc.data.codesets import CodeSets, Target
from hjc.taxonomy import Taxonomy

#: (m/w/d), m/k, K/M, f/h: for whom a title is meant, not what it is
_GENDER = re.compile(r"[(\[]?\b[mwdfkxhn](?:\s*/\s*[mwdfkxhn]){1,3}\b[)\]]?", re.IGNORECASE)
NO_MATCH = -1


def plain_title(text: str) -> str:
    """The words of a title in one spelling, by single blanks; marks like (m/w/d) are left out."""
    return " ".join(tokens(normalise(_GENDER.sub(" ", text))))


@dataclass(frozen=True)
class Matches:
    """How n texts were found.

    Attributes:
        stage: (n,) number in :data:`STAGES`, -1 where nothing was found. score: (n,) 1 but for the stage tokens.
        entries: n lists of entries, the codes of which count together.
    """

    stage: IntArray
    score: Float64
    entries: list[list[int]]


class TitleIndex:
    """Titles, each once, with the codes that it stands for and how often.

    Args:
        titles: E titles as people write them, one for each spelling of :func:`plain_title`.
        codes: E sets of codes; the weights are counts. language: E, "" where not known.
    """

    def __init__(self, taxonomy: Taxonomy, titles: Sequence[str], codes: CodeSets, language: Sequence[str]) -> None:
        self.taxonomy, self.titles, self.codes, self.language = taxonomy, tuple(titles), codes, tuple(language)
        self.keys = [plain_title(title) for title in self.titles]
        self._exact: dict[str, list[int]] = defaultdict(list)
        for i, key in enumerate(self.keys):
            self._exact[key].append(i)

    def __len__(self) -> int:
        return len(self.titles)

    @classmethod
    def build(
        cls, taxonomy: Taxonomy, texts: Sequence[str], target: Target, weights: Float64, language: Sequence[str]
    ) -> Self:
        """From rows: equal titles (but for case, marks and punctuation) of one language are one entry.

        A row with several codes adds its weight to each by its share. Rows without any word are left out.
        """
        sets = target if isinstance(target, CodeSets) else CodeSets.of_gold(target)
        place: dict[tuple[str, str], int] = {}
        titles: list[str] = []
        spoken: list[str] = []
        entry = np.full(len(texts), -1, dtype=np.int64)
        for i, (text, own) in enumerate(zip(texts, language, strict=True)):
            if key := plain_title(text):
                if (at := place.get((key, own))) is None:
                    at = place[key, own] = len(titles)
                    titles.append(str(text).strip())
                    spoken.append(own)
                entry[i] = at
        of, share = entry[sets.row], sets.share * np.asarray(weights, dtype=np.float64)[sets.row]
        keep = (of >= 0) & (share > 0)
        counts = sparse.coo_matrix(
            (share[keep], (of[keep], sets.nodes[keep])), shape=(len(titles), len(taxonomy))
        ).tocsr()
        counts.sum_duplicates()
        found = CodeSets(counts.indptr, counts.indices, counts.data)
        some = np.flatnonzero(found.size)
        return cls(taxonomy, [titles[i] for i in some], found[some], [spoken[i] for i in some])

    # ------------------------------------------------------------------ finding

    @cached_property
    def _words(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(dict.fromkeys(w for key in self.keys for w in key.split()))}

    def _rows(self, keys: Sequence[str]) -> tuple[sparse.csr_matrix, IntArray]:
        """(n, T) which known words texts have, and (n,) how many they have that no entry has."""
        row, column = [], []
        strange = np.zeros(len(keys), dtype=np.int64)
        for i, key in enumerate(keys):
            for word in set(key.split()):
                if (at := self._words.get(word)) is None:
                    strange[i] += 1
                else:
                    row.append(i)
                    column.append(at)
        shape = (len(keys), len(self._words))
        return sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape), strange

    @cached_property
    def _entries(self) -> tuple[sparse.csr_matrix, Float32, Float64]:
        """(T, E) words of entries; (T,) weight of each word, ln (1 + E / entries with it); (E,) weight of an entry."""
        rows, _ = self._rows(self.keys)
        idf = np.log1p(len(self) / np.maximum(np.bincount(rows.indices, minlength=rows.shape[1]), 1)).astype(np.float32)
        return rows.T.tocsr(), idf, np.asarray(rows @ idf, dtype=np.float64)

    @cached_property
    def _stems(self) -> dict[str, dict[str, list[int]]]:
        """Language -> stems of a title -> entries; of languages that have stems."""
        out: dict[str, dict[str, list[int]]] = {}
        without = self.without_stems
        for i, (key, language) in enumerate(zip(self.keys, self.language, strict=True)):
            if language not in without:
                out.setdefault(language, defaultdict(list))[_stemmed(key, language)].append(i)
        return out

    @cached_property
    def without_stems(self) -> dict[str, int]:
        """Language that no stemmer knows ("" and "und": not said) -> entries that the stage stem never finds.

        Raises:
            ImportError: stems without the package.
        """
        count = Counter(self.language)
        return {name: n for name, n in count.most_common() if not name or not has_stemmer(name)}

    def match(self, texts: Sequence[str], stages: Sequence[str] = STAGES, least_score: float = 0.75) -> Matches:
        """Each text by the first of ``stages`` that finds it.

        Args:
            least_score: of the stage tokens; the entries with the best score count.

        Raises:
            ImportError: stems without the package.
        """
        keys = [plain_title(text) for text in texts]
        stage, score = np.full(len(keys), NO_MATCH, dtype=np.int64), np.zeros(len(keys))
        found: list[list[int]] = [[] for _ in keys]
        for i, key in enumerate(keys):
            if "exact" in stages and key in self._exact:
                stage[i], score[i], found[i] = STAGES.index("exact"), 1.0, self._exact[key]
            elif "stem" in stages and key:
                own = [j for lang, stems in self._stems.items() for j in stems.get(_stemmed(key, lang), ())]
                if own:
                    stage[i], score[i], found[i] = STAGES.index("stem"), 1.0, own
        left = [i for i in np.flatnonzero(stage == NO_MATCH).tolist() if keys[i]]
        if "tokens" in stages and left and len(self):
            for i, best, own in zip(left, *self._by_words([keys[i] for i in left]), strict=True):
                if best >= least_score:
                    stage[i], score[i], found[i] = STAGES.index("tokens"), best, own
        return Matches(stage, score, found)

    def _by_words(self, keys: Sequence[str]) -> tuple[list[float], list[list[int]]]:
        """The best weighted Jaccard similarity of each text with an entry, and the entries that have it."""
        rows, strange = self._rows(keys)
        entries, idf, size = self._entries
        shared = (rows.multiply(idf).tocsr() @ entries).tocsr()
        own = np.asarray(rows @ idf, dtype=np.float64) + strange * np.log1p(len(self))  # an unknown word is a rare one
        best: list[float] = []
        found: list[list[int]] = []
        for i in range(len(keys)):
            part = slice(shared.indptr[i], shared.indptr[i + 1])
            column, both = shared.indices[part], shared.data[part].astype(np.float64)
            if not len(column):
                best.append(0.0)
                found.append([])
                continue
            score = both / (own[i] + size[column] - both)
            most = score.max()
            best.append(min(float(most), 1.0))
            found.append(np.sort(column[score >= most - 1e-6]).tolist())
        return best, found

    def counts(self, entries: Sequence[int]) -> dict[int, float]:
        """Node -> count of some entries together, most frequent first."""
        total: Counter[int] = Counter()
        for i in entries:
            part = slice(self.codes.indptr[i], self.codes.indptr[i + 1])
            for node, weight in zip(self.codes.nodes[part].tolist(), self.codes.weights[part].tolist(), strict=True):
                total[node] += weight
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def leaf_shares(self, entries: Sequence[int]) -> Float64:
        """(L,) shares of the leaves: those of the codes, an inner one spread evenly over the leaves under it."""
        out = np.zeros(self.taxonomy.num_leaves)
        for node, count in self.counts(entries).items():
            start, stop = self.taxonomy.leaf_slice[node]
            out[start:stop] += count / (stop - start)
        return out / out.sum()

    def says(self, entries: Sequence[int], score: float) -> str:
        """For people: ``registered nurse -> 2221 (0.75), 3221 (0.25)``, and the score where it is not 1."""
        counts = self.counts(entries)
        total = sum(counts.values())
        codes = [(self.taxonomy.codes[node], count / total) for node, count in counts.items()]
        named = codes[0][0] if len(codes) == 1 else ", ".join(f"{code} ({share:.2f})" for code, share in codes[:5])
        more = f" and {len(codes) - 5} more" if len(codes) > 5 else ""
        others = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
        like = "" if score >= 1 - 1e-9 else f" ({score:.2f})"
        return f"{self.titles[entries[0]]}{others}{like} -> {named}{more}"

    # ------------------------------------------------------------------ storage

    def write(self, path: Path) -> None:
        """CSV: title, language, code, count; a line for each code of an entry."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["title", "language", "code", "count"])
        cells = zip(self.codes.row.tolist(), self.codes.nodes.tolist(), self.codes.weights.tolist(), strict=True)
        writer.writerows([self.titles[i], self.language[i], self.taxonomy.codes[node], w] for i, node, w in cells)
        path.write_text(out.getvalue(), encoding="utf-8", newline="\n")

    @classmethod
    def read(cls, path: Path, taxonomy: Taxonomy) -> Self:
        """Of :meth:`write`. Raises KeyError, ValueError where it is none."""
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        texts, language = [line["title"] for line in lines], [line["language"] for line in lines]
        gold, weight = taxonomy.encode([line["code"] for line in lines]), np.array([float(x["count"]) for x in lines])
        return cls.build(taxonomy, texts, gold, weight, language)


def _stemmed(key: str, language: str) -> str:
    return " ".join(map(make_stemmer(language), key.split()))


def lead_of(texts: Sequence[str], first_line: bool) -> list[str]:
    """What is looked up of texts: their first lines, or all of them."""
    return [lead(text) if first_line else text for text in texts]
