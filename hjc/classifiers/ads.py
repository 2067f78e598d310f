"""AdsClassifier: title and body of an ad as pieces of evidence; it learns from titles, descriptions, ads, uncoded ads.

Each text is read by :func:`hjc.rerank.ads.read_ad`. One linear model learns from titles, and from titles with what
describes the work below them; it is asked three times: for the title, for the body, and for both. With what further
models (``parts``) say, and with the names near the title where these have an encoder
(:mod:`hjc.classifiers.part_pieces`), these are combined,

    P(code | ad) ~ prod_k P_k(code)^w_k * exp(b(code)) / m(code)^balance

with weights w >= 0 that are fitted on coded ads: validation rows, and where these are few also training rows of the
same source, coded by models that have not seen them. The body gets a weight only where that is shown to help
(:mod:`hjc.classifiers.evidence`). b says how usual codes are, from coded ads that trained
(:mod:`hjc.classifiers.usual`). Without coded ads the whole ad is taken where training texts had bodies, with a little
more of the body, else the title alone; with a few coded ads these weights are the first guess. An ad without a title
has its body alone, one without a body its title. A part may code to a coarser tree with the same codes.

From ads without codes (``data.unlabelled``) it learns as :mod:`hjc.classifiers.uncoded` says; m(code) is the mean
probability of a code among them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import Float32, Float64, FloatArray, IntArray
from hjc.classifiers import read_classifier
from hjc.classifiers.ads_remarks import TOLD, Jobs, remarks, with_jobs
from hjc.classifiers.ads_settings import AdsFit, AdsSettings
from hjc.classifiers.base import Classifier
from hjc.classifiers.body_languages import learnt_languages, read_known
from hjc.classifiers.combine import folds_of
from hjc.classifiers.evidence import LEAST, combination, weigh
from hjc.classifiers.fitting import check_rows, check_tree, draw
from hjc.classifiers.hybrid import most_rows
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.part_pieces import NEAR_FILE, PartPieces
from hjc.classifiers.read_rows import ReadRows
from hjc.classifiers.storage import ModelDir, load_arrays, save_arrays
from hjc.classifiers.treemath import chunks, log_softmax
from hjc.classifiers.uncoded import Uncoded
from hjc.classifiers.usual import fit_usual
from hjc.classifiers.vectors import TF_IDF, TextVectors
from hjc.data.jobdata import JobData
from hjc.rerank.ads import AD, BODY, NOTHING, TITLE, Ad, read_ad
from hjc.taxonomy import Taxonomy

#: pieces of evidence of the linear model
PIECES = ("title", "body", "whole")
WEIGHTS, LINEAR, PARTS = "evidence.safetensors", "linear", "parts"
PREDICT_ROWS = 2048
#: bodies that trained whose language is looked at
MOST_BODIES = 5000
#: with fewer validation rows than this training rows help to weigh the pieces, as many as are lacking
ENOUGH = 500
#: without coded ads: powers of the whole ad and of its body, and that of a part of a coarser tree
WHOLE, BODY_TOO, COARSER = 0.95, 0.15, 0.2


class AdsClassifier(Classifier):
    """See the module. ``parts``: further fitted classifiers; default: those of ``settings.parts``.

    Raises ValueError for a part of another tree, FileNotFoundError or ModelDirError for one that cannot be read.
    """

    name: ClassVar[str] = "ads"
    unlabelled: Sequence[str] = ()
    has_outcomes = True
    told = TOLD
    any_length = True
    has_vocabulary = True
    vector_space = TF_IDF

    def __init__(
        self, taxonomy: Taxonomy, settings: AdsSettings | None = None, parts: Sequence[Classifier] | None = None
    ) -> None:
        super().__init__(taxonomy)
        self.settings = settings or AdsSettings()
        self.linear = LinearClassifier(taxonomy, self.settings.linear_settings())
        read = list(parts) if parts is not None else [read_classifier(p) for p in self.settings.parts]
        self.more = PartPieces(taxonomy, read)
        #: weight of each piece for ads with title and body, and for rows that have a title alone
        self.weights: Float64 = np.zeros(len(PIECES) + len(read))
        self.title_weights: Float64 = np.zeros(len(PIECES) + len(read))
        #: power of the linear model's probabilities where there is a body alone
        self.body_power = 1.0
        #: (L,) log of the mean probability of codes among uncoded ads, 0 without them
        self.background: Float32 = np.zeros(taxonomy.num_leaves, dtype=np.float32)
        #: (L,) added for how usual codes are among coded ads
        self.offsets: Float32 = np.zeros(taxonomy.num_leaves, dtype=np.float32)
        #: bodies that are surely in another language than these are not read; (): all are read
        self.body_languages: tuple[str, ...] = ()

    @property
    def parts(self) -> list[Classifier]:
        """Further fitted classifiers."""
        return self.more.parts

    def models_inside(self) -> list[Classifier]:
        return self.parts

    @property
    def is_fitted(self) -> bool:
        return self.linear.is_fitted

    @property
    def parameters(self) -> Mapping[str, Any]:
        names = (*PIECES, *self.more.names)
        return {**asdict(self.settings), "weights": dict(zip(names, np.round(self.weights, 4).tolist(), strict=True))}

    # ------------------------------------------------------------------ fit

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit the linear model, learn from :attr:`unlabelled`, then weigh the pieces on validation rows.

        Raises ValueError as :class:`LinearClassifier` does; for validation rows of another tree.
        """
        check_rows("train", train, self.taxonomy)
        if valid is not None:
            check_tree("valid", valid, self.taxonomy)
        self.background, self.offsets = np.zeros_like(self.background), np.zeros_like(self.offsets)
        self.body_languages, self.cross_fitted = (), None
        read = ReadRows.of(train)
        texts = tuple(ad.text if ad.body else text for ad, text in zip(read.ads, train.texts, strict=True))
        read = replace(read, data=replace(train, texts=texts))
        found = self.fit_result = AdsFit(rows_with_body=int(read.are(AD).sum()))
        coded = None if valid is None else ReadRows.of(valid.labelled())
        learner = self._learner(read, coded)
        if learner.by_names_alone:
            learner.learn_names()
            read = learner.train
            found.rows_with_body = int(read.are(AD).sum())
        self.linear.fit(read.data)
        # an encoder that reads whole ads may know other languages
        if all(len(part.recipe.columns) < 2 for part in self.parts):
            bodies = read.take(read.are(AD, BODY))
            looked_at = (bodies.ads[i].body for i in draw(len(bodies), MOST_BODIES, 0).tolist())
            self.body_languages = learnt_languages(looked_at, bodies.data.language)
        self._place(read)
        self._plain_weights(found)
        if not learner.by_names_alone:
            learner.learn()
            self.linear, self.background, read = learner.linear, learner.background, learner.train
            self._place(read)
        found.unlabelled, found.rounds = len(learner.ads), learner.rounds
        if coded is not None:
            self._weigh(coded, read, train.texts, found)
        self.more.forget()
        found.weights = dict(zip((*PIECES, *self.more.names), np.round(self.weights, 4).tolist(), strict=True))
        return self

    def _place(self, rows: ReadRows) -> None:
        """Titles of training rows in the space of the parts."""
        self.more.place(rows, self.settings.near_names, self.settings.seed)

    def _plain_weights(self, found: AdsFit) -> None:
        """Without coded ads: the whole and a little of the body where training texts had bodies, else the title; each
        further piece counts as much, a part of a coarser tree less."""
        n = len(PIECES) + len(self.more)
        self.weights, self.title_weights, self.body_power = np.zeros(n), np.zeros(n), 1.0
        has_bodies = found.rows_with_body >= self.settings.least_bodies
        powers = self.more.powers(COARSER)
        own = 1 / (1 + (powers == 1).sum())
        for weights, piece in ((self.weights, "whole" if has_bodies else "title"), (self.title_weights, "title")):
            weights[len(PIECES) :] = own * powers
            weights[PIECES.index(piece)] = own
            if piece == "whole":
                weights[PIECES.index("whole")], weights[PIECES.index("body")] = WHOLE * own, BODY_TOO * own
        found.weights_from = "training texts had bodies" if has_bodies else "training texts had no bodies: title alone"

    def _weigh(self, coded: ReadRows, train: ReadRows, given: Sequence[str], fit: AdsFit) -> None:
        """Fit the weights on validation rows with title and body, and on training rows of their sources; then how
        usual codes are, on the latter. ``given``: texts of training rows, as they came."""
        rows = coded.take(coded.are(AD))
        rows = rows.take(draw(len(rows), most_rows(self.taxonomy), self.settings.seed))
        crossed: list[tuple[IntArray, ReadRows, list[FloatArray]]] = []
        if len(rows) < ENOUGH and self.settings.cross_fit > 1:
            crossed = self._cross_fitted(coded, train, ENOUGH - len(rows))
        parts = [(rows, self._pieces(rows.ads))] if len(rows) else []
        for _, more, made in crossed:
            both = more.are(AD)
            parts.append((more.take(both), [piece[both] for piece in made]))
        if sum(len(part) for part, _ in parts) >= max(self.settings.least_validation, LEAST):
            data = JobData.concat([part.data for part, _ in parts])
            self._fit_weights(data, [np.concatenate(p) for p in zip(*(m for _, m in parts), strict=True)], train, fit)
        if crossed:
            at = np.concatenate([at for at, *_ in crossed])
            data = train.take(at).data
            log_proba = [np.where(more.are(AD)[:, None], *self._both_ways(found)) for _, more, found in crossed]
            usual = fit_usual(
                self.taxonomy, np.concatenate(log_proba), data.target, data.group, seed=self.settings.seed
            )  # fmt: skip
            self.offsets, fit.usual = usual.offsets, usual.table
            # offsets make the very rows that they are fitted on look better than rows to come
            if self.settings.cross_calibrate and not self.offsets.any():
                data = replace(data, texts=tuple(given[i] for i in at.tolist()))
                self.cross_fitted, fit.cross_fitted = (data, self._moved(np.concatenate(log_proba))), len(data)

    def _fit_weights(self, data: JobData, pieces: Sequence[FloatArray], train: ReadRows, found: AdsFit) -> None:
        titles = [0, *(len(PIECES) + k for k in self.more.of_title)]
        # bodies that trained, other than those of coded ads, have shown what bodies say: then that is the first guess
        others = train.are(AD) & ~np.isin(np.array(train.data.source, dtype=object), list(set(data.source)))
        first = (self.weights, self.title_weights) if others.sum() >= self.settings.least_bodies else None
        made = weigh(
            self.taxonomy, pieces, data.target, titles=titles, body=PIECES.index("body"), groups=data.group,
            seed=self.settings.seed, first=first,
        )  # fmt: skip
        self.weights, self.title_weights, self.body_power = made.weights, made.title, made.body
        found.weights_from = f"{len(data):,} coded ads with title and body; {made.line}"
        found.steps = made.table

    def _both_ways(self, pieces: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """(B, L) of rows by the weights of ads, and by those of titles alone."""
        return self._joined(pieces, self.weights), self._joined(pieces, self.title_weights)

    def _cross_fitted(
        self, valid: ReadRows, train: ReadRows, most: int
    ) -> list[tuple[IntArray, ReadRows, list[FloatArray]]]:
        """Training rows of the sources of the validation rows, at most so many: which they are, and their pieces by
        linear models of the others. None where no ad validates, and where there are parts that may have seen them."""
        sources = np.isin(np.array(train.data.source, dtype=object), list(set(valid.data.source)))
        at = np.flatnonzero(train.are(AD, TITLE) & sources & valid.are(AD).any())
        at = at[draw(len(at), most, self.settings.seed)]
        group = train.data.group
        fold = folds_of(at if group is None else group[at], self.settings.cross_fit, self.settings.seed)
        # ads of one group would all be left out at once, and too few are not weighed
        enough = fold.max(initial=0) > 0 and len(at) + len(valid) >= max(self.settings.least_validation, LEAST)
        out, whole, near = [], self.linear, self.more.near
        try:
            for f in range(fold.max() + 1 if enough and (self.settings.unseen_by_parts or not self.parts) else 0):
                rows, others = train.take(at[fold == f]), train.take(np.delete(np.arange(len(train)), at[fold == f]))
                self.linear = LinearClassifier(self.taxonomy, self.settings.linear_settings())
                self.linear.fit(others.data)
                self._place(others)
                out.append((at[fold == f], rows, self._pieces(rows.ads)))
        finally:
            self.linear, self.more.near = whole, near
        return out

    def _learner(self, train: ReadRows, coded: ReadRows | None) -> Uncoded:
        """What learns from :attr:`unlabelled`, asking this model what it says of ads."""

        def combined(ads: Sequence[Ad], linear: LinearClassifier, background: Float32) -> FloatArray:
            self.linear, self.background = linear, background
            return self._combined(ads)

        both = None if coded is None else coded.take(coded.are(AD))
        return Uncoded(
            self.taxonomy, self.settings, self.linear, self.background, combined, train, both, tuple(self.unlabelled)
        )  # fmt: skip

    # ------------------------------------------------------------------ predict

    def _pieces(self, ads: Sequence[Ad]) -> list[FloatArray]:
        """(B, L) log-probabilities of every piece of ads that have title and body."""
        return [self._piece(k, ads, self._jobs()) for k in range(len(self.weights))]

    def _jobs(self) -> Jobs:
        return Jobs(self.linear.leaf_log_proba)

    def _piece(self, k: int, ads: Sequence[Ad], jobs: Jobs) -> FloatArray:
        """(B, L) log-probabilities of one piece."""
        if k < len(PIECES):
            if PIECES[k] == "title":
                return self._titles([ad.title for ad in ads], jobs)
            return self.linear.leaf_log_proba([(Ad(body=ad.body) if PIECES[k] == "body" else ad).text for ad in ads])
        return self.more.piece(k - len(PIECES), ads)

    def _titles(self, titles: Sequence[str], jobs: Jobs) -> FloatArray:
        """(B, L) of titles; of those that name several jobs the mean of the probabilities of each and of all."""
        found = self.linear.leaf_log_proba(titles)
        return with_jobs(found, jobs.of(titles), jobs.ask) if self.settings.several_jobs else found

    def _combined(self, ads: Sequence[Ad], jobs: Jobs | None = None) -> FloatArray:
        """(B, L) natural-log probabilities of ads of any kind."""
        jobs = jobs or self._jobs()
        out = np.empty((len(ads), self.taxonomy.num_leaves), dtype=np.float32)
        kinds = np.array([ad.kind for ad in ads], dtype=object)
        for kind in (TITLE, BODY, AD, NOTHING):
            if not len(at := np.flatnonzero(kinds == kind)):
                continue
            some = [ads[i] for i in at.tolist()]
            if kind == AD:
                found = self._weighted(some, self.weights, jobs)
            elif kind == TITLE:
                found = self._weighted(some, self.title_weights, jobs)
            else:
                found = self.linear.leaf_log_proba([ad.text if kind == BODY else "" for ad in some])
                if kind == BODY and self.body_power != 1:
                    found = combination(np.array([self.body_power]), out.shape[1]).log_proba([found])
            out[at] = found if kind == NOTHING else self._moved(found)
        return out

    def _moved(self, found: FloatArray) -> FloatArray:
        """(B, L) with how usual codes are, and without what every ad looks like a little."""
        if not (self.background.any() or self.offsets.any()):
            return found
        return log_softmax(found + self.offsets - np.float32(self.settings.balance) * self.background)

    def _weighted(self, ads: Sequence[Ad], weights: Float64, jobs: Jobs) -> Float32:
        """(B, L) of ads by the pieces that have a weight."""
        used = np.flatnonzero(weights > 0)
        return self._joined([self._piece(k, ads, jobs) for k in used.tolist()], weights[used])

    def _joined(self, pieces: Sequence[FloatArray], weights: Float64) -> Float32:
        """(B, L) of pieces, those of weight 0 not looked at; a single one of weight 1 as it is."""
        used = np.flatnonzero(weights > 0).tolist()
        some = [pieces[k] for k in used]
        if len(used) == 1 and weights[used[0]] == 1:
            return some[0].astype(np.float32)
        return combination(weights[used], self.taxonomy.num_leaves).log_proba(some)

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class; 2,048 texts at a time."""
        self.check_fitted()
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            yield rows, self._combined([read_known(text, self.body_languages) for text in chunk])

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """Outcome: what the text was read as (title, ad, body, nothing); reason: several jobs, why it is no ad, or why
        its body was not read."""
        self.check_fitted()
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            ads, jobs = [read_known(text, self.body_languages) for text in chunk], self._jobs()
            found = self._combined(ads, jobs)
            kinds = [ad.kind for ad in ads]
            yield rows, found, list(zip(kinds, remarks(ads, found, self.linear, jobs), strict=True))

    def calibrated_by(self, valid: JobData) -> bool:
        """Names that were held back are easier than ads: by them a model that reads bodies would be too sure."""
        titles = {0, *(len(PIECES) + k for k in self.more.of_title)}
        reads_bodies = bool(np.delete(self.weights, list(titles)).any())
        return not reads_bodies or self.cross_fitted is not None or any(read_ad(t).kind == AD for t in valid.texts)

    def oov_share(self, text: str) -> float:
        return self.linear.oov_share(read_ad(text).text)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """See the base class: of what is read."""
        return self.linear.text_vectors([read_ad(text).text for text in texts])

    # ------------------------------------------------------------------ persistence

    def stored_parameters(self) -> Mapping[str, Any]:
        return {
            **asdict(self.settings),
            "number_of_parts": len(self.parts),
            "near_names_of": list(self.more.near),
            "body_languages": list(self.body_languages),
        }

    def write_files(self, folder: Path) -> None:
        """The linear model and every part lie in the directory whole."""
        weights = {"weights": self.weights, "title_weights": self.title_weights}
        rest = {"background": self.background, "offsets": self.offsets, "body_power": np.array([self.body_power])}
        save_arrays(folder / WEIGHTS, weights | rest)
        self.linear.save_pretrained(folder / LINEAR)
        self.more.write(folder)
        for number, part in enumerate(self.parts):
            part.save_pretrained(folder / PARTS / str(number))

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        """The run directories that the parts came from are not needed."""
        count = model.parameters.get("number_of_parts")
        if not isinstance(count, int):
            raise ValueError("config.json does not say how many parts there are; save the model again")
        parts = [read_classifier(model.path / PARTS / str(number)) for number in range(count)]
        but = ("number_of_parts", "near_names_of", "body_languages")
        self = cls(model.taxonomy, model.settings(AdsSettings, but=but), parts)
        known = model.parameters.get("body_languages", [])  # directories of before have none: all bodies are read
        if not isinstance(known, list) or not all(isinstance(name, str) for name in known):
            raise ValueError(f"config.json: body_languages: got {known!r}, expected a list of languages; save it again")
        self.body_languages = tuple(known)
        if of := model.parameters.get("near_names_of"):  # directories of before have none
            self.more.read(model.file(NEAR_FILE), of)
        linear = read_classifier(model.path / LINEAR)
        if not isinstance(linear, LinearClassifier) or linear.taxonomy != model.taxonomy:
            raise ValueError(f"{LINEAR} holds no linear model of this tree")
        self.linear = linear
        arrays = load_arrays(model.file(WEIGHTS))
        self._plain_weights(AdsFit())  # directories of before have no weights of titles: those
        titles, power = arrays.get("title_weights", self.title_weights), arrays.get("body_power", np.ones(1))
        weights, background = arrays["weights"], arrays["background"]
        offsets = arrays.get("offsets", self.offsets)
        if not weights.shape == titles.shape == self.weights.shape or {background.shape, offsets.shape} != {
            self.background.shape
        }:
            raise ValueError(f"{WEIGHTS}: weights {weights.shape} do not fit {count} parts and the taxonomy")
        for numbers in (weights, titles, power):
            if not (np.isfinite(numbers).all() and (numbers >= 0).all() and numbers.any()):
                raise ValueError(f"{WEIGHTS}: holds weights that are no numbers from 0; train the model again")
        if not (np.isfinite(background).all() and np.isfinite(offsets).all()) or power.shape != (1,):
            raise ValueError(f"{WEIGHTS}: holds what is no number; train the model again")
        self.weights, self.title_weights = weights.astype(np.float64), titles.astype(np.float64)
        self.background, self.offsets = background.astype(np.float32), offsets.astype(np.float32)
        self.body_power = float(power[0])
        return self
