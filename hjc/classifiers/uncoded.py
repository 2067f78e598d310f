"""What a model of ads learns from ads without codes, and when it does not.

* names: an ad whose title is a name of one code, word for word, is trained on with that code. The title says the code
  already; the body says how employers write of such work, and such ads say which codes are usual;
* background: the mean probability of a code among the ads, which all of them look like a little;
* self-training: the surest ads of every code are trained on as if the code were right (Lee 2013; balanced by code as in
  Zou et al. 2018).

The last two are kept only where they make coded ads more probable, by more than chance; names are undone where these
become less probable by more than chance. Without coded ads only names are learnt from: of such titles nine in ten were
right in our study, of the codes that the model is surest of two in three, and whether title and body agree tells
nothing of being right.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hjc.arrays import Float32, Float64, FloatArray, IntArray
from hjc.classifiers.ads_settings import AdsSettings
from hjc.classifiers.evidence import CRITICAL, LEAST, clustered
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.read_rows import ReadRows
from hjc.classifiers.title_index import plain_title
from hjc.classifiers.treemath import chunks, gold_log_proba
from hjc.data.jobdata import JobData
from hjc.rerank.ads import AD, NOTHING, TITLE, Ad, read_ad
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

#: of the uncoded ads so many are looked at, and this share is held back to see whether title and body agree
MOST_UNLABELLED, HELD_BACK = 50_000, 0.2
#: title and body are compared at the level that has about so many codes
AGREE_NODES = 100
ROWS = 2048
#: of uncoded ads that are trained on: their codes are guesses, and no coded ads are weighed by them
SOURCE = "ads without codes"


def surest(code: IntArray, sure: Float64, share: float) -> IntArray:
    """Ascending positions of the surest share of the rows of each code (n,), at least one of each."""
    order = np.lexsort((-sure, code))
    start = np.r_[True, code[order][1:] != code[order][:-1]]
    number = np.cumsum(start) - 1
    rank = np.arange(len(order)) - np.flatnonzero(start)[number]
    size = np.bincount(number)[number]
    return np.sort(order[rank < np.maximum(1, np.floor(share * size))])


def agreement_level(taxonomy: Taxonomy) -> int:
    """The level whose number of codes is nearest to :data:`AGREE_NODES`, in ratio."""
    sizes = [len(taxonomy.level_nodes(d)) for d in range(1, taxonomy.depth + 1)]
    return 1 + int(np.abs(np.log(np.array(sizes) / AGREE_NODES)).argmin())


def named(ads: Sequence[Ad], rows: ReadRows) -> tuple[IntArray, IntArray]:
    """Ads whose title is the whole of a training row, all such rows having one code: positions and nodes."""
    codes: dict[str, set[int]] = {}
    own = rows.take(rows.are(TITLE))
    for ad, gold in zip(own.ads, own.data.gold.tolist(), strict=True):
        codes.setdefault(plain_title(ad.title), set()).add(gold)
    found = [codes.get(plain_title(ad.title), set()) if ad.title else set() for ad in ads]
    at = [i for i, nodes in enumerate(found) if len(nodes) == 1]
    return np.array(at, dtype=np.int64), np.array([min(found[i]) for i in at], dtype=np.int64)


@dataclass
class Uncoded:
    """A model of ads that learns from ads without codes: what it is before :meth:`learn`, and after it.

    ``combined(ads, linear, background)`` gives (B, L) log-probabilities by a linear model and a background;
    ``rounds`` has a line for each thing that was tried.
    """

    taxonomy: Taxonomy
    settings: AdsSettings
    linear: LinearClassifier
    background: Float32
    combined: Callable[[Sequence[Ad], LinearClassifier, Float32], FloatArray]
    train: ReadRows
    coded: ReadRows | None = None
    texts: Sequence[str] = ()
    ads: Sequence[Ad] = ()
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        texts = list(dict.fromkeys(self.texts))
        if len(texts) > MOST_UNLABELLED:
            drawn = np.random.default_rng(self.settings.seed).choice(len(texts), MOST_UNLABELLED, replace=False)
            texts = [texts[i] for i in np.sort(drawn).tolist()]
        known = set(self.train.ads)  # what trains has its code already
        ads = (ad for ad in map(read_ad, texts) if ad not in known)
        self.ads = [ad for ad in ads if ad.kind != NOTHING and not ad.note]
        if self.coded is not None and len(self.coded) < max(self.settings.least_validation, LEAST):
            self.coded = None

    @property
    def by_names_alone(self) -> bool:
        """Nothing tells whether more than names would help."""
        return self.settings.unlabelled_stop == "auto" and self.coded is None

    def learn_names(self) -> None:
        """Ads whose title is a name are rows to train on, for a linear model that is not fitted yet."""
        if not self.ads:
            return
        count = 0
        if self.settings.self_names and (count := len((found := named(self.ads, self.train))[0])):
            self.train = self._more(self.ads, *found)
            self.rounds.append({"how": "names", "rows": count, "kept": True})
        logger.warning(
            "of %s ads without codes only those are learnt from whose title is the name of one code (%s): without %d "
            "coded validation ads nothing tells whether the others help, and they cost as often; "
            "model.unlabelled_stop=agreement or never learns from all the same",
            f"{len(self.ads):,}", f"{count:,}", self.settings.least_validation,
        )  # fmt: skip

    def learn(self) -> None:
        """Names, background and rounds of self-training, each kept where it helps."""
        settings, rng = self.settings, np.random.default_rng(self.settings.seed)
        ads, held = list(self.ads), list[Ad]()
        if not ads:
            return
        if self.coded is None:
            out = rng.random(len(ads)) < HELD_BACK
            ads, held = (
                [ad for ad, is_out in zip(ads, out.tolist(), strict=True) if is_out == side] for side in (0, 1)
            )
        worth = self._worth(held)
        if settings.self_names and len((found := named(ads, self.train))[0]):
            worth = self._try("names", *self._with(ads, *found), worth, held)
        if settings.balance:
            worth = self._try("background", self.train, self.linear, ads, 0, worth, held)
        for _ in range(settings.self_training):
            rows, linear, learnt, count = self._with(ads, *self._surest(ads))
            worth = self._try("surest", rows, linear, learnt, count, worth, held)

    def _with(self, ads: Sequence[Ad], at: IntArray, nodes: IntArray) -> tuple[ReadRows, LinearClassifier, Any, int]:
        """Training rows with some ads more, and a linear model of them."""
        rows, linear = self._more(ads, at, nodes), LinearClassifier(self.taxonomy, self.settings.linear_settings())
        linear.fit(rows.data)
        return rows, linear, ads, len(at)

    def _more(self, ads: Sequence[Ad], at: IntArray, nodes: IntArray) -> ReadRows:
        """Training rows with some ads more."""
        some, data = tuple(ads[i] for i in at.tolist()), self.train.data
        least = float(data.weight.min()) if len(data) else 1.0
        more = JobData(self.taxonomy, tuple(ad.text for ad in some), nodes, source=(SOURCE,) * len(some))
        more = replace(more, weight=np.full(len(more), least or 1.0, dtype=np.float32))
        return ReadRows(JobData.concat([data, more]), (*self.train.ads, *some))

    def _try(
        self, how: str, rows: ReadRows, linear: LinearClassifier, ads: Sequence[Ad], count: int,
        before: tuple[str, Float64], held: Sequence[Ad],
    ) -> tuple[str, Float64]:  # fmt: skip
        """Keep a step where it helps; how good the model is after it."""
        earlier = self.linear, self.background
        self.linear = linear
        if how == "background" or self.background.any():
            self.background = self._mean(ads)
        after = self._worth(held)
        means = [round(float(values.mean()), 4) for _, values in (before, after)]
        coded = self.coded
        groups = np.arange(len(after[1])) if coded is None or coded.data.group is None else coded.data.group
        # codes of names are mostly right: they are kept unless that surely costs; all else has to help surely
        least = -CRITICAL if how == "names" else CRITICAL
        surely = coded is None or clustered(after[1] - before[1], groups) > least
        enough = how == "names" or means[1] >= means[0]
        kept = bool(surely and enough) or self.settings.unlabelled_stop == "never"
        if how == "names" and kept:
            self.train = rows
        if not kept:
            self.linear, self.background = earlier
        line = {"how": how, "rows": count, "measure": after[0], "before": means[0], "after": means[1], "kept": kept}
        self.rounds.append(line)
        return after if kept else before

    def _mean(self, ads: Sequence[Ad]) -> Float32:
        """(L,) log of the mean probability of each leaf among ads, by what the model says without a background."""
        none, total = np.zeros_like(self.background), np.zeros(self.taxonomy.num_leaves)
        for _, part in chunks(ads, ROWS):
            total += np.exp(self.combined(part, self.linear, none)).sum(axis=0, dtype=np.float64)
        return np.log(np.maximum(total / len(ads), 1e-9)).astype(np.float32)

    def _surest(self, ads: Sequence[Ad]) -> tuple[IntArray, IntArray]:
        """Of the ads of each code the surest share, at least one: positions and nodes."""
        leaf, sure = np.empty(len(ads), dtype=np.int64), np.empty(len(ads))
        for at, part in chunks(ads, ROWS):
            found = self.combined(part, self.linear, self.background)
            leaf[at], sure[at] = found.argmax(axis=1), found.max(axis=1)
        chosen = surest(leaf, sure, self.settings.self_share)
        return chosen, self.taxonomy.leaves[leaf[chosen]]

    def _worth(self, held: Sequence[Ad]) -> tuple[str, Float64]:
        """How good the model is on each of some rows, the more the better: ln P(code) of coded ads, else whether title
        and body of uncoded ads that were not trained on have the same code."""
        if self.coded is not None:
            log_proba = self.combined(self.coded.ads, self.linear, self.background)
            gold = self.taxonomy.leaf_slice[self.coded.data.gold]
            return "log-likelihood of coded ads", gold_log_proba(log_proba, gold)
        if not (both := [ad for ad in held if ad.kind == AD]):
            return "nothing to measure", np.zeros(1)
        level = agreement_level(self.taxonomy)
        codes = [
            self.taxonomy.aggregate(self.linear.leaf_log_proba(texts), level).argmax(axis=1)
            for texts in ([ad.title for ad in both], [Ad(body=ad.body).text for ad in both])
        ]
        return f"agreement of title and body at level {level}", (codes[0] == codes[1]).astype(np.float64)
