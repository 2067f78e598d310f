"""AdsClassifier: title and body of an ad as pieces of evidence; it learns from titles, descriptions, ads, uncoded ads.

Each text is read by :func:`hjc.rerank.ads.read_ad`. One linear model learns from titles, and from titles with what
describes the work below them; it is asked three times: for the title, for the body, and for both. With the log-
probabilities of further models (``parts``) these are combined,

    P(code | ad) ~ prod_k P_k(code)^w_k / m(code)^balance

with weights w >= 0 that are fitted on coded ads: validation rows, and where these are few also training rows of the
same source, coded by models that have not seen them. The body gets a weight only where that is shown to help
(:mod:`hjc.classifiers.evidence`). Without coded ads the whole ad is taken where training texts had bodies, else the
title alone. An ad without a title has its body alone, one without a body its title.

From ads without codes (``data.unlabelled``) it learns twice: m(code), the mean probability of a code among them, and by
self-training: the surest ads of every code are trained on as if the code were right (Lee 2013; balanced by code as in
Zou et al. 2018). Labels cannot be checked there, so each is kept only where it makes coded ads more probable, by more
than chance. Without coded ads uncoded ones are not learnt from unless that is asked for: whether title and body agree
tells nothing of being right.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import BoolArray, Float32, Float64, FloatArray, IntArray
from hjc.classifiers import read_classifier
from hjc.classifiers.ads_settings import AdsSettings
from hjc.classifiers.base import Classifier
from hjc.classifiers.evidence import CRITICAL, LEAST, clustered, combination, folds_of, weigh
from hjc.classifiers.fitting import check_rows, check_tree, draw
from hjc.classifiers.hybrid import most_rows
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.storage import ModelDir, load_arrays, save_arrays
from hjc.classifiers.treemath import chunks, gold_log_proba, log_softmax
from hjc.classifiers.uncoded import HELD_BACK, MOST_UNLABELLED, agreement_level, surest
from hjc.classifiers.vectors import TF_IDF, TextVectors
from hjc.data.jobdata import JobData
from hjc.rerank.ads import AD, BODY, NOTHING, TITLE, Ad, jobs_of, read_ad
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

#: pieces of evidence of the linear model
PIECES = ("title", "body", "whole")
WEIGHTS, LINEAR, PARTS = "evidence.safetensors", "linear", "parts"
PREDICT_ROWS = 2048
#: with fewer validation rows than this training rows help to weigh the pieces, as many as are lacking
ENOUGH = 500


@dataclass
class AdsFit:
    """What was done: ``weights`` of the pieces for ads with title and body, how they were found, and ``rounds``:
    round 0 is the background, the others self-training."""

    status: str = "finished"
    rows_with_body: int = 0
    weights: dict[str, float] = field(default_factory=dict)
    weights_from: str = ""
    #: of the ads that weights were fitted on, a line for each share of the way from the title alone to all pieces
    steps: list[dict[str, Any]] = field(default_factory=list)
    unlabelled: int = 0
    rounds: list[dict[str, Any]] = field(default_factory=list)


class AdsClassifier(Classifier):
    """See the module. ``parts``: further fitted classifiers; default: those of ``settings.parts``.

    Raises ValueError for a part of another tree, FileNotFoundError or ModelDirError for one that cannot be read.
    """

    name: ClassVar[str] = "ads"
    unlabelled: Sequence[str] = ()
    has_outcomes = True
    any_length = True
    has_vocabulary = True
    vector_space = TF_IDF

    def __init__(
        self, taxonomy: Taxonomy, settings: AdsSettings | None = None, parts: Sequence[Classifier] | None = None
    ) -> None:
        super().__init__(taxonomy)
        self.settings = settings or AdsSettings()
        self.linear = LinearClassifier(taxonomy, self.settings.linear_settings())
        self.parts = list(parts) if parts is not None else [read_classifier(p) for p in self.settings.parts]
        for number, part in enumerate(self.parts):
            if part.taxonomy != taxonomy:
                raise ValueError(
                    f"model.parts: part {number} ({part.name}) codes to {part.taxonomy!r}, this model to {taxonomy!r}; "
                    "all parts need the same tree"
                )
        n = len(PIECES) + len(self.parts)
        #: weight of each piece for ads with title and body, and for rows that have a title alone
        self.weights: Float64 = np.zeros(n)
        self.title_weights: Float64 = np.zeros(n)
        #: power of the linear model's probabilities where there is a body alone
        self.body_power = 1.0
        #: (L,) log of the mean probability of codes among uncoded ads, 0 without them
        self.background: Float32 = np.zeros(taxonomy.num_leaves, dtype=np.float32)

    @property
    def is_fitted(self) -> bool:
        return self.linear.is_fitted

    @property
    def parameters(self) -> Mapping[str, Any]:
        names = (*PIECES, *(part.name for part in self.parts))
        return {**asdict(self.settings), "weights": dict(zip(names, np.round(self.weights, 4).tolist(), strict=True))}

    # ------------------------------------------------------------------ fit

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit the linear model, learn from :attr:`unlabelled`, then weigh the pieces on validation rows.

        Raises ValueError as :class:`LinearClassifier` does; for validation rows of another tree.
        """
        check_rows("train", train, self.taxonomy)
        if valid is not None:
            check_tree("valid", valid, self.taxonomy)
        ads = [read_ad(text) for text in train.texts]
        texts = tuple(ad.text if ad.body else text for ad, text in zip(ads, train.texts, strict=True))
        train = replace(train, texts=texts)
        found = self.fit_result = AdsFit(rows_with_body=sum(ad.kind == AD for ad in ads))
        self.linear.fit(train)
        self._plain_weights(found)
        coded = None if valid is None else self._with_both(valid.labelled())
        if self.unlabelled:
            self._learn_unlabelled(train, coded, found)
        if coded is not None:
            self._weigh(coded, train, [ad.kind == AD for ad in ads], found)
        names = (*PIECES, *(f"part {i} ({part.name})" for i, part in enumerate(self.parts)))
        found.weights = dict(zip(names, np.round(self.weights, 4).tolist(), strict=True))
        return self

    def _plain_weights(self, found: AdsFit) -> None:
        """Without coded ads: the whole where training texts had bodies, else the title; each further part counts as
        much."""
        self.weights[:], self.title_weights[:], self.body_power = 0, 0, 1.0
        has_bodies = found.rows_with_body >= self.settings.least_bodies
        for weights, piece in ((self.weights, "whole" if has_bodies else "title"), (self.title_weights, "title")):
            used = [PIECES.index(piece), *range(len(PIECES), len(weights))]
            weights[used] = 1 / len(used)
        found.weights_from = "training texts had bodies" if has_bodies else "training texts had no bodies: title alone"

    def _with_both(self, rows: JobData) -> JobData:
        return rows.take(np.array([read_ad(text).kind == AD for text in rows.texts], dtype=bool))

    def _weigh(self, rows: JobData, train: JobData, is_ad: Sequence[bool], found: AdsFit) -> None:
        """Fit the weights on validation rows with title and body, and on training rows of their sources."""
        rows = rows.take(draw(len(rows), most_rows(self.taxonomy), self.settings.seed))
        parts = [(rows, self._pieces([read_ad(text) for text in rows.texts]))] if len(rows) else []
        if len(rows) < ENOUGH and self.settings.cross_fit > 1:
            parts += self._cross_fitted(rows, train, np.array(is_ad, dtype=bool), ENOUGH - len(rows))
        data = JobData.concat([part for part, _ in parts] or [rows])
        if len(data) < max(self.settings.least_validation, LEAST):
            return
        pieces = [np.concatenate(one) for one in zip(*(made for _, made in parts), strict=True)]
        titles = [0, *(k for k, part in enumerate(self.parts, len(PIECES)) if len(part.recipe.columns) < 2)]
        made = weigh(
            self.taxonomy, pieces, data.target, titles=titles, body=PIECES.index("body"), groups=data.group,
            seed=self.settings.seed,
        )  # fmt: skip
        self.weights, self.title_weights, self.body_power = made.weights, made.title, made.body
        found.weights_from = f"{len(data):,} coded ads with title and body; {made.line}"
        found.steps = made.table

    def _cross_fitted(
        self, valid: JobData, train: JobData, is_ad: BoolArray, most: int
    ) -> list[tuple[JobData, list[FloatArray]]]:
        """Training rows that are ads of the sources of the validation rows, at most so many, with their pieces by
        linear models of the other rows. None where there are parts: these may have seen them."""
        at = np.flatnonzero(is_ad & np.isin(np.array(train.source, dtype=object), list(set(valid.source))))
        at = at[draw(len(at), most, self.settings.seed)]
        fold = folds_of(at if train.group is None else train.group[at], self.settings.cross_fit, self.settings.seed)
        # ads of one group would all be left out at once, and too few are not weighed
        enough = fold.max(initial=0) > 0 and len(at) + len(valid) >= max(self.settings.least_validation, LEAST)
        out, whole = [], self.linear
        try:
            for f in range(fold.max() + 1 if enough and not self.parts else 0):
                rows = train.take(at[fold == f])
                self.linear = LinearClassifier(self.taxonomy, self.settings.linear_settings())
                self.linear.fit(train.take(np.delete(np.arange(len(train)), at[fold == f])))
                out.append((rows, self._pieces([read_ad(text) for text in rows.texts])))
        finally:
            self.linear = whole
        return out

    # ------------------------------------------------------------------ ads without codes

    def _learn_unlabelled(self, train: JobData, coded: JobData | None, found: AdsFit) -> None:
        settings, rng = self.settings, np.random.default_rng(self.settings.seed)
        texts = list(dict.fromkeys(self.unlabelled))
        if len(texts) > MOST_UNLABELLED:
            texts = [texts[i] for i in np.sort(rng.choice(len(texts), MOST_UNLABELLED, replace=False)).tolist()]
        ads = [ad for text in texts if (ad := read_ad(text)).kind != NOTHING and not ad.note]
        found.unlabelled = len(ads)
        checked = coded is not None and len(coded) >= max(settings.least_validation, LEAST)
        if settings.unlabelled_stop == "auto" and not checked:
            logger.warning(
                "%s ads without codes are not learnt from: without %d coded validation ads nothing tells whether that "
                "helps, and it costs as often; model.unlabelled_stop=agreement or never learns all the same",
                f"{len(ads):,}", settings.least_validation,
            )  # fmt: skip
        elif ads:
            held = rng.random(len(ads)) < HELD_BACK
            sides = [[ad for ad, out in zip(ads, held.tolist(), strict=True) if out == side] for side in (0, 1)]
            self._rounds(train, coded if checked else None, sides[0], sides[1], found)

    def _rounds(
        self, train: JobData, coded: JobData | None, learnt: Sequence[Ad], kept_back: Sequence[Ad], found: AdsFit
    ) -> None:
        """Background and rounds of self-training, each kept where it helps."""
        settings, before = self.settings, self._worth(coded, kept_back)
        for number in range(settings.self_training + 1):
            earlier = self.linear, self.background
            chosen = np.zeros(0, dtype=np.int64)
            if number:
                chosen, gold = self._surest(learnt)
                more = JobData(self.taxonomy, tuple(learnt[i].text for i in chosen.tolist()), gold)
                least = float(train.weight.min()) if len(train) else 1.0
                more = replace(more, weight=np.full(len(more), least or 1.0, dtype=np.float32))
                self.linear = LinearClassifier(self.taxonomy, settings.linear_settings())
                self.linear.fit(JobData.concat([train, more]))
            if self.background.any() or not number:
                self._set_background(learnt)
            after = self._worth(coded, kept_back)
            means = [round(float(values.mean()), 4) for _, values in (before, after)]
            groups = np.arange(len(after[1])) if coded is None or coded.group is None else coded.group
            surely = coded is None or clustered(after[1] - before[1], groups) > CRITICAL
            kept = bool(settings.unlabelled_stop == "never" or (surely and means[1] >= means[0]))
            line = {"round": number, "rows": len(chosen), "measure": after[0], "before": means[0], "after": means[1]}
            found.rounds.append(line | {"kept": kept})
            if kept:
                before = after
            else:
                self.linear, self.background = earlier

    def _set_background(self, ads: Sequence[Ad]) -> None:
        """Mean probability of each leaf among ads, by what the model says of them now."""
        self.background = np.zeros_like(self.background)
        if self.settings.balance:
            total = np.zeros(self.taxonomy.num_leaves)
            for _, part in chunks(ads, PREDICT_ROWS):
                total += np.exp(self._combined(part)).sum(axis=0, dtype=np.float64)
            self.background = np.log(np.maximum(total / len(ads), 1e-9)).astype(np.float32)

    def _surest(self, ads: Sequence[Ad]) -> tuple[IntArray, IntArray]:
        """Of the ads of each code the surest share, at least one: positions and nodes."""
        leaf, sure = np.empty(len(ads), dtype=np.int64), np.empty(len(ads))
        for at, part in chunks(ads, PREDICT_ROWS):
            found = self._combined(part)
            leaf[at], sure[at] = found.argmax(axis=1), found.max(axis=1)
        chosen = surest(leaf, sure, self.settings.self_share)
        return chosen, self.taxonomy.leaves[leaf[chosen]]

    def _worth(self, coded: JobData | None, held: Sequence[Ad]) -> tuple[str, Float64]:
        """How good the model is on each of some rows, the more the better: ln P(code) of coded ads, else whether title
        and body of uncoded ads that were not trained on have the same code."""
        if coded is not None:
            log_proba = self._combined([read_ad(text) for text in coded.texts])
            return "log-likelihood of coded ads", gold_log_proba(log_proba, self.taxonomy.leaf_slice[coded.gold])
        if not (both := [ad for ad in held if ad.kind == AD]):
            return "nothing to measure", np.zeros(1)
        level = agreement_level(self.taxonomy)
        codes = [
            self.taxonomy.aggregate(self.linear.leaf_log_proba(texts), level).argmax(axis=1)
            for texts in ([ad.title for ad in both], [Ad(body=ad.body).text for ad in both])
        ]
        return f"agreement of title and body at level {level}", (codes[0] == codes[1]).astype(np.float64)

    # ------------------------------------------------------------------ predict

    def _pieces(self, ads: Sequence[Ad], wanted: BoolArray | None = None) -> list[FloatArray]:
        """(B, L) log-probabilities of every piece of ads that have title and body; of pieces that are not ``wanted``
        an empty array."""
        texts = ([ad.title for ad in ads], [Ad(body=ad.body).text for ad in ads], [ad.text for ad in ads])
        wanted = np.ones(len(self.weights), dtype=bool) if wanted is None else wanted
        none = np.zeros((0, self.taxonomy.num_leaves), dtype=np.float32)
        found: list[FloatArray] = []
        for k, name in enumerate(PIECES):
            if not wanted[k]:
                found.append(none)
            elif name == "title":
                found.append(self._titles(texts[k]))
            else:
                found.append(self.linear.leaf_log_proba(texts[k]))
        for k, part in enumerate(self.parts, len(PIECES)):
            whole = len(part.recipe.columns) > 1
            found.append(part.leaf_log_proba(texts[2 if whole else 0]) if wanted[k] else none)
        return found

    def _titles(self, titles: Sequence[str]) -> FloatArray:
        """(B, L) of titles; of those that name several jobs the mean of the probabilities of each and of all."""
        found = self.linear.leaf_log_proba(titles)
        if self.settings.several_jobs:
            for i, title in enumerate(titles):
                if jobs := jobs_of(title):
                    each = np.exp(np.vstack([found[i], self.linear.leaf_log_proba(jobs)]))
                    found[i] = np.log(each.mean(axis=0))
        return found

    def _combined(self, ads: Sequence[Ad]) -> FloatArray:
        """(B, L) natural-log probabilities of ads of any kind."""
        out = np.empty((len(ads), self.taxonomy.num_leaves), dtype=np.float32)
        kinds = np.array([ad.kind for ad in ads], dtype=object)
        for kind in (TITLE, BODY, AD, NOTHING):
            if not len(at := np.flatnonzero(kinds == kind)):
                continue
            some = [ads[i] for i in at.tolist()]
            if kind == AD:
                found = self._weighted(some, self.weights)
            elif kind == TITLE:
                found = self._weighted(some, self.title_weights)
            else:
                found = self.linear.leaf_log_proba([ad.text if kind == BODY else "" for ad in some])
                if kind == BODY and self.body_power != 1:
                    found = combination(np.array([self.body_power]), out.shape[1]).log_proba([found])
            if kind != NOTHING and self.background.any():
                found = log_softmax(found - np.float32(self.settings.balance) * self.background)
            out[at] = found
        return out

    def _weighted(self, ads: Sequence[Ad], weights: Float64) -> Float32:
        """(B, L) of ads by pieces with these weights; a single piece of weight 1 as it is."""
        used = weights > 0
        pieces = [piece for piece, use in zip(self._pieces(ads, used), used.tolist(), strict=True) if use]
        if len(pieces) == 1 and weights[used][0] == 1:
            return pieces[0].astype(np.float32)
        return combination(weights[used], self.taxonomy.num_leaves).log_proba(pieces)

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class; 2,048 texts at a time."""
        self.check_fitted()
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            yield rows, self._combined([read_ad(text) for text in chunk])

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """Outcome: what the text was read as (title, ad, body, nothing); reason: several jobs, or why it is no ad."""
        self.check_fitted()
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            ads = [read_ad(text) for text in chunk]
            yield rows, self._combined(ads), [(ad.kind, _remark(ad)) for ad in ads]

    def oov_share(self, text: str) -> float:
        return self.linear.oov_share(read_ad(text).text)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """See the base class: of what is read."""
        return self.linear.text_vectors([read_ad(text).text for text in texts])

    # ------------------------------------------------------------------ persistence

    def stored_parameters(self) -> Mapping[str, Any]:
        return {**asdict(self.settings), "number_of_parts": len(self.parts)}

    def write_files(self, folder: Path) -> None:
        """The linear model and every part lie in the directory whole."""
        weights = {"weights": self.weights, "title_weights": self.title_weights}
        rest = {"background": self.background, "body_power": np.array([self.body_power])}
        save_arrays(folder / WEIGHTS, weights | rest)
        self.linear.save_pretrained(folder / LINEAR)
        for number, part in enumerate(self.parts):
            part.save_pretrained(folder / PARTS / str(number))

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        """The run directories that the parts came from are not needed."""
        count = model.parameters.get("number_of_parts")
        if not isinstance(count, int):
            raise ValueError("config.json does not say how many parts there are; save the model again")
        parts = [read_classifier(model.path / PARTS / str(number)) for number in range(count)]
        self = cls(model.taxonomy, model.settings(AdsSettings, but=("number_of_parts",)), parts)
        linear = read_classifier(model.path / LINEAR)
        if not isinstance(linear, LinearClassifier) or linear.taxonomy != model.taxonomy:
            raise ValueError(f"{LINEAR} holds no linear model of this tree")
        self.linear = linear
        arrays = load_arrays(model.file(WEIGHTS))
        self._plain_weights(AdsFit())  # directories of before have no weights of titles: those
        titles, power = arrays.get("title_weights", self.title_weights), arrays.get("body_power", np.ones(1))
        weights, background = arrays["weights"], arrays["background"]
        if not weights.shape == titles.shape == self.weights.shape or background.shape != self.background.shape:
            raise ValueError(f"{WEIGHTS}: weights {weights.shape} do not fit {count} parts and the taxonomy")
        for numbers in (weights, titles, power):
            if not (np.isfinite(numbers).all() and (numbers >= 0).all() and numbers.any()):
                raise ValueError(f"{WEIGHTS}: holds weights that are no numbers from 0; train the model again")
        if not np.isfinite(background).all() or power.shape != (1,):
            raise ValueError(f"{WEIGHTS}: holds what is no number; train the model again")
        self.weights, self.title_weights = weights.astype(np.float64), titles.astype(np.float64)
        self.background, self.body_power = background.astype(np.float32), float(power[0])
        return self


def _remark(ad: Ad) -> str:
    several = f"several jobs: {'; '.join(jobs)}" if ad.title and (jobs := jobs_of(ad.title)) else ""
    return "; ".join(part for part in (ad.note, several) if part)
